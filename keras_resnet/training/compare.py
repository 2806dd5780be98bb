"""Comparison of runs, finished or unfinished."""

from __future__ import annotations

import csv
import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from keras_resnet._internal.validation import printable
from keras_resnet.plots.style import save
from keras_resnet.training.curves import loss_and_accuracy
from keras_resnet.training.recipe import Recipe
from keras_resnet.training.run_directory import HISTORY, RECIPE, RUN, load_run, read_task

UNEVEN = 0.005  # distance of accuracy and balanced accuracy; where classes are even it is 0


@dataclasses.dataclass(frozen=True)
class RunSummary:
    """What is known about a finished or unfinished run. A value that is not known yet is None.

    Attributes:
        directory: directory of the run.
        asked: the fields of `Task` without the recipe: model, data, size, weights, freeze_until, on_corrupt.
        recipe: the recipe of the training.
        history: columns of history.csv by name, with one value for each epoch.
        best_epoch: number of the chosen epoch, from 1; None if no epoch was chosen.
        test_accuracy: accuracy on the test images, in [0, 1].
        balanced_accuracy: mean of the recalls of all classes on the test images, in [0, 1].
        seconds: duration of the training.
    """

    directory: Path
    asked: dict[str, Any]
    recipe: Recipe
    history: dict[str, list[float]]
    best_epoch: int | None
    test_accuracy: float | None
    balanced_accuracy: float | None
    seconds: float | None

    @property
    def changes(self) -> dict[str, Any]:
        """The fields of the recipe that differ from the defaults."""
        default = dataclasses.asdict(Recipe())
        return {name: value for name, value in dataclasses.asdict(self.recipe).items() if value != default[name]}


def read_run(directory: Path) -> RunSummary:
    """Reads the run in a directory.

    Args:
        directory: a directory that `keras_resnet.training.run.train` wrote, also an unfinished one.

    Returns:
        The summary of the run.

    Raises:
        ValueError: a file of the run cannot be read, or is of another run; the error names it.
    """
    task = read_task(directory)
    run = load_run(directory) if (directory / RUN).exists() else None
    history = read_history(directory / HISTORY) if run or (directory / HISTORY).exists() else {}
    if run and (run.model, run.data) != (task.model, task.data):
        raise ValueError(
            f"{printable(directory)} must hold one run. Received: {RUN} of {run.model} on {run.data}, and {RECIPE} of "
            f"{task.model} on {task.data}"
        )
    if run and (run.best_epoch or 0) > len(history["epoch"]):
        raise ValueError(
            f"{printable(directory / HISTORY)} must have the epochs of {RUN}. "
            f"Received: {len(history['epoch'])} epochs, of which number {run.best_epoch} is the best"
        )
    asked = {name: value for name, value in task.fields.items() if name != "recipe"}
    results = (run.best_epoch, run.test_accuracy, run.balanced_accuracy, run.seconds) if run else (None,) * 4
    return RunSummary(directory, asked, task.recipe, history, *results)


def read_history(path: Path) -> dict[str, list[float]]:
    """The columns of a history.csv by name, with one value for each epoch; NaN for an empty field.

    Raises:
        ValueError: the file cannot be read, or a field is not a number.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            names, *rows = csv.reader(file, strict=True)
        columns = {name: [float(row[number] or "nan") for row in rows] for number, name in enumerate(names)}
        if columns["epoch"] != list(range(1, len(rows) + 1)) or any(len(row) != len(names) for row in rows):
            raise ValueError("its lines are not those of epochs 1, 2, 3 and so on")
    except (OSError, ValueError, KeyError, IndexError, csv.Error) as error:
        raise ValueError(
            f"{printable(path)} must have a line for each epoch. Received: {type(error).__name__}: {str(error)[:200]}"
        ) from error
    return columns


def differing(runs: Sequence[RunSummary]) -> list[str]:
    """The names of the recipe fields that differ between the runs."""
    fields = [field.name for field in dataclasses.fields(Recipe)]
    return [name for name in fields if len({getattr(run.recipe, name) for run in runs}) > 1]


def has_uneven_classes(runs: Sequence[RunSummary]) -> bool:
    """Whether the balanced accuracy of a run says something else than its accuracy."""
    both = [(run.balanced_accuracy, run.test_accuracy) for run in runs]
    return any(None not in pair and abs(pair[0] - pair[1]) >= UNEVEN for pair in both)  # type: ignore[operator]


def names(runs: Sequence[RunSummary]) -> list[str]:
    """Short names for runs: their paths relative to the deepest directory that contains all of them."""
    paths = [run.directory.absolute() for run in runs]
    common = os.path.commonpath([path.parent for path in paths])
    return [str(path.relative_to(common)) for path in paths]


def plot_runs(runs: Sequence[RunSummary], path: Path) -> None:
    """Draws loss and accuracy of all runs into a PNG file.

    The curves show validation; for a run without validation they show training.

    Args:
        runs: the runs.
        path: path of the PNG file.
    """
    drawn, panels = loss_and_accuracy()
    for quantity, axes in panels.items():
        for name, run in zip(names(runs), runs, strict=True):
            values = run.history.get(f"val_{quantity}") or run.history.get(quantity, [])
            label = name if f"val_{quantity}" in run.history else f"{name} (training)"
            axes.plot(run.history.get("epoch", []), values, label=label, linewidth=2)
        axes.set(ylabel=f"validation {quantity}")
    drawn.legend(*panels["loss"].get_legend_handles_labels(), loc="outside lower center", ncols=2, frameon=False)
    save(drawn, path)
