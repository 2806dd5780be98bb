"""The forms in which `predict` writes its rows: lines, a CSV file, JSON."""

from __future__ import annotations

import contextlib
import csv
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeAlias

import typer
from rich.console import Console

from keras_resnet._internal.atomic_files import atomic_write
from keras_resnet._internal.validation import printable
from keras_resnet.cli import report

Predictions: TypeAlias = Sequence[tuple[str, float]]  # classes with their probabilities, the most probable first
# Gets a row: the path of an image, and its predictions, or the reason why there are none.
Write: TypeAlias = Callable[[Path, Predictions | ValueError], None]


@contextlib.contextmanager
def as_lines(console: Console) -> Iterator[Write]:
    """Prints a line for each image. Errors are not printed."""

    def write(path: Path, result: Predictions | ValueError) -> None:
        if not isinstance(result, ValueError):
            report.prediction(path, result, console)

    yield write


@contextlib.contextmanager
def as_csv(file: Path, top: int) -> Iterator[Write]:
    """Writes a CSV file in UTF-8; it is there when the block ends without an error.

    Its columns are file, class_1, probability_1, class_2 and so on, and error.

    Args:
        file: path of the file; an old one is replaced.
        top: number of classes in a row.
    """
    numbers = range(1, top + 1)
    names = [name for number in numbers for name in (f"class_{number}", f"probability_{number}")]
    rows = [["file", *names, "error"]]

    def write(path: Path, result: Predictions | ValueError) -> None:
        if isinstance(result, ValueError):
            cells, error = [], str(result)
        else:
            cells, error = [cell for name, share in result for cell in (name, f"{share:.6g}")], ""
        rows.append([printable(path), *cells, *[""] * (len(names) - len(cells)), error])

    yield write
    # Not around the block: errors of other work in it are not errors of this file.
    with atomic_write(file) as temporary, temporary.open("w", newline="", encoding="utf-8") as text:
        csv.writer(text).writerows(rows)


@contextlib.contextmanager
def as_json() -> Iterator[Write]:
    """Prints a JSON array of objects: file, and predictions (each with class and probability) or error."""
    separator = "["

    def write(path: Path, result: Predictions | ValueError) -> None:
        nonlocal separator
        row = (
            {"error": str(result)}
            if isinstance(result, ValueError)
            else {"predictions": [{"class": name, "probability": float(share)} for name, share in result]}
        )
        typer.echo(f"{separator}\n{json.dumps({'file': printable(path), **row}, allow_nan=False)}", nl=False)
        separator = ","

    yield write
    typer.echo("\n]" if separator == "," else "[]")
