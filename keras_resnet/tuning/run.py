"""Runs a search and writes its results to a directory.

trials/          files of KerasTuner
leaderboard.csv  all finished trials, the best first
pareto.png       plot of accuracy over MACs
best.py          the best network as a line of Python
best.keras       the best network, trained
search.json      description of the search
"""

from __future__ import annotations

import csv
import dataclasses
import sys
from pathlib import Path
from typing import Any

import keras_tuner
from rich.console import Console

from keras_resnet._internal.atomic_files import atomic_write
from keras_resnet.data import Split, steps_per_epoch
from keras_resnet.evaluation.accuracy import evaluate
from keras_resnet.training.batches import resize
from keras_resnet.training.progress import ProgressBar
from keras_resnet.training.recipe import Recipe
from keras_resnet.training.run import save
from keras_resnet.tuning import persistence, tuners
from keras_resnet.tuning.hypermodel import HyperResNet
from keras_resnet.tuning.plot import plot_trials
from keras_resnet.tuning.results import TrialResult, trial_results
from keras_resnet.tuning.source import IMPORTS

TRIALS = "trials"


@dataclasses.dataclass(frozen=True)
class Search:
    """A search to run.

    Attributes:
        space: the search space. Its recipe must have a `validation_split`, unless there are validation images.
        data: source of the images, as for `keras_resnet.data.load`.
        out: directory of the results.
        tuner: name of a tuner in `keras_resnet.tuning`, for example "RandomSearch".
        trials: number of trials; not used for Hyperband, which computes its own number.
        max_latency: latency in milliseconds above which the accuracy counts less; None: no limit.
    """

    space: HyperResNet
    data: str
    out: Path
    tuner: str
    trials: int
    max_latency: float | None = None


@dataclasses.dataclass(frozen=True)
class Best:
    """The result of a search.

    Attributes:
        trials: finished trials, the best first.
        test_images: number of test images.
        test_accuracy: accuracy of the best network on the test images.
    """

    trials: list[TrialResult]
    test_images: int
    test_accuracy: float


def with_validation_split(recipe: Recipe) -> Recipe:
    """The recipe with a validation split of 0.1, if it has none."""
    return dataclasses.replace(recipe, validation_split=recipe.validation_split or 0.1)


def search(task: Search, train: Split, console: Console, validation: Split | None = None) -> Any:
    """Runs a search, or continues the unfinished search in the directory.

    Args:
        task: the search.
        train: training images.
        console: where progress is printed.
        validation: validation images; None: the `validation_split` of the recipe is held out of `train`.

    Returns:
        The tuner, whose search is finished.

    Raises:
        ValueError: the directory holds another search or other files. No file in it was changed.
    """
    description: dict[str, Any] = {"data": task.data, "max_latency": task.max_latency}
    if validation is not None:
        description["validation"] = "val"  # a search on held-out images must not go on with others
    persistence.check(task.out, description)
    new = not (task.out / persistence.SEARCH).exists()
    if new and task.out.is_dir() and any(not path.name.startswith(".") for path in task.out.iterdir()):
        raise ValueError(
            f"out must be a new directory, an empty one, or one with a search. Received: {task.out}, which holds other "
            "files"
        )
    if new:  # written before anything else, so that a worker can check that it joins the right search
        task.out.mkdir(parents=True, exist_ok=True)
        persistence.write(description, task.out / persistence.SEARCH)
    recipe = task.space.base.recipe
    bar = SharedBar(console, recipe.batch_size)
    objective = "val_accuracy" if task.max_latency is None else keras_tuner.Objective("reward", "max")
    epochs = recipe.epochs_of(steps_per_epoch(train, recipe.batch_size))
    amount = {"max_epochs": epochs} if task.tuner == "Hyperband" else {"max_trials": task.trials}
    tuner = _with_messages(getattr(tuners, task.tuner), console)(
        task.space,
        objective,
        seed=recipe.seed + 1,  # KerasTuner treats the seed 0 as no seed
        # A trial whose loss is not a finite number fails. If all trials fail, `write_results` raises the error.
        max_consecutive_failed_trials=sys.maxsize,
        directory=task.out,
        project_name=TRIALS,
        **amount,
    )
    with bar:
        tuner.search(train, validation, callbacks=[bar], verbose=0)
    return tuner


class SharedBar(ProgressBar):
    """A progress bar that cannot be copied: KerasTuner copies the callbacks for each trial, but one bar is needed."""

    def __deepcopy__(self, memo: Any) -> SharedBar:
        return self


def _with_messages(tuner: Any, console: Console) -> Any:
    """A subclass of a tuner that prints a line before and after each trial."""

    class TunerWithMessages(tuner):
        def on_trial_begin(self, trial: Any) -> None:
            super().on_trial_begin(trial)
            row = self.hypermodel.design(trial.hyperparameters).row
            total = f" of {self.oracle.max_trials}" if self.oracle.max_trials else ""
            cost = f"{row.parameters:,} parameters, {row.macs / 1e6:,.1f} M MACs"
            console.print(f"trial {trial.trial_id}{total}: {cost}", highlight=False)

        def on_trial_end(self, trial: Any) -> None:
            super().on_trial_end(trial)
            finished = self.oracle.get_trial(trial.trial_id)
            reason = (trial.message or "").strip().rpartition("\n")[2]
            score = (
                f"failed, {reason}" if finished.score is None else f"{self.oracle.objective.name} {finished.score:.4f}"
            )
            console.print(f"trial {trial.trial_id}: {score}", highlight=False, markup=False)

    return TunerWithMessages


def write_results(tuner: Any, test: Split, out: Path) -> Best:
    """Writes the results of a search, and evaluates the best network on the test images.

    Args:
        tuner: a tuner whose search is finished.
        test: test images, which were not used in the search.
        out: directory of the results.

    Returns:
        The trials, and the test accuracy of the best network.

    Raises:
        ValueError: no trial finished.
    """
    trials = trial_results(tuner)
    if not trials:
        raise ValueError(f"no trial of the search in {out} finished; {out / TRIALS} has the error of each trial")
    _write_leaderboard(trials, out / "leaderboard.csv")
    plot_trials(trials, f"{len(trials)} networks around {tuner.hypermodel.base.row.name}", out / "pareto.png")
    with atomic_write(out / "best.py") as temporary:
        temporary.write_text(f"{IMPORTS}\n\nmodel = {trials[0].code}\n")
    model = tuner.get_best_models()[0]
    save(model, out / "best.keras")
    recipe = tuner.hypermodel.base.recipe
    return Best(trials, test.size, float(evaluate(model, test, recipe.batch_size, resize=resize(recipe))))


def _write_leaderboard(trials: list[TrialResult], path: Path) -> None:
    metrics, changes = (
        sorted({name for trial in trials for name in getattr(trial, kind)}) for kind in ("metrics", "changes")
    )
    with atomic_write(path) as temporary, temporary.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["trial", "score", *metrics, *changes, "network"])
        for trial in trials:
            values = [trial.metrics.get(name) for name in metrics] + [trial.changes.get(name) for name in changes]
            writer.writerow([trial.trial, trial.score, *values, trial.code])
