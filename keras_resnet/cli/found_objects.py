"""The forms in which `detect predict` writes what it found: lines, a CSV file, JSON, pictures."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf

from keras_resnet._internal.atomic_files import atomic_write
from keras_resnet._internal.validation import printable
from keras_resnet.data.folders import images_below
from keras_resnet.detection import Found, draw

COLUMNS = ("file", "class", "score", "left", "top", "right", "bottom")
Rows = Sequence[tuple[Path, Found]]


def image_files(arguments: Sequence[Path]) -> tuple[list[Path], list[Path]]:
    """The image files of arguments, and the names of their pictures.

    Args:
        arguments: image files, and directories, whose images are used at any depth.

    Returns:
        The files; and for each of them the name of its picture: the path of the file below the directory that is its
        argument, or only the name of a file that is an argument itself, with .png at the end.

    Raises:
        ValueError: a directory has no images.
    """
    files: list[Path] = []
    names: list[Path] = []
    for argument in arguments:
        is_directory = argument.is_dir()
        top = argument if is_directory else argument.parent
        for file in map(Path, images_below(argument)) if is_directory else [argument]:
            files.append(file)
            names.append(file.relative_to(top).with_name(f"{file.name}.png"))
    return files, names


def check_names(files: Sequence[Path], names: Sequence[Path]) -> None:
    """Raises a `ValueError` if the pictures of two files have the same name."""
    files_by_name: dict[Path, Path] = {}
    for file, name in zip(files, names, strict=True):
        other = files_by_name.setdefault(name, file)
        if other != file:
            raise ValueError(
                "pictures must have another name for each image: give the directory above the images, whose folders "
                "are kept, or run the command for each of them with its own --pictures. "
                f"Received: {printable(other)} and {printable(file)}, which would both become {printable(name)}"
            )


def likely(found: Found, least_score: float) -> Found:
    """The objects with at least this probability."""
    kept = found.scores >= least_score
    return Found(*(part[kept] for part in found))


def lines(rows: Rows, classes: Sequence[str]) -> Iterator[str]:
    """A line for each object, and one for an image without any."""
    for file, found in rows:
        for name, score, box in _objects(found, classes):
            yield f"{printable(file)}: {name} {score:.1%} at {', '.join(f'{side:.0f}' for side in box)}"
        if not len(found.scores):
            yield f"{printable(file)}: nothing"


def write_csv(rows: Rows, classes: Sequence[str], path: Path) -> None:
    """Writes a CSV file with a row for each object; boxes are in pixels."""
    with atomic_write(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as text:
        writer = csv.writer(text)
        writer.writerow(COLUMNS)
        for file, found in rows:
            for name, score, box in _objects(found, classes):
                writer.writerow([printable(file), name, f"{score:.6g}", *(f"{side:.2f}" for side in box)])


def as_json(rows: Rows, classes: Sequence[str]) -> str:
    """A JSON array of objects with file and objects: class, score, and box, left, top, right and bottom in pixels."""
    content = [
        {
            "file": printable(file),
            "objects": [
                {"class": name, "score": round(score, 6), "box": [round(side, 2) for side in box]}
                for name, score, box in _objects(found, classes)
            ],
        }
        for file, found in rows
    ]
    return json.dumps(content, indent=1, allow_nan=False)


def write_picture(image: np.ndarray, found: Found, classes: Sequence[str], path: Path) -> None:
    """Writes an image with labelled boxes to a PNG file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as temporary:
        temporary.write_bytes(tf.io.encode_png(draw(image, found, classes)).numpy())


def _objects(found: Found, classes: Sequence[str]) -> Iterator[tuple[str, float, list[float]]]:
    for box, number, score in zip(found.boxes.tolist(), found.classes.tolist(), found.scores.tolist(), strict=True):
        yield classes[number], score, box
