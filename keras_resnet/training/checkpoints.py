"""Checkpoints of a training: a directory each, which is there as a whole or not at all.

    checkpoints/120/arrays.npz    every variable: weights, statistics, optimizer, moving average, states of randomness
    checkpoints/120/state.json    what is no array: where the training is, its history, the best so far

Each is written beside, flushed to the disk and renamed; the newest `KEPT` stay.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import shutil
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from filelock import FileLock, Timeout

KEPT = 2
ARRAYS, STATE = "arrays.npz", "state.json"
log = logging.getLogger("keras_resnet.training")


class Checkpoint(NamedTuple):
    """What was saved, and where."""

    path: Path
    arrays: dict[str, np.ndarray]
    state: dict[str, Any]


@contextlib.contextmanager
def exclusive(directory: Path) -> Iterator[None]:
    """Keeps checkpoints to one process at a time; however that ends, the system lets go of them.

    Raises:
        ValueError: another process has them.
    """
    directory.mkdir(parents=True, exist_ok=True)
    lock = FileLock(directory / "lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise ValueError(
            f"directory must be of one training at a time. Received: {directory}, where another process trains"
        ) from None
    try:
        yield
    finally:
        lock.release()


def save(directory: Path, number: int, arrays: Mapping[str, np.ndarray], state: Mapping[str, Any]) -> Path:
    """Saves a checkpoint; one of the same number is replaced, and older ones than the newest `KEPT` are removed.

    Args:
        directory: of all checkpoints of a training; made where it does not exist.
        number: of this one; the highest is the newest.
        arrays: by name.
        state: whatever JSON can hold.

    Returns:
        Its path.

    Raises:
        OSError: it could not be written, as on a full disk; the ones before are as they were.
    """
    directory.mkdir(parents=True, exist_ok=True)
    for left_behind in directory.glob(".*"):  # by a kill in mid-write
        shutil.rmtree(left_behind, ignore_errors=True)
    aside, path = directory / f".{number}", directory / str(number)
    try:
        aside.mkdir()
        write_arrays(arrays, aside / ARRAYS)
        with (aside / STATE).open("w") as text:
            json.dump(state, text, indent=1)
            text.flush()
            os.fsync(text.fileno())
        _flush_directory(aside)
        if path.exists():  # a directory cannot be renamed over another
            path.rename(directory / f".{number}-replaced")
        aside.rename(path)
        _flush_directory(directory)
    except OSError:
        shutil.rmtree(aside, ignore_errors=True)
        raise
    for old in [*directory.glob(".*"), *(directory / str(number) for number in _numbers(directory)[:-KEPT])]:
        shutil.rmtree(old, ignore_errors=True)
    return path


def newest(directory: Path) -> Checkpoint | None:
    """The newest checkpoint that can be read, or None; a broken one is logged and the one before it taken."""
    for number in reversed(_numbers(directory)):
        path = directory / str(number)
        try:
            return _read(path)
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
            log.warning("checkpoint %s cannot be read and is passed over: %s", path, error)
    return None


def _read(path: Path) -> Checkpoint:
    return Checkpoint(path, read_arrays(path / ARRAYS), json.loads((path / STATE).read_text()))


def write_arrays(arrays: Mapping[str, np.ndarray], path: Path) -> None:
    """Writes arrays through to the disk."""
    with path.open("wb") as file:
        np.savez(file, allow_pickle=False, **arrays)
        file.flush()
        os.fsync(file.fileno())


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """What `write_arrays` wrote; each is held against its checksum."""
    with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
        return {name: arrays[name] for name in arrays.files}


def _numbers(directory: Path) -> list[int]:
    """Those of the checkpoints in a directory, ascending."""
    paths = directory.iterdir() if directory.is_dir() else ()
    return sorted(int(path.name) for path in paths if path.name.isdecimal())


def _flush_directory(path: Path) -> None:
    """Without it a rename may be lost with the power; Windows can not, and need not."""
    if os.name == "posix":
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
