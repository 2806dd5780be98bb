"""Accuracy of a model on a split, and checks that model and split fit each other."""

from __future__ import annotations

from collections.abc import Sequence

import keras
import numpy as np

from keras_resnet._internal.keras_graph import functional_graph
from keras_resnet._internal.validation import integers
from keras_resnet.data import Split, pipeline
from keras_resnet.data.as_split import Data, as_split, numbered
from keras_resnet.data.corrupt import name_corrupt_files
from keras_resnet.data.decode import to_square
from keras_resnet.data.pipeline import Resize
from keras_resnet.inputs import square_side
from keras_resnet.runtime.grouped_convolutions import without_xla


def evaluate(
    model: keras.Model,
    split: Data,
    batch_size: int = 64,
    *,
    resize: Resize = to_square,
    labels: Sequence[int] | None = None,
) -> float:
    """Top-1 accuracy: the fraction of images whose label is the class with the highest output of the model.

    Args:
        model: a model that takes square images (N, H, W, C) with fixed sides; its output (N, classes) has a score for
            each class.
        split: the images and their labels: a `Split`, a pair of arrays (x, y), or a `tf.data.Dataset`, as in
            `keras_resnet.training.fit`.
        batch_size: images per batch.
        resize: function that resizes an image, as in `keras_resnet.data.pipeline`.
        labels: for each class of the split the index of its output in the model, see
            `keras_resnet.data.sources.class_indices`. The split may have only some of the model's classes; the highest
            of all outputs counts. None: the split has the classes of the model in the same order.

    Returns:
        The accuracy, in [0, 1].

    Raises:
        ValueError: the model does not fit the images or classes of the split; `labels` has not one entry for each
            class, or an index that the model's output does not have; or a file is not a readable image.
        TypeError: `labels` has an entry that is not an integer, or `split` is something else.

    Example:
        >>> import keras_resnet as kr
        >>> digits = kr.data.load("digits", "test")
        >>> 0 <= kr.training.evaluate(kr.ResNet20(input_shape=(8, 8, 1)), digits) <= 1
        True
    """
    size = square_side(model)
    count = output_count(model) if labels is None else len(integers("labels", labels, minimum=0))
    split = in_channels_of(model, as_split("split", split, numbered(count)))
    output_of_class = outputs(model, split, labels)
    batches = pipeline(split, size, batch_size, resize=resize)
    with name_corrupt_files(split), without_xla(model):
        is_correct = [
            # Under a MirroredStrategy each device predicts the whole batch, and the predictions are concatenated.
            model.predict_on_batch(images)[: len(images)].argmax(axis=-1) == output_of_class[classes]
            for images, classes in batches.as_numpy_iterator()
        ]
    return float(np.concatenate(is_correct).mean())


def output_count(model: keras.Model) -> int:
    """Number of outputs of a model, which are its classes.

    Raises:
        TypeError: the model is neither functional nor sequential, or its input is not known.
        ValueError: the output is not (N, classes).
    """
    shapes = [tensor.shape for tensor in functional_graph(model).outputs]
    if len(shapes) != 1 or len(shapes[0]) != 2 or not shapes[0][1]:
        raise ValueError(f"model must have one output (N, classes). Received: a model with the outputs {shapes}")
    return shapes[0][1]


def in_channels_of(model: keras.Model, split: Split) -> Split:
    """The split with the number of channels that the model takes: a model of one channel reads color files in gray.

    Args:
        model: a model that takes images (N, H, W, C).
        split: the images.

    Raises:
        ValueError: the images are pixels in memory with another number of channels, or Keras is set to
            'channels_first'.
    """
    if keras.config.image_data_format() != "channels_last":
        raise ValueError(
            "keras.config.image_data_format() must be 'channels_last': the pipeline gives images (N, H, W, C). "
            f"Received: {keras.config.image_data_format()!r}"
        )
    try:
        return split.with_channels(functional_graph(model).inputs[0].shape[-1])
    except ValueError as error:
        raise ValueError(
            f"model must take images with {split.channels} channels, as in the split. "
            f"Received: a model with the input shape {model.inputs[0].shape}"
        ) from error


def outputs(model: keras.Model, split: Split, labels: Sequence[int] | None = None) -> np.ndarray:
    """For each class of a split the index of its output in a model.

    Args:
        model: a model with the output (N, classes).
        split: the images and their labels.
        labels: the indices; None: the split has the classes of the model in the same order.

    Returns:
        An integer array (classes of the split,).

    Raises:
        ValueError: the output of the model does not fit the classes of the split or `labels`.
        TypeError: `labels` has an entry that is not an integer.
    """
    count, shape = len(split.classes), model.outputs[0].shape
    if labels is None:
        if shape[1:] != (count,):
            raise ValueError(
                f"model must have an output for each of the {count} classes. "
                f"Received: a model with the output shape {shape}"
            )
        return np.arange(count)
    indices = integers("labels", labels, minimum=0)
    if len(indices) != count:
        raise ValueError(f"labels must have an entry for each of the {count} classes. Received: {len(indices)} entries")
    if len(shape) != 2 or max(indices) >= shape[1]:
        raise ValueError(
            f"labels must be indices of the model's output, which has the shape {shape}. Received: index {max(indices)}"
        )
    return np.array(indices)
