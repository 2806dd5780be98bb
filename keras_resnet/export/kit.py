"""What it takes to serve an export: files for Docker Compose, TF Serving and OpenVINO Model Server, from templates."""

from __future__ import annotations

import os
import re
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")  # it stands in paths, URLs and the syntax of three formats
MARK = "{{model}}"


def model_path(directory: str | os.PathLike[str], name: str) -> Path:
    """Where a kit looks for the versions of a model: the `path` of `saved_model`.

    Args:
        directory: of the kit.
        name: under which the model is served; letters, digits, `_`, `.` and `-`.

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
        raise ValueError(f"name must be of letters, digits, '_', '.' and '-'. Received: name={name!r}")
    return Path(directory).expanduser() / "models" / name


def write(directory: str | os.PathLike[str], name: str) -> list[Path]:
    """Writes a kit beside a model: `compose.yaml`, `config/` and a `README.md` that says how to use it.

    A file that is there stays as it is: whoever exports a second version keeps what was changed by hand.

    Args:
        directory: where to; made where it does not exist. The versions belong into `model_path(directory, name)`.
        name: under which the model is served.

    Returns:
        The files that were written.

    Raises:
        ValueError: the name has characters other than letters, digits, `_`, `.` and `-`; or the directory has the kit
            of another model, which would go on without this one.

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
            path.write_text(template.read_text(encoding="utf-8").replace(MARK, name), encoding="utf-8")
            written.append(path)
    return written


def check(directory: str | os.PathLike[str], name: str) -> None:
    """A `ValueError` unless `write` may write there: the name is one, and no kit that is there serves others alone."""
    path = model_path(directory, name)
    config = path.parent.parent / "config" / "models.config"
    if config.exists() and not re.search(rf"/models/{re.escape(name)}[\"'/\s]", config.read_text(encoding="utf-8")):
        raise ValueError(
            f"name must be that of a model in {config}, or the directory a new one: the kit there does not serve "
            f"others. Received: name={name!r}"
        )


def _templates(folder: Traversable, prefix: str) -> list[tuple[str, Traversable]]:
    found = []
    for entry in sorted(folder.iterdir(), key=lambda entry: entry.name):
        place = f"{prefix}{entry.name}"
        found += _templates(entry, f"{place}/") if entry.is_dir() else [(place, entry)]
    return found
