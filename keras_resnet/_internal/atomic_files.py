"""Files that are whole at any moment: written beside, flushed to the disk, renamed."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """A path to write to, of the same ending; what is written there replaces `path` if the block ends well.

    Otherwise it is removed, and what was at `path` before stays; so it does if the process is killed.

    Example:
        >>> import pathlib, tempfile
        >>> from keras_resnet._internal.atomic_files import atomic_write
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = pathlib.Path(folder) / "history.csv"
        ...     with atomic_write(path) as aside:
        ...         _ = aside.write_text("epoch,loss")
        ...     path.read_text()
        'epoch,loss'
    """
    aside = path.with_name(f".{os.getpid()}-{path.name}")
    try:
        yield aside
        with aside.open("rb") as file:
            os.fsync(file.fileno())
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)
