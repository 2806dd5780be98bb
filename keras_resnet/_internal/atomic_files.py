"""Atomic file writes: write to a temporary file, fsync, rename."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from keras_resnet._internal.validation import printable


class CannotWriteError(OSError):
    """A file cannot be written, for example on a full disk; the message is one sentence with its path."""

    def __str__(self) -> str:
        return str(self.strerror)


@contextlib.contextmanager
def writing(path: Path, *others: type[Exception]) -> Iterator[None]:
    """Errors of the file system inside the block name the file that the user asked for.

    Args:
        path: path of the file or directory.
        others: errors of libraries that raise their own in place of an `OSError`.

    Raises:
        CannotWriteError: in place of an `OSError` or one of `others`.
    """
    kinds: tuple[type[Exception], ...] = (OSError, *others)
    try:
        yield
    except CannotWriteError:
        raise
    except kinds as error:
        number = error.errno if isinstance(error, OSError) else None
        raise CannotWriteError(number, f"cannot write {printable(path)}: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    """What went wrong, in one line. The path of a temporary file, and places in a library's own code, are left out.

    Example:
        >>> from keras_resnet._internal.atomic_files import _reason
        >>> _reason(OSError(28, "No space left on device"))
        'No space left on device'
        >>> _reason(RuntimeError("{{function_node SaveV2}} /tmp/part; File too large [Op:SaveV2]"))  # of TensorFlow
        'File too large'
        >>> _reason(RuntimeError("basic_ios::clear: iostream error"))  # of OpenVINO, as the next one
        'basic_ios::clear: iostream error'
        >>> _reason(RuntimeError("Check 'xml_file' failed at src/pass/serialize.cpp:129:\\nCan't open xml file\\n"))
        "Can't open xml file"
    """
    if isinstance(error, OSError):
        return error.strerror or str(error)
    _, has_path, last = str(error).rpartition("; ")
    lines = last.partition(" [Op:")[0].strip().splitlines() or [type(error).__name__]
    return lines[0] if has_path else lines[-1]


@contextlib.contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Gives the path of a temporary file, which replaces the file at `path` when the block ends without an error.

    After an error the temporary file is removed, and the old file at `path` stays. If the process is killed, the old
    file stays too.

    Args:
        path: path of the file to write; its directory must exist.

    Yields:
        Path of the temporary file: in the same directory, with the same ending. The block must write this file.

    Raises:
        CannotWriteError: in place of an `OSError`, also one that is raised inside the block.

    Example:
        >>> import pathlib, tempfile
        >>> from keras_resnet._internal.atomic_files import atomic_write
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = pathlib.Path(folder) / "history.csv"
        ...     with atomic_write(path) as temporary:
        ...         _ = temporary.write_text("epoch,loss")
        ...     path.read_text()
        'epoch,loss'
    """
    temporary = path.with_name(f".{os.getpid()}-{path.name}")
    with writing(path):
        try:
            yield temporary
            flush_file(temporary)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


def flush_file(path: Path) -> None:
    """Flushes a file to the disk: without this a power failure may lose its content."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


def flush_directory(path: Path) -> None:
    """Flushes a directory to the disk: without this a power failure may undo a rename in it.

    Windows does not support it, and does not need it.
    """
    if os.name == "posix":
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
