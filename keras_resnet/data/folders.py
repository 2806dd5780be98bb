"""Image folders: one folder for each class, with or without folders such as `train`, `val` and `test` above them."""

from __future__ import annotations

import collections
import logging
import os
import random
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from keras_resnet._internal.validation import printable

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp")
MOST_BYTES = 100_000_000  # a file is read whole, and each core reads one
HELD_OUT = 5  # one image in five is for testing, if there is no folder `train`
# Names of the folders of a split, in any case, with "_", "-" or a space. `seg_train` is from Kaggle's Intel images.
SPLIT_NAMES = {
    "train": ("train", "training", "train_set", "training_set", "trainset", "train_data", "seg_train"),
    "val": ("val", "valid", "validation", "val_set", "valid_set", "validation_set", "valset", "val_data", "seg_val"),
    "test": ("test", "testing", "test_set", "testing_set", "testset", "test_data", "seg_test"),
}
# Files and folders that systems and programs add. Hidden ones, such as `.ipynb_checkpoints` and `._1.jpg`, are skipped
# too: they hold copies of images, which would come into training and test.
ADDED_BY_SYSTEMS = frozenset({"__macosx", "thumbs.db", "desktop.ini", "@eadir", "$recycle.bin", "lost+found"})
LOGGER = logging.getLogger("keras_resnet.data")
LOOSE = "images in no class folder"

Scanned = tuple[list[str], list[int], tuple[str, ...]]  # file names, labels, class names


def scan(directory: Path, split: str) -> Scanned:
    """Lists the files of a split, their labels and the names of the classes.

    A folder such as `train` holds a split if it contains folders; one that contains images is the folder of a class.
    Files that are no images, and images that are in no class folder, are counted in a warning of the log
    `keras_resnet.data`. Links are followed.

    Args:
        directory: `DIR/train/CLASS/*`, with `DIR/test/CLASS/*` and `DIR/val/CLASS/*` or one of them; or `DIR/CLASS/*`.
            In the second form a fixed fifth of each class is the test split; in the first form too, if images lie in
            `DIR/test` itself, as in competitions: they have no labels and are not used, which a warning says.
        split: "train", "val", "test" or "all". Without a folder `test`, `val` is the test split. "all" is every image,
            class by class, and needs the second form.

    Returns:
        (file names, labels, class names). The labels are indices into the class names.

    Raises:
        ValueError: the directory has another form, has no images for this split, or a class has no training images.
    """
    if not directory.is_dir():
        raise ValueError(
            "data: folder: must be followed by a directory with one folder for each class. "
            f"Received: {directory}, which is not a directory"
        )
    parts = split_folders(directory)
    if split in ("test", "val"):  # training and evaluation read one of them once: one warning is enough
        _warn_of_unlabelled(directory, parts)
    if "train" in parts and parts.get("test") != parts["train"]:
        return _split_by_folder(directory, parts, split)
    directory = parts.get("train", directory)
    classes = _classes(directory)
    if split == "val":
        raise ValueError(
            f"data: {directory} must have a folder train and a folder val with the classes for split 'val'. "
            f"Received: the folders {', '.join(classes) or 'none'}"
        )
    files = [_files(directory / name) for name in classes]
    if split != "test":  # "train" and "test" see the same files: one warning is enough
        _warn_of_other_files(directory, files)
    if split == "train":
        _check_every_class(directory, classes, files)
    if split == "all":
        return _labelled(directory, split, classes, files, [images for images, _ in files])
    chosen = []
    for images, _ in files:
        random.Random(0).shuffle(images)
        cut = min(max(len(images) // HELD_OUT, 1), max(len(images) - 1, 0))  # a class of one image is for training
        chosen.append(images[cut:] if split == "train" else images[:cut])
    return _labelled(directory, split, classes, files, chosen)


def split_folders(directory: Path) -> Mapping[str, Path]:
    """The folders of `directory` that hold a split, by "train", "val" and "test"; empty without a training folder.

    "test" has the folder of "train" if the only other images have no labels: a fifth of each class is then for testing.

    Raises:
        ValueError: two folders stand for the same split, or all folders have names of splits and none holds classes.
    """
    if not directory.is_dir():
        return {}
    named = [(split, path) for path in _folders(directory) if (split := _split_of(path.name))]
    parts: dict[str, Path] = {}
    for split, path in named:
        inner = _without_wrapper(path, split)
        if not _folders(inner):
            continue
        if split in parts:
            raise ValueError(
                f"data: {directory} must have one folder for {split}. "
                f"Received: {parts[split].relative_to(directory)} and {inner.relative_to(directory)}"
            )
        parts[split] = inner
    if "train" not in parts and named and len(named) == len(_folders(directory)):
        whole = next(iter(parts.values()), None)
        hint = f"give folder:{whole} and the split 'all'" if whole else "move the images of each class into a folder"
        raise ValueError(
            f"data: {directory} must have the folders of the classes in it, or in DIR/train. "
            f"Received: only {', '.join(path.name for _, path in named)}, and no train with one folder for each class; "
            f"{hint}"
        )
    if parts.keys() == {"train"} and any(map(_has_images, _unlabelled(directory, parts))):
        return {**parts, "test": parts["train"]}
    return parts if "train" in parts else {}


def _unlabelled(directory: Path, parts: Mapping[str, Path]) -> list[Path]:
    """The folders named as a split without folders of classes in them, next to a training folder with classes."""
    named = [path for path in _folders(directory) if _split_of(path.name)] if "train" in parts else []
    return [path for path in named if not any(path in (part, *part.parents) for part in parts.values())]


def _warn_of_unlabelled(directory: Path, parts: Mapping[str, Path]) -> None:
    for path in filter(_has_images, _unlabelled(directory, parts)):
        instead = f"; a fifth of each class of {parts['train']} is for testing"
        LOGGER.warning(
            "%s is not used: its images are in no class folder, so they have no labels%s",
            printable(path),
            printable(instead) if parts.get("test") == parts["train"] else "",
        )


def default_split(source: str) -> str:
    """The split on which accuracy is measured if the user names none.

    Returns:
        "all" for a folder or a glob that is one split itself, for example ImageNet's `val`; "test" for other sources.
    """
    kind, _, where = source.partition(":")
    path = Path(where).expanduser()
    if kind == "folder":
        return "test" if split_folders(path) else "all"
    return "all" if kind == "tfrecord" and not path.is_dir() and "{split}" not in where else "test"


def _split_of(name: str) -> str | None:
    """The split that a folder of this name stands for."""
    plain = name.casefold().replace("-", "_").replace(" ", "_")
    return next((split for split, names in SPLIT_NAMES.items() if plain in names), None)


def _without_wrapper(path: Path, split: str) -> Path:
    """The folder with the classes: `seg_train/seg_train` of Kaggle's Intel images is unpacked twice."""
    folders = _folders(path)
    return folders[0] if len(folders) == 1 and _split_of(folders[0].name) == split else path


def _split_by_folder(directory: Path, parts: Mapping[str, Path], split: str) -> Scanned:
    if split == "all":
        raise ValueError(
            "data: for split 'all' the directory must contain the folders of the classes; give "
            f"{' or '.join(map(str, parts.values()))}. Received: {directory}, which contains the folder "
            f"{parts['train'].relative_to(directory)}"
        )
    part = parts.get(split, parts.get("val") if split == "test" else None)
    if part is None:
        names = "test or val" if split == "test" else "val"
        raise ValueError(
            f"data: {directory} must have a folder {names} with the classes, next to train, for split {split!r}; "
            f"folder:{parts['train']} holds a fifth of its images out. "
            f"Received: {', '.join(path.name for path in _folders(directory))}"
        )
    classes = _classes(parts["train"])
    if unknown := sorted(set(_classes(part)) - set(classes)):
        raise ValueError(
            f"data: {part} must have no classes besides those of {parts['train']}. Received: also {unknown}"
        )
    files = [_files(part / name) for name in classes]
    _warn_of_other_files(part, files)
    if split == "train":
        _check_every_class(part, classes, files)
    return _labelled(part, split, classes, files, [images for images, _ in files])


def _classes(directory: Path) -> tuple[str, ...]:
    """The names of the class folders.

    Raises:
        ValueError: a name is not UTF-8, or a class folder holds splits.
    """
    folders = _folders(directory)
    for folder in folders:
        if printable(folder.name) != folder.name:
            raise ValueError(
                f"data: folders of classes must have names in UTF-8. Received: {printable(folder)}; rename it"
            )
        inner = {split for child in _folders(folder) if (split := _split_of(child.name))}
        if {"train"} < inner:  # "train" alone may be a class, of vehicles
            raise ValueError(
                f"data: {directory} must have folders of classes, or train and test with folders of classes. "
                f"Received: {folder} with the folders {', '.join(child.name for child in _folders(folder))}; "
                f"give folder:{folder}, or move the classes below train and test"
            )
    return tuple(folder.name for folder in folders)


def _is_added(name: str) -> bool:
    return name.startswith(".") or name.casefold() in ADDED_BY_SYSTEMS


def _folders(directory: Path) -> list[Path]:
    with os.scandir(directory) as entries:  # `Path.is_dir` would ask the disk about each file
        return sorted(Path(entry.path) for entry in entries if entry.is_dir() and not _is_added(entry.name))


def images_below(directory: Path) -> list[str]:
    """The sorted names of all images below a directory; a warning counts the files that are not read.

    Raises:
        ValueError: there are none.
    """
    files = _files(directory)
    if not files.images:
        others = _counts(files.others) or "no files"
        raise ValueError(f"{printable(directory)} must hold images ({' '.join(SUFFIXES)}). Received: {others}")
    if files.others:
        _warn_of_kinds(directory, files.others)
    return files.images


class Files(NamedTuple):
    """The files of a class folder: sorted names of the images, and the number of other files by their kind."""

    images: list[str]
    others: collections.Counter[str]


def _files(directory: Path) -> Files:
    """The files below a directory. Links to directories are followed, except those that lead back up."""
    found = Files([], collections.Counter())
    for path, other in _walk(directory):
        if other:
            found.others[other] += 1
        else:
            found.images.append(path)
    found.images.sort()
    return found


def _has_images(directory: Path) -> bool:
    """Whether an image is below a directory; nothing is read after the first one."""
    return not all(other for _, other in _walk(directory))


def _walk(directory: Path, above: tuple[Path, ...] = ()) -> Iterator[tuple[str, str]]:
    """The files below a directory as pairs: the name, and the kind of a file that is no image, "" for an image.

    `above` has the real paths of the directories above. A path that is no directory has no files below it.
    """
    if not above and not directory.is_dir():
        return
    above = above or (directory.resolve(),)
    with os.scandir(directory) as entries:
        for entry in entries:
            if _is_added(entry.name):
                continue
            suffix = Path(entry.name).suffix.lower()
            if entry.is_dir():
                place = Path(entry.path).resolve() if entry.is_symlink() else above[-1] / entry.name
                if place not in above:
                    yield from _walk(Path(entry.path), (*above, place))
            elif not entry.is_file():  # reading a pipe or a device would never end
                yield entry.path, "pipe, device or broken link"
            elif suffix not in SUFFIXES:
                yield entry.path, suffix or "without a suffix"
            elif entry.stat().st_size > MOST_BYTES:
                yield entry.path, f"{suffix} over {MOST_BYTES // 10**6} MB"
            else:
                yield entry.path, ""


def _others(classes: Iterable[Files]) -> collections.Counter[str]:
    return sum((files.others for files in classes), collections.Counter())


def _numbered(count: int, thing: str) -> str:
    return f"{count or 'no'} {thing}{'' if count == 1 else 's'}"


def _counts(others: collections.Counter[str]) -> str:
    return ", ".join(f"{count} {kind}" for kind, count in sorted(others.items()))


def _warn_of_other_files(directory: Path, classes: list[Files]) -> None:
    """Logs how many files are not used: files of other types in the class folders, and images next to them."""
    others = _others(classes)
    with os.scandir(directory) as entries:
        if loose := sum(entry.is_file() and entry.name.lower().endswith(SUFFIXES) for entry in entries):
            others[LOOSE] = loose
    if others:
        _warn_of_kinds(directory, others)


def _warn_of_kinds(directory: Path, others: collections.Counter[str]) -> None:
    reason = "" if others.keys() == {LOOSE} else f" (only files that end in {' '.join(SUFFIXES)} are read)"
    LOGGER.warning("%s: not read: %s%s", printable(directory), _counts(others), reason)


def _check_every_class(directory: Path, names: tuple[str, ...], classes: list[Files]) -> None:
    empty = {name: files for name, files in zip(names, classes) if not files.images}
    if not empty or len(empty) == len(classes):  # `_labelled` raises the error for a directory without images
        return
    others = _counts(_others(empty.values())) or "no files"
    raise ValueError(
        f"data: every folder of a class must have images for training ({' '.join(SUFFIXES)}). "
        f"Received: {', '.join(list(empty)[:5])}{' and more' if len(empty) > 5 else ''} in {directory}, with {others}; "
        "convert the files, or remove the folder"
    )


def _labelled(
    directory: Path, split: str, names: tuple[str, ...], classes: list[Files], chosen: list[list[str]]
) -> Scanned:
    """The result of `scan`, from the chosen images of each class."""
    pairs = [(file, label) for label, images in enumerate(chosen) for file in images]
    if not pairs:
        others = _counts(_others(classes))
        raise ValueError(
            f"data: {directory} must have images ({' '.join(SUFFIXES)}) for {split!r} in one folder for each class; "
            f"a class of one image has it for training. Received: {_numbered(len(names), 'folder')}, "
            f"{_numbered(sum(len(files.images) for files in classes), 'image')}{f', {others}' if others else ''}"
        )
    if split == "train":
        # Shuffled once here: otherwise a shuffle buffer smaller than the data would give one class after the other.
        random.Random(0).shuffle(pairs)
    return [file for file, _ in pairs], [label for _, label in pairs], names
