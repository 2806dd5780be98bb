"""Makes a `Split` of arrays, of image files, or of a `tf.data.Dataset`."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from keras_resnet._internal.validation import integer, printable
from keras_resnet.data.corrupt import CorruptRecords
from keras_resnet.data.decode import read_image
from keras_resnet.data.records import Indexed, Records, Stream, in_range
from keras_resnet.data.split import Split


def make(
    records: Records, classes: Sequence[str], channels: int, on_corrupt: str, files: tuple[str, ...] = ()
) -> Split:
    """A `Split` of records of any kind; the arguments are its attributes, and `on_corrupt` as in `load`."""
    return Split(records, tuple(classes), channels, files, CorruptRecords(on_corrupt, records.describe))


def from_arrays(images: np.ndarray, labels: np.ndarray, classes: Sequence[str]) -> Split:
    """A split of images in memory.

    Args:
        images: uint8 (N, H, W, C) from 0 to 255, with no side of length 0.
        labels: integers (N,), indices into `classes`.
        classes: names of the classes.

    Returns:
        A `Split`.

    Raises:
        ValueError: `images` have another type or shape, or `labels` are not N integers in their range.

    Example:
        >>> import numpy as np, keras_resnet as kr
        >>> kr.data.from_arrays(np.zeros((4, 32, 32, 3), "uint8"), np.array([0, 1, 0, 1]), ("cat", "dog")).size
        4
    """
    images, labels = np.asarray(images), np.asarray(labels)
    if images.dtype != np.uint8:
        ends = f" from {images.min():.3g} to {images.max():.3g}" if images.size and images.dtype.kind in "fiu" else ""
        raise ValueError(
            "images must be uint8, from 0 to 255: raw pixels, which the models normalize themselves. "
            f"Received: {images.dtype}{ends}"
        )
    if images.ndim != 4 or 0 in images.shape:
        raise ValueError(f"images must have the shape (N, H, W, C), each number at least 1. Received: {images.shape}")
    if labels.shape != images.shape[:1]:
        raise ValueError(
            f"labels must have the shape {images.shape[:1]}, one label for each image. Received: shape {labels.shape}"
        )
    if labels.dtype.kind not in "biuf":
        raise ValueError(
            "labels must be integers, indices into classes; np.unique(labels, return_inverse=True) finds them. "
            f"Received: {labels.dtype}"
        )
    with np.errstate(invalid="ignore"):  # NaN is no integer, and refused in the next lines
        indices = labels.astype("int64")
    if (indices != labels).any():
        raise ValueError(
            f"labels must be integers. Received: {labels.dtype} with the value {labels[indices != labels][0]}"
        )
    if indices.min() < 0 or indices.max() >= len(classes):
        raise ValueError(
            f"labels must be indices into classes, in [0, {len(classes)}). Received: {indices.min()} to {indices.max()}"
        )
    records = Indexed(images, indices, lambda image: image, repr)
    return make(records, classes, images.shape[-1], "stop")


def from_files(files: Sequence[str], labels: Sequence[int], classes: Sequence[str], on_corrupt: str) -> Split:
    """A split of image files with 3 channels, with one label for each file; `on_corrupt` as in `load`."""
    # Names in bytes: a name on a disk need not be UTF-8, but TensorFlow encodes text as UTF-8.
    names = np.array([os.fsencode(file) for file in files])
    records = Indexed(names, np.array(labels, "int64"), tf.io.read_file, _why_unreadable)
    return make(records, classes, 3, on_corrupt, tuple(files))


def from_dataset(dataset: tf.data.Dataset, classes: Sequence[str], size: int | None = None) -> Split:
    """A split of your own `tf.data.Dataset`.

    The dataset must give the same examples in the same order in each iteration. Do not shuffle, batch or augment it:
    the pipelines do that. If training is resumed in the middle of an epoch, your dataset has to make again the examples
    that are skipped. The sources of `load` do not have to.

    Args:
        dataset: pairs (image, label). The image is uint8 (H, W, C) with C known, and of any height and width; the label
            is an integer scalar.
        classes: names of the classes; labels are indices into them.
        size: number of examples. None (default): the size that the dataset states; if it states none, the examples are
            counted.

    Returns:
        A `Split`.

    Raises:
        ValueError: the examples have another form, there are none, or the dataset is infinite.
        TypeError: `dataset` is not a `tf.data.Dataset`, or `size` is not an integer.

    Example:
        >>> import numpy as np, tensorflow as tf, keras_resnet as kr
        >>> dataset = tf.data.Dataset.from_tensor_slices((np.zeros((4, 32, 32, 3), "uint8"), [0, 1, 0, 1]))
        >>> kr.data.from_dataset(dataset, ("cat", "dog")).size
        4
    """
    if not isinstance(dataset, tf.data.Dataset):
        raise TypeError(f"dataset must be a tf.data.Dataset. Received: {type(dataset).__name__}")
    spec: Any = dataset.element_spec
    expected = "dataset must give pairs of an image, uint8 (H, W, C) with C known, and an integer label"
    if not (isinstance(spec, tuple) and len(spec) == 2 and all(isinstance(part, tf.TensorSpec) for part in spec)):
        raise ValueError(f"{expected}. Received: {spec}")
    image, label = spec
    if image.dtype != tf.uint8 or image.shape.rank != 3 or not image.shape[-1]:
        raise ValueError(f"{expected}. Received: images {image}")
    if not label.dtype.is_integer or label.shape.rank != 0:
        raise ValueError(f"{expected}. Received: labels {label}")
    count = len(classes)
    return stream_of(
        dataset, classes, size, lambda _, number: f"example {number} of dataset has a label outside of [0, {count})"
    )


def stream_of(
    dataset: tf.data.Dataset, classes: Sequence[str], size: int | None, explain: Callable[[str, int], str]
) -> Split:
    """The split of a dataset whose examples have the form that `from_dataset` asks for.

    Args:
        dataset, classes, size: as in `from_dataset`.
        explain: as in `Stream`.

    Raises:
        ValueError: the dataset has no examples, has them only once, or is infinite.
        TypeError: `size` is not an integer.
    """
    image = dataset.element_spec[0]
    width = image.shape.num_elements()
    cardinality = int(dataset.cardinality())
    if size is None and cardinality == tf.data.INFINITE_CARDINALITY:
        raise ValueError(
            "dataset must be finite: leave out `repeat()`, training repeats it. Received: an infinite dataset"
        )
    is_counted = size is None and cardinality < 0
    if is_counted:
        size = int(dataset.reduce(np.int64(0), lambda count, _: count + 1))
    size = cardinality if size is None else size
    if not size:
        raise ValueError("dataset must have at least one example. Received: an empty dataset")
    integer("size", size)
    if is_counted or not width:
        first = next(iter(dataset), None)
        if first is None:
            raise ValueError(
                "dataset must give its examples in each iteration. Received: a dataset that gives none in the second "
                "one; if it reads a generator, give a function that makes a new generator for each iteration"
            )
        width = int(tf.size(first[0]))
    count = len(classes)

    def parse(raw: tuple[tf.Tensor, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
        return raw[0], in_range(tf.cast(raw[1], tf.int64), count)

    records = Stream(("",), (size,), lambda _: dataset, parse, explain, width, np.arange(size))
    return make(records, classes, image.shape[-1], "stop")


def _why_unreadable(name: bytes) -> str:
    file = Path(os.fsdecode(name))
    try:
        read_image(file, 3)
    except ValueError as reason:
        return str(reason)
    return f"{printable(file)} could not be read by the pipeline, and can be read now"
