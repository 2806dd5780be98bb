"""A directory that one process at a time writes to."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from keras_resnet._internal.validation import printable


@contextlib.contextmanager
def exclusive(directory: Path, work: str, name: str = "lock") -> Iterator[None]:
    """Locks a directory for this process inside the block; creates the directory if it is missing.

    The operating system releases the lock when the process ends, also when it is killed.

    Args:
        directory: the directory.
        work: what writes to the directory, for the error: "training", "search" or "preparation".
        name: name of the file that is locked.

    Raises:
        ValueError: another process holds the lock.
    """
    directory.mkdir(parents=True, exist_ok=True)
    lock = FileLock(directory / name)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise ValueError(
            f"directory must be used by one {work} at a time; wait for the other one, or use another directory. "
            f"Received: {printable(directory)}, which a {work} of another process uses"
        ) from None
    try:
        yield
    finally:
        lock.release()
