"""Checkpoints of a training. Each one is a directory:

    checkpoints/120/arrays.npz    all variables: weights, statistics, optimizer, moving average, random generators
    checkpoints/120/state.json    everything else: the position in the training, its history, the best epoch so far

A checkpoint is written to a temporary directory, flushed to the disk and renamed, so it is complete or does not exist.
The newest `KEPT` checkpoints are kept.
"""

from __future__ import annotations

import contextlib
import json
import logging
import shutil
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from filelock import FileLock, Timeout

from keras_resnet._internal.atomic_files import flush_directory, flush_file

KEPT = 2
ARRAYS, STATE = "arrays.npz", "state.json"
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


@contextlib.contextmanager
def exclusive(directory: Path, work: str = "training") -> Iterator[None]:
    """Locks a directory for this process inside the block; creates the directory if it is missing.

    The operating system releases the lock when the process ends, also when it is killed.

    Args:
        directory: the directory of all checkpoints of a training, or of the trials of a search.
        work: what writes to the directory, for the error.

    Raises:
        ValueError: another process holds the lock.
    """
    directory.mkdir(parents=True, exist_ok=True)
    lock = FileLock(directory / "lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise ValueError(
            f"directory must be used by one {work} at a time; wait for the other one, or use another directory. "
            f"Received: {directory}, which a {work} of another process uses"
        ) from None
    try:
        yield
    finally:
        lock.release()


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
    for outdated in [*directory.glob(".*"), *(directory / str(number) for number in _numbers(directory)[:-KEPT])]:
        shutil.rmtree(outdated, ignore_errors=True)
    return path


def newest(directory: Path) -> SavedState | None:
    """Reads the newest checkpoint; a broken one is skipped with a warning in the log, and the next older one is read.

    Args:
        directory: the directory of all checkpoints of a training.

    Returns:
        The content of the checkpoint; None if there is no readable one.
    """
    for number in reversed(_numbers(directory)):
        path = directory / str(number)
        try:
            return _read(path)
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
            log.warning("checkpoint %s cannot be read and is skipped: %s", path, error)
    return None


def _read(path: Path) -> SavedState:
    return SavedState(path, read_arrays(path / ARRAYS), json.loads((path / STATE).read_text()))


def write_arrays(arrays: Mapping[str, np.ndarray], path: Path) -> None:
    """Writes arrays to an .npz file and flushes it to the disk."""
    with path.open("wb") as file:
        np.savez(file, allow_pickle=False, **arrays)
    flush_file(path)


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """Reads a file of `write_arrays`; a wrong checksum of an array raises `zipfile.BadZipFile`."""
    with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
        return {name: arrays[name] for name in arrays.files}


def _numbers(directory: Path) -> list[int]:
    """The numbers of the checkpoints in a directory, in ascending order."""
    paths = directory.iterdir() if directory.is_dir() else ()
    return sorted(int(path.name) for path in paths if path.name.isdecimal())
