"""Reading of JSON files that hold an object; an error names the file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from keras_resnet._internal.validation import printable


def read_object(path: Path) -> dict[str, Any]:
    """The object in a JSON file.

    Args:
        path: path of the file.

    Raises:
        ValueError: the file cannot be read, or holds something else.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:  # json and UTF-8 raise kinds of ValueError
        raise ValueError(
            f"{printable(path)} must be a readable JSON file. Received: {type(error).__name__}: {str(error)[:200]}"
        ) from error
    if not isinstance(content, dict):
        raise ValueError(f"{printable(path)} must hold a JSON object. Received: {content!r:.100}")
    return content
