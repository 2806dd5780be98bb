"""What a training does with its directory: it begins a run, continues, lengthens or replaces one."""

from __future__ import annotations

import dataclasses
import functools
import os
from collections.abc import Callable
from pathlib import Path

from keras_resnet._internal.validation import printable
from keras_resnet.data import Split
from keras_resnet.inputs import square_side
from keras_resnet.training import out_directory
from keras_resnet.training.longer_runs import check_copy, copy_run
from keras_resnet.training.networks import build_network
from keras_resnet.training.out_directory import differences
from keras_resnet.training.recipe import AUTO, Recipe
from keras_resnet.training.resuming import CHECKPOINTS, LENGTH, save_best
from keras_resnet.training.run_directory import (
    FILES,
    LAST,
    MODEL,
    RECIPE,
    RUN,
    Run,
    Task,
    load_run,
    open_run,
    read_task,
    versions,
    write_json,
)


def with_precision_of_run(task: Task, out: Path, resume_from: str | os.PathLike[str] | None, overwrite: bool) -> Task:
    """`task`, in which "auto" is the precision of the run in `out` or `resume_from`: this run, or a shorter one.

    The run's precision was measured when it began, perhaps on another machine, and it ends as it began.
    """
    if task.recipe.precision != AUTO or (overwrite and (out / RUN).exists()):
        return task
    for directory in (out, *([] if resume_from is None else [Path(resume_from)])):
        try:
            before = read_task(directory)
        except ValueError:  # there is none; `preparation` says what is damaged
            continue
        same = in_precision(task, before.recipe.precision)
        if _as_long_as(task.recipe, before).fields == same.fields:
            return same
    return task


def _as_long_as(recipe: Recipe, task: Task) -> Task:
    """`task` with the number of epochs or iterations of a recipe."""
    length = {name: getattr(recipe, name) for name in LENGTH}
    return dataclasses.replace(task, recipe=dataclasses.replace(task.recipe, **length))


def in_precision(task: Task, precision: str) -> Task:
    """`task` with another precision."""
    return dataclasses.replace(task, recipe=dataclasses.replace(task.recipe, precision=precision))


def preparation(
    source: Path, out: Path, task: Task, overwrite: bool, steps: int, check: Callable[[], None], test: Split
) -> Callable[[], None]:
    """The function that prepares `out` for a training. Until it is called nothing changes.

    Args:
        source: the directory of the run that continues, from `source_of`.
        out: the run directory.
        task: the settings of the run.
        overwrite: as in `train`.
        steps: number of steps of an epoch.
        check: function that raises a `ValueError` unless the training can go on from the last checkpoint.
        test: the test images.

    Raises:
        ValueError: `out` holds something that must not be replaced.
    """
    if source != out:
        return _longer_copy(source, out, task, steps, check, test)

    def lengthen(before: Task) -> Callable[[], None] | None:
        if not _is_longer(before, task, steps):
            return None
        _check_longer(out, check)
        return functools.partial(_reopen, out, task, test)

    return out_directory.preparation(out, task, overwrite, FILES, _task_before, open_run, lengthen)


def source_of(resume_from: str | os.PathLike[str] | None, out: Path, overwrite: bool) -> Path:
    """The directory of the run that a training continues: `out`, unless `out` must become a copy of `resume_from`.

    Raises:
        ValueError: `resume_from` is not a finished run, or `overwrite` is given too.
    """
    if resume_from is None or Path(resume_from).resolve() == out.resolve():
        return out
    if overwrite:
        raise ValueError("overwrite must be False with resume_from; remove the directory out yourself")
    if (out / RECIPE).exists():  # the same call began before; if it is another run, `preparation` says so
        return out
    check_copy(Path(resume_from), out)
    return Path(resume_from)


def _longer_copy(
    source: Path, out: Path, task: Task, steps: int, check: Callable[[], None], test: Split
) -> Callable[[], None]:
    """As `preparation`, for `out` that becomes a copy of a finished run, with more epochs."""
    before = _task_before(source)
    if different := differences(before, _as_long_as(before.recipe, task)):
        raise ValueError(
            f"resume_from must be a run with the same settings, except epochs. Received: {printable(source)}, "
            f"a run with another {', '.join(different)}"
        )
    if not _is_longer(before, task, steps):
        raise ValueError(
            f"epochs must be more than the {before.recipe.epochs_of(steps)} of the run in resume_from, "
            f"{printable(source)}. Received: epochs={task.recipe.epochs_of(steps)}"
        )
    _check_longer(source, check)

    def prepare() -> None:
        copy_run(source, out)
        _reopen(out, task, test)

    return prepare


def _task_before(out: Path) -> Task:
    """The settings of the run in a directory. Those of a finished run may be longer in recipe.json, see `_reopen`."""
    task = read_task(out)
    if not (out / RUN).exists():
        return task
    # The rest of its recipe has the sizes that were used, which may be those of the model or of `size`.
    return _as_long_as(load_run(out).recipe, task)


def finished_run(out: Path, task: Task, write_line: Callable[[str], object]) -> Run | None:
    """The run in a directory, if it is finished and has these settings; says so in the log and to `write_line`."""
    otherwise = "more epochs go on from its end"
    opened = out_directory.finished_run(out, task, _task_before, open_run, otherwise, write_line)
    return opened and opened[0]


def _is_longer(before: Task, now: Task, steps: int) -> bool:
    """Whether a task is another one with more epochs."""
    same = _as_long_as(now.recipe, before).fields == now.fields
    return same and before.recipe.epochs_of(steps) < now.recipe.epochs_of(steps)


def _check_longer(out: Path, check: Callable[[], None]) -> None:
    """Raises a `ValueError` unless a finished run can go on for more epochs. `check` is as in `preparation`."""
    open_run(out)
    try:
        check()
    except ValueError as error:
        weights = printable(out / (LAST if (out / LAST).exists() else MODEL))
        raise ValueError(
            f"{error}; a new training can start from the weights, with another --out and --weights {weights}"
        ) from error


def _reopen(out: Path, task: Task, test: Split) -> None:
    """Makes a finished run an unfinished one with more epochs. A kill at any place leaves one of the two."""
    run, model = open_run(out)
    if run.best_epoch is not None:
        # It has the variables of the training, also those of seeds.
        network = build_network(task, square_side(model), test)
        network.set_weights(model.get_weights())
        save_best(network.variables, out / CHECKPOINTS)
    write_json({**task.fields, "versions": versions()}, out / RECIPE)
    (out / RUN).unlink()
