"""Measuring a model on a split, and the checks that the two fit each other."""

from __future__ import annotations

from collections.abc import Sequence

import keras
import numpy as np

from keras_resnet._internal.validation import integers
from keras_resnet.data import Split, pipeline
from keras_resnet.data.corrupt import name_corrupt_files
from keras_resnet.data.decode import to_square
from keras_resnet.data.pipeline import Resize
from keras_resnet.inputs import square_side
from keras_resnet.runtime.grouped_convolutions import without_xla


def evaluate(
    model: keras.Model,
    split: Split,
    batch_size: int = 64,
    *,
    resize: Resize = to_square,
    labels: Sequence[int] | None = None,
) -> float:
    """Share of a split's images whose label is the model's first choice (top-1), in [0, 1].

    Args:
        model: takes square images (N, H, W, C) with fixed sides; its output (N, classes) is highest for its choice.
        split: what to look at.
        batch_size: images at a time.
        resize: as in `keras_resnet.data.pipeline`.
        labels: for each class of the split the index of the model's output that stands for it, as
            `keras_resnet.data.sources.class_indices` finds it; the split may have a part of the model's classes, and
            the model chooses among all its own. None: the same classes in the same order.

    Raises:
        ValueError: the model does not fit the split's images or classes, `labels` are not as many as the classes or
            no outputs of the model, or a file is no readable image.
        TypeError: `labels` are no integers.

    Example:
        >>> import keras_resnet as kr
        >>> digits = kr.data.load("digits", "test")
        >>> 0 <= kr.training.evaluate(kr.ResNet20(input_shape=(8, 8, 1)), digits) <= 1
        True
    """
    size = square_side(model)
    check_channels(model, split)
    output_of = outputs(model, split, labels)
    batches = pipeline(split, size, batch_size, resize=resize)
    with name_corrupt_files(split), without_xla(model):
        right = [
            # Under a MirroredStrategy each device answers for all of them, one answer after the other.
            model.predict_on_batch(images)[: len(images)].argmax(axis=-1) == output_of[classes]
            for images, classes in batches.as_numpy_iterator()
        ]
    return float(np.concatenate(right).mean())


def check_channels(model: keras.Model, split: Split) -> None:
    """A `ValueError` if `model` cannot take the images of `split`."""
    if keras.config.image_data_format() != "channels_last":
        raise ValueError("keras.config.image_data_format() must be 'channels_last': the pipeline gives (N, H, W, C)")
    if model.inputs[0].shape[-1] != split.channels:
        raise ValueError(f"model must take the images' {split.channels} channels. Received: {model.inputs[0].shape}")


def outputs(model: keras.Model, split: Split, labels: Sequence[int] | None = None) -> np.ndarray:
    """For each class of `split` the index of the output that stands for it; a `ValueError` if there is none."""
    count, shape = len(split.classes), model.output.shape
    if labels is None:
        if shape[1:] != (count,):
            raise ValueError(f"model must have an output for each of the {count} classes. Received: {shape}")
        return np.arange(count)
    indices = integers("labels", labels, minimum=0)
    if len(indices) != count:
        raise ValueError(f"labels must have an entry for each of the {count} classes. Received: {len(indices)} entries")
    if len(shape) != 2 or max(indices) >= shape[1]:
        raise ValueError(f"labels must be indices of the model's outputs, {shape}. Received: up to {max(indices)}")
    return np.array(indices)
