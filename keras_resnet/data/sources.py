"""Sources: where labelled images come from. `load("digits", "train")`, `load("folder:photos", "test")` ..."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from keras_resnet.arguments import one_of
from keras_resnet.data import folders, idx
from keras_resnet.data.decode import decode, read_image

SPLITS = ("train", "test")
ALL = "all"  # of a folder that is itself one split


@dataclasses.dataclass(frozen=True)
class Split:
    """Labelled images of one split.

    `examples` yields (image, label): uint8 (H, W, C) of any height and width, and an integer that indexes `classes`.
    `files` are the images' where each has one.
    """

    examples: tf.data.Dataset
    size: int
    classes: tuple[str, ...]
    channels: int
    files: tuple[str, ...] = ()


def load(source: str, split: str) -> Split:
    """Opens a split of a data set.

    Args:
        source: "digits" (scikit-learn's 1,797 handwritten digits), "idx:DIR" (files in MNIST's format),
            "tfds:NAME" (TensorFlow Datasets) or "folder:DIR" (one folder a class).
        split: "train" or "test"; or "all": every image of a folder of classes, in a fixed order.

    Returns:
        A `Split`.

    Raises:
        ValueError: no such source or split, or nothing readable there.

    Example:
        >>> import keras_resnet as kr
        >>> digits = kr.data.load("digits", "test")
        >>> digits.size, digits.classes[:3], digits.examples.element_spec[0].shape
        (360, ('0', '1', '2'), TensorShape([8, 8, 1]))
    """
    one_of("split", split, (*SPLITS, ALL))
    kind, _, where = source.partition(":")
    if kind not in SOURCES or bool(where) is (kind == "digits"):
        raise ValueError(f"data must be digits, idx:DIR, tfds:NAME or folder:DIR. Received: {source!r}")
    if split == ALL and kind != "folder":
        raise ValueError(
            f"split must be 'train' or 'test' here; 'all' is for folder:DIR. Received: {split!r}, {source!r}"
        )
    try:
        return SOURCES[kind](where, split)
    except OSError as error:
        raise ValueError(f"data: cannot read {source}: {error}") from error


def class_indices(names: Sequence[str], known: Sequence[tuple[str, ...]]) -> list[int]:
    """Finds a data set's classes among those of a model; case and underscores for spaces matter only between two.

    Args:
        names: of the data set's classes, such as `Split.classes`.
        known: for each class of the model all its names, such as `keras_resnet.classes.imagenet_classes()`.

    Returns:
        For each of `names` an index into `known`.

    Raises:
        ValueError: a name is not known, or is one of several classes, or two are of one.

    Example:
        >>> from keras_resnet.data.sources import class_indices
        >>> class_indices(["Golden_retriever", "n01"], [("n01", "tench"), ("n02", "golden retriever")])
        [1, 0]
    """
    exact, folded = _by_name(known, str), _by_name(known, _folded)
    indices = [exact.get(name) or folded.get(_folded(name), []) for name in names]
    if unknown := [name for name, found in zip(names, indices) if not found]:
        more = f" and {len(unknown) - 5} more" if len(unknown) > 5 else ""
        raise ValueError(
            f"data must have classes that the model knows. Received: {', '.join(map(repr, unknown[:5]))}{more}, which "
            "are not"
        )
    taken: dict[int, str] = {}
    for name, found in zip(names, indices):
        if len(found) > 1:
            fitting = " and ".join(f"{index} {known[index]}" for index in found)
            raise ValueError(f"data must have classes that each fit one. Received: {name!r}, which fits {fitting}")
        if found[0] in taken:
            raise ValueError(f"data must have each class once. Received: {taken[found[0]]!r} and {name!r}")
        taken[found[0]] = name
    return list(taken)


def _by_name(known: Sequence[tuple[str, ...]], form: Callable[[str], str]) -> dict[str, list[int]]:
    """The classes that have a name, in a form of it."""
    found: dict[str, list[int]] = {}
    for index, aliases in enumerate(known):
        for alias in {form(alias) for alias in aliases}:
            found.setdefault(alias, []).append(index)
    return found


def _folded(name: str) -> str:
    return name.replace("_", " ").casefold()


@contextlib.contextmanager
def bad_files_named(*splits: Split) -> Iterator[None]:
    """Turns the error of a decoder deep in a pipeline into a `ValueError` that names the files."""
    try:
        yield
    except tf.errors.InvalidArgumentError as error:
        bad = []
        for file in (file for split in splits for file in split.files):
            try:
                read_image(Path(file), 3)
            except ValueError as reason:
                bad.append(reason)
        if not bad:
            raise
        more = f", and {len(bad) - 1} more such files" if len(bad) > 1 else ""
        raise ValueError(f"data: {bad[0]}{more}") from error


def from_arrays(images: np.ndarray, labels: np.ndarray, classes: tuple[str, ...]) -> Split:
    """A split of images in memory: uint8 (N, H, W, C) and N labels."""
    examples = tf.data.Dataset.from_tensor_slices((images, labels.astype("int64")))
    return Split(examples, len(images), classes, images.shape[-1])


def _digits(_: str, split: str) -> Split:
    from sklearn.datasets import load_digits  # noqa: PLC0415
    from sklearn.model_selection import train_test_split  # noqa: PLC0415

    bunch = load_digits()
    # One fixed, stratified fifth is held out, so that figures of different runs are of the same images.
    parts = train_test_split(bunch.images, bunch.target, test_size=360, stratify=bunch.target, random_state=0)
    images, labels = parts[SPLITS.index(split) :: 2]
    return from_arrays((images * 255 / 16).astype("uint8")[..., None], labels, tuple(map(str, bunch.target_names)))


def _idx(where: str, split: str) -> Split:
    directory = Path(where).expanduser()
    images, labels = idx.read(directory, split)
    return from_arrays(images[..., None], labels, idx.classes(directory, labels))


def _folder(where: str, split: str) -> Split:
    files, labels, classes = folders.scan(Path(where).expanduser(), split)
    examples = tf.data.Dataset.from_tensor_slices((files, labels))
    examples = examples.map(lambda file, label: (decode(tf.io.read_file(file), 3), label), tf.data.AUTOTUNE)
    return Split(examples, len(files), classes, 3, tuple(files))


def _tfds(where: str, split: str) -> Split:
    import tensorflow_datasets as tfds  # noqa: PLC0415

    try:
        builder = tfds.builder(where)
        builder.download_and_prepare()
    except Exception as error:
        raise ValueError(f"data: cannot prepare the TensorFlow data set {where!r}: {error}") from error
    # Some data sets, ImageNet the best known, publish the labels of their validation split only.
    names = {"train": ("train",), "test": ("test", "validation")}[split]
    found = [name for name in names if name in builder.info.splits and _has_labels(builder, name)]
    if not found or builder.info.supervised_keys is None or "label" not in builder.info.features:
        raise ValueError(
            f"data: tfds:{where} must have images with labels in one of the splits {', '.join(names)}. "
            f"Received: splits {list(builder.info.splits)}, features {list(builder.info.features)}"
        )
    features = builder.info.features
    return Split(
        builder.as_dataset(split=found[0], as_supervised=True),
        builder.info.splits[found[0]].num_examples,
        tuple(features["label"].names),
        features["image"].shape[-1],
    )


def _has_labels(builder: Any, split: str) -> bool:
    """Whether a split's labels are known: ImageNet's test split has -1 for all."""
    if builder.info.supervised_keys is None or "label" not in builder.info.features:
        return True  # and that will be said
    first = next(iter(builder.as_dataset(split=f"{split}[:1]").as_numpy_iterator()), {"label": 0})
    return first["label"] >= 0


SOURCES: dict[str, Callable[[str, str], Split]] = {
    "digits": _digits,
    "idx": _idx,
    "tfds": _tfds,
    "folder": _folder,
}
