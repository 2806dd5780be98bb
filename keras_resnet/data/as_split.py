"""`as_split`: makes a `Split` of what people give to `keras.Model.fit`: arrays, or a `tf.data.Dataset`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import tensorflow as tf

from keras_resnet.data.constructors import from_arrays, stream_of
from keras_resnet.data.split import Split

Data: TypeAlias = Split | tuple[Any, Any] | list[Any] | tf.data.Dataset
CHECKED = 64  # examples whose pixels are read to find out whether they are raw
NO_LABEL, NOT_RAW = -1, -2  # labels of examples that cannot be used


def as_split(argument: str, data: Data, classes: Sequence[str]) -> Split:
    """A `Split` of images and labels in any of the forms that `keras.Model.fit` takes.

    Args:
        argument: name of the argument that `data` is, for errors.
        data: a `Split`, which is returned; or a pair (images, labels) of arrays or tensors; or a `tf.data.Dataset` of
            such pairs, in batches or not, for example from `keras.utils.image_dataset_from_directory`.
            Images are (N, H, W, C) or (N, H, W), uint8 or numbers from 0 to 255: raw pixels. Fractions, which resized
            images have, are rounded. Labels are integers (N,) or (N, 1), or one-hot (N, classes). A dataset is read
            again in each epoch and is never as a whole in memory; if it does not state its size, it is counted once.
        classes: names of the classes, if `data` does not have `class_names`.

    Returns:
        A `Split`.

    Raises:
        ValueError: the images are not raw pixels, for example from 0 to 1; or images or labels have another form.
        TypeError: `data` is something else.

    Example:
        >>> import numpy as np
        >>> from keras_resnet.data.as_split import as_split
        >>> as_split("train", (np.zeros((4, 32, 32, 3), "uint8"), [[0], [1], [0], [1]]), ("cat", "dog"))
        <Split: 4 images, 2 classes, 3 channels>
    """
    if isinstance(data, Split):
        return data
    try:
        if isinstance(data, tf.data.Dataset):
            return _of_dataset(data, names_of(data) or tuple(classes))
        if isinstance(data, (tuple, list)) and len(data) == 2:
            images, labels = _array("images", data[0]), _array("labels", data[1])
            return from_arrays(_raw(images), _indices(labels, len(classes)), classes)
    except ValueError as error:
        raise ValueError(f"{argument}: {error}") from error
    raise TypeError(
        f"{argument} must be a Split of keras_resnet.data, a pair (images, labels) of arrays, or a tf.data.Dataset of "
        f"such pairs. Received: {_what(data)}"
    )


def names_of(data: Any) -> tuple[str, ...] | None:
    """The names of the classes, if the data has them: a `Split`, or what `image_dataset_from_directory` returns."""
    if isinstance(data, Split):
        return data.classes
    names = getattr(data, "class_names", None)
    return tuple(map(str, names)) if names else None


def numbered(count: int) -> tuple[str, ...]:
    """Names for classes that have none: their numbers."""
    return tuple(map(str, range(count)))


def _what(data: Any) -> str:
    kind = type(data).__name__
    if isinstance(data, (tuple, list)):
        return f"a {kind} of {len(data)} values; weights of images are not supported"
    return f"{kind}; put images and labels in a pair: (x, y)" if hasattr(data, "shape") else kind


def _array(name: str, values: Any) -> np.ndarray:
    try:
        return np.asarray(values)
    except ValueError as error:
        raise ValueError(f"{name} must be an array. Received: {type(values).__name__}, {error}") from error


def _raw(images: np.ndarray) -> np.ndarray:
    """Images (N, H, W, C) in uint8, if they are raw pixels; otherwise they are returned as they are."""
    images = images[..., None] if images.ndim == 3 else images
    if images.dtype == np.uint8 or images.dtype.kind not in "iuf" or not images.size:
        return images
    low, high = images.min(), images.max()
    if not (low >= 0 and high <= 255) or (images.dtype.kind == "f" and high <= 1):
        return images
    pixels = np.empty(images.shape, "uint8")
    return np.rint(images, out=pixels, casting="unsafe") if images.dtype.kind == "f" else images.astype("uint8")


def _indices(labels: np.ndarray, count: int) -> np.ndarray:
    """Labels (N,) of integers (N, 1) or one-hot vectors (N, count); labels of another form are returned as they are."""
    if labels.ndim != 2 or labels.dtype.kind not in "biuf":
        return labels
    if labels.shape[1] == 1:
        return labels[:, 0]
    if labels.shape[1] != count:
        raise ValueError(
            f"labels must be integers, or one-hot vectors of {count} classes. Received: labels of shape {labels.shape}"
        )
    is_one_hot = (np.count_nonzero(labels, axis=1) == 1) & (labels.max(axis=1) == 1)
    if not is_one_hot.all():
        raise ValueError(
            "labels must be integers, or one-hot vectors with one 1 and otherwise 0. "
            f"Received: {labels[~is_one_hot][0][:10]}"
        )
    return labels.argmax(axis=1)


def _of_dataset(dataset: tf.data.Dataset, classes: tuple[str, ...]) -> Split:
    spec: Any = dataset.element_spec
    expected = (
        "the dataset must give pairs of images, (H, W, C) or in batches (N, H, W, C), and their labels, integers or "
        f"one-hot vectors of {len(classes)} classes"
    )
    if not (isinstance(spec, tuple) and len(spec) == 2 and all(isinstance(part, tf.TensorSpec) for part in spec)):
        raise ValueError(f"{expected}. Received: {spec!s:.300}")
    examples = dataset.unbatch() if _is_batched(*spec) else dataset
    if examples.element_spec[0].shape.rank == 2:
        examples = examples.map(lambda image, label: (image[..., None], label))
    image, label = examples.element_spec
    if image.shape.rank != 3 or not image.shape[-1] or not (image.dtype.is_floating or image.dtype.is_integer):
        raise ValueError(f"{expected}. Received: images {spec[0]}")
    if label.shape.rank is None or list(label.shape) not in ([], [1], [len(classes)]) or not _is_number(label.dtype):
        raise ValueError(f"{expected}. Received: labels {spec[1]}")
    if not image.dtype.is_integer:
        _check_raw(examples)
    raw = examples.map(lambda image, label: _example(image, label, len(classes)), tf.data.AUTOTUNE)
    files = getattr(dataset, "file_paths", None)  # of `image_dataset_from_directory`

    def explain(_: str, number: int) -> str:
        label = next(iter(raw.skip(number).take(1)), (None, NO_LABEL))[1]
        if label == NOT_RAW:
            return (
                f"example {number} of the dataset has pixels outside of [0, 255]; raw pixels are not scaled, and "
                "tf.clip_by_value(image, 0, 255) in a map() mends those that resizing has made"
            )
        return f"example {number} of the dataset has a label that is not one of {len(classes)} classes"

    return stream_of(raw, classes, len(files) if files else None, explain)


def _is_batched(image: tf.TensorSpec, label: tf.TensorSpec) -> bool:
    """Whether a dataset with these images and labels gives batches; gray images may have no axis of channels."""
    ranks = image.shape.rank, label.shape.rank
    return ranks[0] == 4 or ranks == (3, 2) or (ranks == (3, 1) and image.shape[-1] not in (1, 3))


def _is_number(dtype: tf.DType) -> bool:
    return dtype.is_integer or dtype.is_floating


def _check_raw(examples: tf.data.Dataset) -> None:
    """Raises a `ValueError` if the first images are scaled, for example to [0, 1]."""
    images = [image for image, _ in examples.take(CHECKED).as_numpy_iterator()]
    if images and max(image.max() for image in images) <= 1:
        low = min(image.min() for image in images)
        raise ValueError(
            "images must be raw pixels, from 0 to 255, which the models normalize themselves; cast images that are raw "
            f"and nearly black to uint8. Received: images from {low:.3g} to {max(image.max() for image in images):.3g}"
        )


def _example(image: tf.Tensor, label: tf.Tensor, count: int) -> tuple[tf.Tensor, tf.Tensor]:
    """The image in uint8, and the label as an integer; or `NO_LABEL` or `NOT_RAW`."""
    index = _index(label, count)
    if image.dtype == tf.uint8:
        return image, index
    wide = tf.cast(image, tf.float32)  # 255 is no number of int8
    is_raw = tf.reduce_all((wide >= 0) & (wide <= 255))
    pixels = tf.cast(tf.round(wide), tf.uint8)
    return pixels, tf.where(is_raw, index, tf.constant(NOT_RAW, tf.int64))


def _index(label: tf.Tensor, count: int) -> tf.Tensor:
    if label.shape == (count,) and count > 1:
        index = tf.argmax(label)
        is_label = tf.reduce_all(label == tf.one_hot(index, count, dtype=label.dtype))
    else:
        label = tf.reshape(label, ())
        index = tf.cast(label, tf.int64)
        is_label = tf.cast(index, label.dtype) == label
    return tf.where(is_label, index, tf.constant(NO_LABEL, tf.int64))
