"""What a data set holds: images of each split and class, and warnings about what makes an accuracy misleading."""

from __future__ import annotations

import collections
import hashlib
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from keras_resnet.data.records import Indexed
from keras_resnet.data.split import Split

FEW = 6  # if there are no more classes than this, the number of images of each is listed
UNEVEN = 10  # a warning if the most frequent class has more than this times as many images as the rarest
COMPARED = 50_000  # largest number of files that are searched for copies
MIDDLE = 1024  # bytes that are read of a file before a whole file is read

LOGGER = logging.getLogger("keras_resnet.data")


def describe(splits: Mapping[str, Split]) -> list[str]:
    """Two lines: the images of each split, and the classes with their numbers of images.

    Args:
        splits: the splits by the names to print. The classes are counted in the first one.

    Returns:
        The lines. The second has only the number of classes if labels are read one after the other (TFRecord).

    Example:
        >>> import keras_resnet as kr
        >>> from keras_resnet.data.summary import describe
        >>> describe({name: kr.data.load("digits", name) for name in ("train", "test")})[0]
        'images: 1,437 train, 360 test'
    """
    images = ", ".join(f"{split.size:,} {name}" for name, split in splits.items())
    first = next(iter(splits.values()))
    counts = class_counts(first)
    if counts is None:
        classes = f"{len(first.classes):,}"
    elif len(counts) <= FEW:
        classes = ", ".join(f"{name} {count:,}" for name, count in counts.items())
    else:
        rarest, most = _extremes(counts)
        classes = f"{len(counts):,}, from {counts[rarest]:,} images ({rarest}) to {counts[most]:,} ({most})"
    return [f"images: {images}", f"classes: {classes}"]


def class_counts(split: Split) -> dict[str, int] | None:
    """Number of images by class; None if the labels are not known before they are read."""
    if not isinstance(split.records, Indexed):
        return None
    return dict(zip(split.classes, label_counts(split).tolist(), strict=True))


def label_counts(split: Split) -> np.ndarray:
    """Number of images of each class, integers (classes,). Labels that are not known are read once."""
    if isinstance(split.records, Indexed):
        labels = split.records.labels
    else:
        rows = split.records.in_order().map(lambda _, raw: split.records.read(raw)[1])
        labels = np.fromiter(rows.ignore_errors().as_numpy_iterator(), "int64")  # training names what is corrupt
    return np.bincount(labels, minlength=len(split.classes))


def _extremes(counts: Mapping[str, int]) -> tuple[str, str]:
    """The class with the fewest images and the one with the most."""
    return min(counts, key=counts.__getitem__), max(counts, key=counts.__getitem__)


def warn_of_uneven_classes(train: Split) -> None:
    """Logs a warning if the classes of the training images are very uneven. It names the remedies."""
    counts = class_counts(train) or {}
    present = {title: count for title, count in counts.items() if count}
    rarest, most = _extremes(present) if present else ("", "")
    if present and present[most] > UNEVEN * present[rarest]:
        LOGGER.warning(
            "classes are uneven: %s has %s training images, %s has %s; a network that always says %s is right for "
            "%.0f%% of them; class_weights=balanced or balanced_sampling=True (on the command line --class-weights "
            "balanced or --balanced-sampling) makes rare classes count more",
            *(most, f"{present[most]:,}", rarest, f"{present[rarest]:,}", most),
            100 * present[most] / sum(present.values()),
        )


def warn_of_copies(splits: Mapping[str, Split]) -> None:
    """Logs a warning if files of one split are in another one too.

    Args:
        splits: the splits by their names, the training images first.
    """
    name, train = next(iter(splits.items()))
    for other, split in list(splits.items())[1:]:
        if copies := shared_files(train.files, split.files):
            files = f"{copies} file{'s' if copies > 1 else ''}"
            LOGGER.warning("%s of %s: the same bytes are in %s", files, other, name)


def shared_files(first: Sequence[str], second: Sequence[str]) -> int:
    """Number of files of `second` with the same bytes as a file of `first`; 0 for more than `COMPARED` files.

    Args:
        first: paths of files.
        second: paths of files.
    """
    if not first or not second or len(first) + len(second) > COMPARED:
        return 0
    candidates = [list(map(Path, first)), list(map(Path, second))]
    # Most files are told apart by their size or a few bytes, without reading them whole.
    for key in (lambda path: path.stat().st_size, _middle, lambda path: hashlib.sha256(path.read_bytes()).digest()):
        grouped = [_by(key, paths) for paths in candidates]
        common = grouped[0].keys() & grouped[1].keys()
        candidates = [[path for value in common for path in groups[value]] for groups in grouped]
    return len(candidates[1])


def _by(key: Callable[[Path], object], paths: Iterable[Path]) -> dict[object, list[Path]]:
    groups: dict[object, list[Path]] = collections.defaultdict(list)
    for path in paths:
        try:
            groups[key(path)].append(path)
        except OSError:  # the pipeline names a file that cannot be read
            continue
    return groups


def _middle(path: Path) -> tuple[int, bytes]:
    size = path.stat().st_size
    with path.open("rb") as file:
        file.seek(size // 2)
        return size, file.read(MIDDLE)
