"""Whether a training may use a directory, and what it does there: it begins a run, continues or replaces one."""

from __future__ import annotations

import functools
import logging
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

from keras_resnet._internal.atomic_files import writing
from keras_resnet._internal.exclusive import exclusive
from keras_resnet._internal.validation import printable
from keras_resnet.training.resuming import CHECKPOINTS
from keras_resnet.training.run_directory import RECIPE, RUN, versions, write_json

log = logging.getLogger("keras_resnet.training")


class HasFields(Protocol):
    """The settings of a run, of a classifier or of a detector."""

    @property
    def fields(self) -> dict[str, Any]:
        """The fields as they are after writing and reading JSON; one of them is the recipe."""
        ...


AnyTask = TypeVar("AnyTask", bound=HasFields)
AnyRun = TypeVar("AnyRun")


def preparation(
    out: Path,
    task: AnyTask,
    overwrite: bool,
    files: Sequence[str],
    read: Callable[[Path], AnyTask],
    open_finished: Callable[[Path], object],
    lengthen: Callable[[AnyTask], Callable[[], None] | None] = lambda before: None,
) -> Callable[[], None]:
    """The function that prepares `out` for a training. Until it is called nothing changes.

    Args:
        out: the run directory.
        task: the settings of the run.
        overwrite: as in `train`.
        files: names of all files of a run.
        read: function that reads the settings of the run in a directory.
        open_finished: function that raises a `ValueError` unless the finished run in a directory can be opened.
        lengthen: function that gets the settings of a finished run, and returns the function that prepares it for more
            epochs; None: the task is not this run with more epochs.

    Raises:
        ValueError: `out` holds something that must not be replaced. The function that is returned raises it if another
            process trains in `out`.
    """
    existing = [name for name in files if (out / name).exists()]
    start = functools.partial(_start, out, task, existing)
    finished = RUN in existing
    if not existing or (finished and overwrite):
        return start
    problem = f"which holds {', '.join(existing)}"
    if RECIPE in existing:
        try:
            before = read(out)
            different = differences(before, task)
            if not different and not finished:
                return lambda: None  # `fit` continues from the checkpoint
            if not different:
                open_finished(out)  # raises the error for which it is not taken as finished
            if finished and (reopen := lengthen(before)):
                return reopen
            problem = (
                f"which holds {'a finished' if finished else 'an unfinished'} run with another {', '.join(different)}"
                if different
                else "where another process has finished this run meanwhile; type the same command again"
            )
        except ValueError as error:
            problem = f"where {error}"
    if not overwrite:
        raise ValueError(
            "out must be a new directory, unless overwrite=True (on the command line --overwrite) is given. "
            f"Received: {printable(out)}, {problem}"
        )
    return start


def finished_run(
    out: Path,
    task: AnyTask,
    read: Callable[[Path], AnyTask],
    open_finished: Callable[[Path], AnyRun],
    otherwise: str,
    write_line: Callable[[str], object],
) -> AnyRun | None:
    """What `open_finished` returns for a directory, if its run is finished and has these settings; None otherwise.

    Args:
        out, task, read, open_finished: as in `preparation`.
        otherwise: the end of the line that says so: what else the user may want.
        write_line: function that gets the line, which is also in the log.
    """
    try:
        if not (out / RUN).exists() or differences(read(out), task):
            return None
        run = open_finished(out)
    except ValueError:  # `preparation` says what is damaged, after all arguments are checked
        return None
    line = (
        f"{printable(out)} is finished; nothing to do: overwrite=True (on the command line --overwrite) trains it "
        f"anew, {otherwise}"
    )
    log.info(line)
    write_line(line)
    return run


def differences(before: HasFields, now: HasFields) -> list[str]:
    """How the fields of two tasks differ, as text."""
    old, new = before.fields, now.fields
    different = [name for name in new if name != "recipe" and old[name] != new[name]]
    changed = [
        f"{name} (was {old['recipe'][name]}, is {value})"
        for name, value in new["recipe"].items()
        if old["recipe"][name] != value
    ]
    return different + ([f"recipe: {', '.join(changed)}"] if changed else [])


def _start(out: Path, task: HasFields, obsolete: Sequence[str]) -> None:
    """Removes obsolete files and writes `recipe.json`, unless another process trains in the directory."""
    with writing(out):
        out.mkdir(parents=True, exist_ok=True)
    if (out / CHECKPOINTS).is_dir():
        with exclusive(out / CHECKPOINTS, "training"):  # `fit` holds this lock as long as it trains
            pass
    for name in obsolete:
        path = out / name
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    write_json({**task.fields, "versions": versions()}, out / RECIPE)
