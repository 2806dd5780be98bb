"""A search from data to a directory that holds everything it gave.

trials/          KerasTuner's own         leaderboard.csv  every finished trial, the best first
pareto.png       accuracy over MACs       best.py          the best network as a line of Python
best.keras       the same, trained        search.json      what was searched
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
    """What is asked for.

    Attributes:
        space: to search in; its recipe holds images out.
        data: where they come from, as `keras_resnet.data.load` takes it.
        out: the directory.
        tuner: a class of `keras_resnet.tuning`, by name.
        trials: to make; Hyperband makes its own number.
        max_latency: milliseconds above which accuracy counts for less, or None.
    """

    space: HyperResNet
    data: str
    out: Path
    tuner: str
    trials: int
    max_latency: float | None = None


@dataclasses.dataclass(frozen=True)
class Best:
    """What came of it: the finished trials, the best first, and the best's accuracy on the test images."""

    trials: list[TrialResult]
    test_images: int
    test_accuracy: float


def with_validation_split(recipe: Recipe) -> Recipe:
    """The recipe with a tenth of the images held out to choose by, if it holds out none."""
    return dataclasses.replace(recipe, validation_split=recipe.validation_split or 0.1)


def search(task: Search, train: Split, console: Console) -> Any:
    """Searches, or goes on with what is in the directory.

    Args:
        task: what is asked for.
        train: the images.
        console: for the progress.

    Returns:
        The tuner.

    Raises:
        ValueError: the directory holds another search, or something else; nothing there was touched.
    """
    description = {"data": task.data, "max_latency": task.max_latency}
    persistence.check(task.out, description)
    new = not (task.out / persistence.SEARCH).exists()
    if new and task.out.is_dir() and any(not path.name.startswith(".") for path in task.out.iterdir()):
        raise ValueError(f"out must be a new directory, or hold a search. Received: {task.out}")
    if new:  # first of all, for workers that come to see whose directory this is
        task.out.mkdir(parents=True, exist_ok=True)
        persistence.write(description, task.out / persistence.SEARCH)
    recipe = task.space.base.recipe
    bar = SharedBar(console, recipe.batch_size)
    objective = "val_accuracy" if task.max_latency is None else keras_tuner.Objective("reward", "max")
    epochs = recipe.epochs_of(steps_per_epoch(train, recipe.batch_size))
    amount = {"max_epochs": epochs} if task.tuner == "Hyperband" else {"max_trials": task.trials}
    tuner = _telling(getattr(tuners, task.tuner), console)(
        task.space,
        objective,
        seed=recipe.seed + 1,  # KerasTuner takes 0 for none
        # A trial whose loss is no number fails; even all of them are for `leave` to tell.
        max_consecutive_failed_trials=sys.maxsize,
        directory=task.out,
        project_name=TRIALS,
        **amount,
    )
    with bar:
        tuner.search(train, callbacks=[bar], verbose=0)
    return tuner


class SharedBar(ProgressBar):
    """KerasTuner copies the callbacks for each trial; a terminal has one bar."""

    def __deepcopy__(self, memo: Any) -> SharedBar:
        return self


def _telling(tuner: Any, console: Console) -> Any:
    """The tuner, with a line before and after each trial."""

    class Telling(tuner):
        def on_trial_begin(self, trial: Any) -> None:
            super().on_trial_begin(trial)
            row = self.hypermodel.design(trial.hyperparameters).row
            of = f" of {self.oracle.max_trials}" if self.oracle.max_trials else ""
            cost = f"{row.parameters:,} parameters, {row.macs / 1e6:,.1f} M MACs"
            console.print(f"trial {trial.trial_id}{of}: {cost}", highlight=False)

        def on_trial_end(self, trial: Any) -> None:
            super().on_trial_end(trial)
            ended = self.oracle.get_trial(trial.trial_id)
            reason = (trial.message or "").strip().rpartition("\n")[2]
            score = f"failed, {reason}" if ended.score is None else f"{self.oracle.objective.name} {ended.score:.4f}"
            console.print(f"trial {trial.trial_id}: {score}", highlight=False, markup=False)

    return Telling


def leave(tuner: Any, test: Split, out: Path) -> Best:
    """Writes what a search gave, and measures the best of it.

    Args:
        tuner: whose search is over.
        test: images that nothing was chosen by.
        out: the directory.

    Returns:
        The trials and the accuracy of the best.

    Raises:
        ValueError: no trial is finished.
    """
    trials = trial_results(tuner)
    if not trials:
        raise ValueError(f"no trial of the search in {out} has finished; what each failed of is in {out / TRIALS}")
    _write_leaderboard(trials, out / "leaderboard.csv")
    plot_trials(trials, f"{len(trials)} networks around {tuner.hypermodel.base.row.name}", out / "pareto.png")
    with atomic_write(out / "best.py") as aside:
        aside.write_text(f"{IMPORTS}\n\nmodel = {trials[0].code}\n")
    model = tuner.get_best_models()[0]
    save(model, out / "best.keras")
    recipe = tuner.hypermodel.base.recipe
    return Best(trials, test.size, evaluate(model, test, recipe.batch_size, resize=resize(recipe)))


def _write_leaderboard(trials: list[TrialResult], path: Path) -> None:
    metrics, changes = (
        sorted({name for trial in trials for name in getattr(trial, kind)}) for kind in ("metrics", "changes")
    )
    with atomic_write(path) as aside, aside.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["trial", "score", *metrics, *changes, "network"])
        for trial in trials:
            values = [trial.metrics.get(name) for name in metrics] + [trial.changes.get(name) for name in changes]
            writer.writerow([trial.trial, trial.score, *values, trial.code])
