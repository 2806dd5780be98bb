"""What a training needs besides the model to continue: its state, checks of a checkpoint, and history.csv."""

from __future__ import annotations

import csv
import dataclasses
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from keras_resnet._internal.atomic_files import atomic_write
from keras_resnet._internal.validation import boolean, integer, number
from keras_resnet.training import checkpoints


@dataclasses.dataclass
class State:
    """Everything besides the variables that a training needs to continue."""

    epoch: int = 0  # number of finished epochs
    step: int = 0  # number of finished steps in the unfinished epoch
    ended: bool = False  # True if a callback ended the training before the last epoch
    history: dict[str, list[float]] = dataclasses.field(default_factory=dict)  # one value for each finished epoch
    best: float = -math.inf  # highest validation accuracy, or mAP of a detector, so far
    best_epoch: int | None = None  # epoch with that value, from 1
    seconds: float = 0.0  # duration of training and validation so far


def state_of(content: Mapping[str, Any]) -> State:
    """The state in the content of a checkpoint's state.json.

    Raises:
        ValueError: a field is missing, unknown or of another kind.
    """
    fields = {name: value for name, value in content.items() if name != "settings"}
    names = [field.name for field in dataclasses.fields(State)]
    if sorted(fields) != sorted(names):
        raise ValueError(f"{checkpoints.STATE} must have {', '.join(names)}. Received: {', '.join(map(repr, fields))}")
    try:
        state = State(**fields)
        for name in ("epoch", "step"):
            integer(name, getattr(state, name), minimum=0)
        boolean("ended", state.ended)
        number("best", state.best, "[-inf, 1]")
        number("seconds", state.seconds, "[0, inf)")
        if state.best_epoch is not None and not 1 <= integer("best_epoch", state.best_epoch) <= state.epoch:
            raise ValueError(f"best_epoch must be at most {state.epoch}. Received: best_epoch={state.best_epoch}")
        lengths = {len(values) for values in state.history.values()}
        numeric = all(isinstance(value, int | float) for values in state.history.values() for value in values)
        if not numeric or lengths - {state.epoch}:
            raise ValueError(f"history must have a number for each of {state.epoch} epochs")
    except (TypeError, AttributeError) as error:
        raise ValueError(f"{checkpoints.STATE}: {error}") from error
    return state


def numbered(groups: Mapping[str, Sequence[Any]]) -> dict[str, Any]:
    """The variables of some groups by the names that their arrays have in a checkpoint: `GROUP/NUMBER`."""
    return {f"{group}/{n}": variable for group, variables in groups.items() for n, variable in enumerate(variables)}


def check_shapes(file: str, arrays: Mapping[str, np.ndarray], variables: Mapping[str, Any]) -> None:
    """Raises a `ValueError` unless there is an array for each variable, of its shape."""
    found = {name: array.shape for name, array in arrays.items()}
    expected = {name: tuple(variable.shape) for name, variable in variables.items()}
    if found != expected:
        wrong = next(name for name in {**expected, **found} if found.get(name) != expected.get(name))
        raise ValueError(
            f"{file} must have the arrays of this network and optimizer. Received: {wrong} with the shape "
            f"{found.get(wrong)} instead of {expected.get(wrong)}"
        )


def assign(variables: list[Any], arrays: Mapping[str, np.ndarray], group: str) -> None:
    """Assigns the arrays `GROUP/NUMBER` of a checkpoint to variables, which are in the order of the numbers."""
    for n, variable in enumerate(variables):
        variable.assign(arrays[f"{group}/{n}"])


def write_history(history: Mapping[str, list[float]], path: Path) -> None:
    """Writes the history as CSV: one line for each epoch, and an empty field for a missing value."""
    with atomic_write(path) as temporary, temporary.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["epoch", *history])
        for epoch, values in enumerate(zip(*history.values(), strict=True), start=1):
            writer.writerow([epoch, *("" if math.isnan(value) else value for value in values)])
