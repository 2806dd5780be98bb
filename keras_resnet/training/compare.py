"""Comparison of runs, finished or unfinished."""

from __future__ import annotations

import csv
import dataclasses
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from keras_resnet.training.curves import loss_and_accuracy
from keras_resnet.training.recipe import Recipe, recipe_of


@dataclasses.dataclass(frozen=True)
class RunSummary:
    """What is known about a finished or unfinished run. A value that is not known yet is None.

    Attributes:
        directory: directory of the run.
        asked: the fields of `run.Task` without the recipe: model, data, size, weights, freeze_until, on_corrupt.
        recipe: the recipe of the training.
        history: columns of history.csv by name, with one value for each epoch.
        best_epoch: number of the chosen epoch, from 1; None if no epoch was chosen.
        test_accuracy: accuracy on the test images, in [0, 1].
        seconds: duration of the training.
    """

    directory: Path
    asked: dict[str, Any]
    recipe: Recipe
    history: dict[str, list[float]]
    best_epoch: int | None
    test_accuracy: float | None
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
        ValueError: there is no readable recipe.json in the directory.
    """
    try:
        task = json.loads((directory / "recipe.json").read_text())
        result_file = directory / "run.json"
        result = json.loads(result_file.read_text()) if result_file.is_file() else {}
        return RunSummary(
            directory,
            {name: task[name] for name in ("model", "data", "size", "weights", "freeze_until", "on_corrupt")},
            recipe_of(task["recipe"]),
            _history(directory / "history.csv"),
            result.get("best_epoch"),
            result.get("test_accuracy"),
            result.get("seconds"),
        )
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ValueError(
            "directory must be a run directory, with a readable recipe.json. "
            f"Received: {directory} ({type(error).__name__}: {error})"
        ) from error


def _history(path: Path) -> dict[str, list[float]]:
    if not path.is_file():
        return {}
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    return {name: [float(row[name] or "nan") for row in rows] for name in (rows[0] if rows else ())}


def differing(runs: Sequence[RunSummary]) -> list[str]:
    """The names of the recipe fields that differ between the runs."""
    fields = [field.name for field in dataclasses.fields(Recipe)]
    return [name for name in fields if len({getattr(run.recipe, name) for run in runs}) > 1]


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
    figure, panels = loss_and_accuracy()
    for quantity, axes in panels.items():
        for name, run in zip(names(runs), runs, strict=True):
            values = run.history.get(f"val_{quantity}") or run.history.get(quantity, [])
            label = name if f"val_{quantity}" in run.history else f"{name} (training)"
            axes.plot(run.history.get("epoch", []), values, label=label, linewidth=2)
        axes.set(ylabel=f"validation {quantity}")
    figure.legend(*panels["loss"].get_legend_handles_labels(), loc="outside lower center", ncols=2, frameon=False)
    figure.savefig(path)
