"""Checkpoints of a training. Each one is a directory:

    checkpoints/120/arrays.npz    all variables: weights, statistics, optimizer, moving average, random generators
    checkpoints/120/state.json    everything else: the position in the training, its history, the best epoch so far

A checkpoint is written to a temporary directory, flushed to the disk and renamed, so it is complete or does not exist.
The newest `KEPT` checkpoints are kept.
"""

from __future__ import annotations

import errno
import json
import logging
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from keras_resnet._internal.atomic_files import flush_directory, flush_file, writing
from keras_resnet._internal.json_files import read_object
from keras_resnet._internal.validation import printable

KEPT = 2
ARRAYS, STATE = "arrays.npz", "state.json"
# A file is missing, another kind of file has its name, or a damaged zip archive points outside of itself.
DAMAGE = {None, errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EINVAL}
log = logging.getLogger("keras_resnet.training")


class SavedState(NamedTuple):
    """The content of a checkpoint.

    Attributes:
        path: directory of the checkpoint.
        arrays: all variables by name.
        state: the content of state.json.
    """

    path: Path
    arrays: dict[str, np.ndarray]
    state: dict[str, Any]


def save(directory: Path, number: int, arrays: Mapping[str, np.ndarray], state: Mapping[str, Any]) -> Path:
    """Saves a checkpoint. It replaces one with the same number; all but the newest `KEPT` checkpoints are removed.

    Args:
        directory: the directory of all checkpoints of a training; it is created if it is missing.
        number: the number of this checkpoint; the newest one has the highest number.
        arrays: arrays by name.
        state: values that JSON can hold, by name.

    Returns:
        The path of the checkpoint.

    Raises:
        OSError: the checkpoint could not be written, for example on a full disk; earlier checkpoints do not change.
    """
    with writing(directory):
        return _save(directory, number, arrays, state)


def _save(directory: Path, number: int, arrays: Mapping[str, np.ndarray], state: Mapping[str, Any]) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    for unfinished in directory.glob(".*"):  # from a process that was killed while it wrote
        shutil.rmtree(unfinished, ignore_errors=True)
    temporary, path = directory / f".{number}", directory / str(number)
    try:
        temporary.mkdir()
        write_arrays(arrays, temporary / ARRAYS)
        with (temporary / STATE).open("w") as text:
            json.dump(state, text, indent=1)
        flush_file(temporary / STATE)
        flush_directory(temporary)
        if path.exists():  # a directory cannot be renamed to the name of another one
            path.rename(directory / f".{number}-replaced")
        temporary.rename(path)
        flush_directory(directory)
    except OSError:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    for outdated in [*directory.glob(".*"), *(directory / str(number) for number in numbers(directory)[:-KEPT])]:
        shutil.rmtree(outdated, ignore_errors=True)
    return path


def newest(directory: Path, check: Callable[[SavedState], object] = lambda saved: None) -> SavedState | None:
    """Reads the newest checkpoint; a broken one is skipped with a warning in the log, and the next older one is read.

    Args:
        directory: the directory of all checkpoints of a training.
        check: function that raises a `ValueError` or `TypeError` if the content of a checkpoint is not sound.

    Returns:
        The content of the checkpoint; None if the directory has no checkpoint.

    Raises:
        ValueError: no checkpoint in the directory is sound.
        OSError, MemoryError: a checkpoint cannot be read now, which does not say that it is broken.
    """
    newest_problem = None
    for number in reversed(numbers(directory)):
        path = directory / str(number)
        try:
            saved = SavedState(path, read_arrays(path / ARRAYS), read_object(path / STATE))
            check(saved)
            return saved
        except (ValueError, TypeError) as error:
            _raise_other_than_damage(error.__cause__, path / STATE)
            log.warning("checkpoint %s cannot be read and is skipped: %s", printable(path), error)
            newest_problem = newest_problem or f"{path.name}: {error}"
    if newest_problem:
        raise ValueError(
            f"{printable(directory)} must hold a sound checkpoint, from which the training continues; remove this "
            f"directory to train from the first epoch. Received: no sound one; the newest is {newest_problem}"
        )
    return None


def keep_newest(directory: Path) -> None:
    """Removes everything in a directory of checkpoints but the newest one."""
    kept = str(max(numbers(directory), default=""))
    for path in directory.iterdir() if directory.is_dir() else ():
        if path.name != kept:
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def write_arrays(arrays: Mapping[str, np.ndarray], path: Path) -> None:
    """Writes arrays to an .npz file and flushes it to the disk."""
    with path.open("wb") as file:
        np.savez(file, allow_pickle=False, **arrays)
    flush_file(path)


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """Reads a file of `write_arrays`.

    Raises:
        ValueError: the file is missing or damaged; the error names the file.
        OSError, MemoryError: the file cannot be read now, which does not say that it is damaged.
    """
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}
    except Exception as error:  # what NumPy raises for a damaged file depends on the damage
        _raise_other_than_damage(error, path)
        raise ValueError(
            f"{printable(path)} must be a readable .npz file. Received: {type(error).__name__}: {str(error)[:200]}"
        ) from error


def _raise_other_than_damage(error: BaseException | None, path: Path) -> None:
    """Raises an error that says nothing about the content of a file: of the disk, of permissions or of memory."""
    if isinstance(error, MemoryError):
        raise error
    if isinstance(error, OSError) and error.errno not in DAMAGE:
        raise OSError(error.errno, error.strerror, printable(path)) from error


def numbers(directory: Path) -> list[int]:
    """The numbers of the checkpoints in a directory, in ascending order."""
    paths = directory.iterdir() if directory.is_dir() else ()
    return sorted(int(path.name) for path in paths if path.name.isdecimal())
