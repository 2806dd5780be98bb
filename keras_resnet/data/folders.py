"""Folders of images, one folder a class, with or without `train` and `test` above them."""

from __future__ import annotations

import random
from pathlib import Path

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp")
TEST_NAMES = ("test", "val", "validation")
HELD_OUT = 5  # one image in so many is for testing, where the folders do not say which


def scan(directory: Path, split: str) -> tuple[list[str], list[int], tuple[str, ...]]:
    """The files of a split, their labels and the classes' names.

    With `DIR/train/CLASS/*` and `DIR/test/CLASS/*` (or `val`, `validation`) the split is the folders'. With
    `DIR/CLASS/*` a fixed fifth of each class is held out; "all" is every image, class by class.
    """
    if not directory.is_dir():
        raise ValueError(f"data: {directory} must be a directory with one folder per class. Received: no directory")
    if (directory / "train").is_dir() and _classes(directory / "train"):
        return _split_by_folder(directory, split)
    classes = _classes(directory)
    if split == "all":
        return _labelled(directory, split, classes, [_images(directory / name) for name in classes])
    chosen = []
    for name in classes:
        images = _images(directory / name)
        random.Random(0).shuffle(images)
        cut = max(len(images) // HELD_OUT, 1)
        chosen.append(images[cut:] if split == "train" else images[:cut])
    return _labelled(directory, split, classes, chosen)


def default_split(source: str) -> str:
    """What to measure on: "all" of a folder or a glob that is itself one split, as ImageNet's `val` is; else "test"."""
    kind, _, where = source.partition(":")
    path = Path(where).expanduser()
    whole = {"folder": not (path / "train").is_dir(), "tfrecord": not path.is_dir() and "{split}" not in where}
    return "all" if whole.get(kind, False) else "test"


def _split_by_folder(directory: Path, split: str) -> tuple[list[str], list[int], tuple[str, ...]]:
    if split == "all":
        parts = " or ".join(f"{directory / name}" for name in ("train", *TEST_NAMES) if (directory / name).is_dir())
        raise ValueError(
            f"data: for split 'all' a directory must have its classes right below it: give {parts}. "
            f"Received: {directory}, which has train below it"
        )
    names = ("train",) if split == "train" else TEST_NAMES
    found = [directory / name for name in names if (directory / name).is_dir()]
    if not found:
        raise ValueError(f"data: {directory} must have a folder {' or '.join(names)} beside train. Received: none")
    classes = _classes(directory / "train")
    if unknown := sorted(set(_classes(found[0])) - set(classes)):
        raise ValueError(f"data: {found[0]} must have the classes of train. Received: also {unknown}")
    return _labelled(directory, split, classes, [_images(found[0] / name) for name in classes])


def _classes(directory: Path) -> tuple[str, ...]:
    return tuple(sorted(child.name for child in directory.iterdir() if child.is_dir() and child.name[0] != "."))


def _images(directory: Path) -> list[str]:
    return sorted(str(path) for path in directory.rglob("*") if path.suffix.lower() in SUFFIXES)


def _labelled(
    directory: Path, split: str, classes: tuple[str, ...], images: list[list[str]]
) -> tuple[list[str], list[int], tuple[str, ...]]:
    """What `scan` returns, from the files of each class."""
    pairs = [(file, label) for label, files in enumerate(images) for file in files]
    if not pairs:
        raise ValueError(
            f"data: {directory} must have images ({' '.join(SUFFIXES)}) for {split!r} in one folder per class. "
            f"Received: {len(classes)} folders, no image"
        )
    if split == "train":
        # Mixed once for all: a shuffle buffer smaller than the data would otherwise hand out one class after the other.
        random.Random(0).shuffle(pairs)
    return [file for file, _ in pairs], [label for _, label in pairs], classes
