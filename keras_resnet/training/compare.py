"""Runs side by side, finished or not."""

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
class Compared:
    """A run as far as it is; None where it is not so far.

    Attributes:
        directory: of the run.
        asked: what was asked for beside the recipe, as `run.Task` calls it: model, data, size, ...
        recipe: to train by.
        history: by epoch, columns of history.csv.
        best_epoch: from 1, if one was chosen.
        test_accuracy: on the test images, in [0, 1].
        seconds: of training.
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
        """The fields of the recipe that are not the defaults."""
        default = dataclasses.asdict(Recipe())
        return {name: value for name, value in dataclasses.asdict(self.recipe).items() if value != default[name]}


def read_run(directory: Path) -> Compared:
    """The run in a directory.

    Raises:
        ValueError: there is none.
    """
    try:
        asked = json.loads((directory / "recipe.json").read_text())
        result = directory / "run.json"
        came = json.loads(result.read_text()) if result.is_file() else {}
        return Compared(
            directory,
            {name: asked[name] for name in ("model", "data", "size", "weights", "freeze_until", "on_corrupt")},
            recipe_of(asked["recipe"]),
            _history(directory / "history.csv"),
            came.get("best_epoch"),
            came.get("test_accuracy"),
            came.get("seconds"),
        )
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ValueError(f"{directory} must be a run directory, with a readable recipe.json: {error}") from error


def _history(path: Path) -> dict[str, list[float]]:
    if not path.is_file():
        return {}
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    return {name: [float(row[name] or "nan") for row in rows] for name in (rows[0] if rows else ())}


def differing(runs: Sequence[Compared]) -> list[str]:
    """The fields of recipes that are not the same in all runs."""
    fields = [field.name for field in dataclasses.fields(Recipe)]
    return [name for name in fields if len({getattr(run.recipe, name) for run in runs}) > 1]


def names(runs: Sequence[Compared]) -> list[str]:
    """What to call the runs: the directories, without what they all begin with."""
    paths = [run.directory.absolute() for run in runs]
    common = os.path.commonpath([path.parent for path in paths])
    return [str(path.relative_to(common)) for path in paths]


def plot_runs(runs: Sequence[Compared], path: Path) -> None:
    """Draws validation loss and accuracy of all runs, of training where there is no validation, into a PNG."""
    figure, panels = loss_and_accuracy()
    for quantity, axes in panels.items():
        for name, run in zip(names(runs), runs, strict=True):
            values = run.history.get(f"val_{quantity}") or run.history.get(quantity, [])
            label = name if f"val_{quantity}" in run.history else f"{name} (training)"
            axes.plot(run.history.get("epoch", []), values, label=label, linewidth=2)
        axes.set(ylabel=f"validation {quantity}")
    figure.legend(*panels["loss"].get_legend_handles_labels(), loc="outside lower center", ncols=2, frameon=False)
    figure.savefig(path)
