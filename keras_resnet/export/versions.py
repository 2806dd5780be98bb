"""Versions of served models: `path/version/`, written to a temporary directory, checked and renamed."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

from keras_resnet._internal.atomic_files import flush_file, writing
from keras_resnet._internal.validation import directory, integer

LAST_VERSION = 2**63 - 1  # the number of a version is an int64 in servers


def version_directory(path: str | os.PathLike[str], version: int) -> Path:
    """The directory of a version that does not exist yet.

    Args:
        path: directory of the versions.
        version: number of the version, from 1 to 2**63 - 1.

    Raises:
        ValueError: the number is outside its range, or the version exists.
    """
    if integer("version", version) > LAST_VERSION:
        raise ValueError(f"version must be at most 2**63 - 1. Received: version={version}")
    target = directory("path", path) / str(version)
    if target.exists():
        raise _version_exists(target)
    return target


@contextlib.contextmanager
def publishing(target: Path) -> Iterator[Path]:
    """Yields a temporary directory for the files of a version; after the block, the version is visible to servers.

    Nothing is left of the version if an error is raised in the block.

    Args:
        target: directory of the version, from `version_directory`.
    """
    with writing(target):
        target.parent.mkdir(parents=True, exist_ok=True)
    # Not the number of the process: processes in containers often have the same one, and the name must not be that of a
    # directory that a killed process left.
    temporary = target.with_name(f".{target.name}-{secrets.token_hex(8)}")
    try:
        yield temporary
        _publish(temporary, target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _publish(temporary: Path, target: Path) -> None:
    """Synchronises the files of a version with the disk, and renames its directory."""
    for path in temporary.rglob("*"):
        if path.is_file():
            flush_file(path)
    try:
        temporary.rename(target)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
        raise _version_exists(target) from error


def _version_exists(target: Path) -> ValueError:
    return ValueError(f"version must be new. Received: version={target.name}, but {target} exists; use another number")
