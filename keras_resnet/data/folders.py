"""Image folders: one folder for each class, with or without folders `train` and `test` above them."""

from __future__ import annotations

import random
from pathlib import Path

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp")
TEST_NAMES = ("test", "val", "validation")
HELD_OUT = 5  # one image in five is for testing, if there are no folders `train` and `test`


def scan(directory: Path, split: str) -> tuple[list[str], list[int], tuple[str, ...]]:
    """Lists the files of a split, their labels and the names of the classes.

    Args:
        directory: `DIR/train/CLASS/*` and `DIR/test/CLASS/*` (or `val`, `validation`), or `DIR/CLASS/*`. In the second
            form a fixed fifth of each class is the test split.
        split: "train", "test" or "all". "all" is every image, class by class, and needs the second form.

    Returns:
        (file names, labels, class names). The labels are indices into the class names.

    Raises:
        ValueError: the directory has another form, or has no images for this split.
    """
    if not directory.is_dir():
        raise ValueError(
            "data: folder: must be followed by a directory with one folder for each class. "
            f"Received: {directory}, which is not a directory"
        )
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
    """The split on which accuracy is measured if the user names none.

    Returns:
        "all" for a folder or a glob that is one split itself, for example ImageNet's `val`; "test" for other sources.
    """
    kind, _, where = source.partition(":")
    path = Path(where).expanduser()
    is_one_split = {"folder": not (path / "train").is_dir(), "tfrecord": not path.is_dir() and "{split}" not in where}
    return "all" if is_one_split.get(kind, False) else "test"


def _split_by_folder(directory: Path, split: str) -> tuple[list[str], list[int], tuple[str, ...]]:
    if split == "all":
        parts = " or ".join(f"{directory / name}" for name in ("train", *TEST_NAMES) if (directory / name).is_dir())
        raise ValueError(
            f"data: for split 'all' the directory must contain the folders of the classes; give {parts}. "
            f"Received: {directory}, which contains a folder train"
        )
    names = ("train",) if split == "train" else TEST_NAMES
    folders = [directory / name for name in names if (directory / name).is_dir()]
    if not folders:
        raise ValueError(
            f"data: {directory} must have a folder {' or '.join(names)} next to train. Received: none of them"
        )
    classes = _classes(directory / "train")
    if unknown := sorted(set(_classes(folders[0])) - set(classes)):
        raise ValueError(
            f"data: {folders[0]} must have no classes besides those of {directory / 'train'}. Received: also {unknown}"
        )
    return _labelled(directory, split, classes, [_images(folders[0] / name) for name in classes])


def _classes(directory: Path) -> tuple[str, ...]:
    return tuple(sorted(child.name for child in directory.iterdir() if child.is_dir() and child.name[0] != "."))


def _images(directory: Path) -> list[str]:
    return sorted(str(path) for path in directory.rglob("*") if path.suffix.lower() in SUFFIXES)


def _labelled(
    directory: Path, split: str, classes: tuple[str, ...], images: list[list[str]]
) -> tuple[list[str], list[int], tuple[str, ...]]:
    """The result of `scan`, from one list of files for each class."""
    pairs = [(file, label) for label, files in enumerate(images) for file in files]
    if not pairs:
        raise ValueError(
            f"data: {directory} must have images ({' '.join(SUFFIXES)}) for {split!r} in one folder for each class. "
            f"Received: {len(classes)} folders, no image"
        )
    if split == "train":
        # Shuffled once here: otherwise a shuffle buffer smaller than the data would give one class after the other.
        random.Random(0).shuffle(pairs)
    return [file for file, _ in pairs], [label for _, label in pairs], classes
