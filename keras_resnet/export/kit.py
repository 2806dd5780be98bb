"""The deployment kit of an export: files for Docker Compose, TF Serving and OpenVINO Model Server, from templates."""

from __future__ import annotations

import os
import re
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

from keras_resnet._internal.atomic_files import atomic_write

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")  # is part of paths and URLs, and of files in three formats
MARK = "{{model}}"


def model_path(directory: str | os.PathLike[str], name: str) -> Path:
    """The directory in which a kit expects the versions of a model: pass it as `path` to `saved_model`.

    Args:
        directory: directory of the kit.
        name: the name under which the model is served. It starts with a letter or a digit, and has only letters,
            digits, `_`, `.` and `-`.

    Returns:
        `directory/models/name`.

    Raises:
        ValueError: the name has other characters.

    Example:
        >>> from keras_resnet.export import kit
        >>> kit.model_path("out", "flowers").as_posix()
        'out/models/flowers'
    """
    if not NAME.fullmatch(name):
        raise ValueError(
            "name must start with a letter or a digit, and have only letters, digits, '_', '.' and '-'. "
            f"Received: name={name!r}"
        )
    return Path(directory).expanduser() / "models" / name


def write(directory: str | os.PathLike[str], name: str) -> list[Path]:
    """Writes the kit of a model: `compose.yaml`, `config/`, and a `README.md` that explains how to use it.

    Files that exist already are not changed. So your own changes stay when you export a second version.

    Args:
        directory: directory of the kit; it is created if it does not exist. The versions of the model belong into
            `model_path(directory, name)`.
        name: the name under which the model is served.

    Returns:
        The files that were written.

    Raises:
        ValueError: the name does not start with a letter or a digit, or has characters other than letters, digits,
            `_`, `.` and `-`; or the directory has the kit of another model, which would not serve this one.

    Example:
        >>> import tempfile
        >>> from keras_resnet.export import kit
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     sorted(path.name for path in kit.write(folder, "flowers"))[:3]
        ['README.md', 'batching.config', 'canary.config']
    """
    check(directory, name)
    written = []
    for relative, template in _templates(files("keras_resnet.export") / "kit_files", ""):
        path = Path(directory).expanduser() / relative
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            with atomic_write(path) as temporary:
                temporary.write_text(template.read_text(encoding="utf-8").replace(MARK, name), encoding="utf-8")
            written.append(path)
    return written


def check(directory: str | os.PathLike[str], name: str) -> None:
    """Raises a `ValueError` if `write` cannot write the kit of this model into `directory`.

    The name must be valid. If the directory has a kit already, that kit must serve a model of this name.
    """
    path = model_path(directory, name)
    config = path.parent.parent / "config" / "models.config"
    if config.exists() and not re.search(rf"/models/{re.escape(name)}[\"'/\s]", config.read_text(encoding="utf-8")):
        raise ValueError(
            f"name must be the name of a model in {config}, because that kit serves no other models; or use another "
            f"directory. Received: name={name!r}"
        )


def _templates(folder: Traversable, prefix: str) -> list[tuple[str, Traversable]]:
    """The files in `folder` and in its folders, with their paths relative to the kit."""
    templates = []
    for entry in sorted(folder.iterdir(), key=lambda entry: entry.name):
        relative = f"{prefix}{entry.name}"
        templates += _templates(entry, f"{relative}/") if entry.is_dir() else [(relative, entry)]
    return templates
