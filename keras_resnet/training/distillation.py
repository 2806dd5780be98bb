"""Distillation: a network also learns from the answers of a teacher, another network (arXiv:1503.02531)."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
from keras import ops
from keras.distillation import LogitsDistillation

from keras_resnet.data import Split
from keras_resnet.evaluation.accuracy import output_count
from keras_resnet.inputs import square_side
from keras_resnet.runtime.grouped_convolutions import without_xla
from keras_resnet.runtime.logits import logits
from keras_resnet.runtime.precision import compute_precision
from keras_resnet.runtime.restoring import restored_trainable
from keras_resnet.training.distribution import Placement
from keras_resnet.training.recipe import Recipe

SoftLoss = Callable[[Any, Any], Any]  # (logits of the teacher, logits of the student), both (N, classes) -> a number


def softmax_divergence(temperature: float) -> SoftLoss:
    """The Kullback-Leibler divergence of the two softmaxes of logits / temperature, times the square of it."""
    # With its default, the string "kl_divergence", Keras 3.15.1 computes the divergence of logits, without a softmax.
    return LogitsDistillation(temperature, keras.losses.KLDivergence()).compute_loss


def sigmoid_divergence(temperature: float) -> SoftLoss:
    """The same for a sigmoid for each class; the mean over classes, as in the loss of the recipe."""

    # A loss of Keras: on several TensorFlow devices it is the part of one device, as the loss of the recipe is.
    cross_entropy = keras.losses.BinaryCrossentropy(from_logits=True)

    def loss(teacher: Any, student: Any) -> Any:
        teacher, student = teacher / temperature, student / temperature
        target = ops.sigmoid(teacher)
        return (cross_entropy(target, student) - cross_entropy(target, teacher)) * temperature**2

    return loss


SOFT_LOSSES: dict[str, Callable[[float], SoftLoss]] = {
    "categorical_crossentropy": softmax_divergence,
    "binary_crossentropy": sigmoid_divergence,
    "focal": softmax_divergence,
}


@contextlib.contextmanager
def taught(model: keras.Model, teacher: keras.Model | None, recipe: Recipe) -> Iterator[None]:
    """Adds the answers of a teacher to the loss with which `model` is trained inside the block.

    The loss is `(1 - w) * loss of the recipe + w * divergence from the teacher`, with w the `distillation_weight` of
    the recipe. The teacher sees the pixels that the model sees, after augmentation and mixes (arXiv:2106.05237), and
    resizes them to its own input. It computes as in evaluation, so its batch norm statistics do not move, in the
    precision of the recipe. The loss of validation images is that of the recipe alone.

    Args:
        model: a compiled model inside `train_mode`, which gives logits.
        teacher: a model that `check_teacher` accepts; None: nothing changes.
        recipe: gives the weight and the temperature.
    """
    if teacher is None:
        yield
        return
    weight, divergence = recipe.distillation_weight, SOFT_LOSSES[recipe.loss](recipe.distillation_temperature)
    own_loss = model.compute_loss

    def compute_loss(
        x: Any = None, y: Any = None, y_pred: Any = None, sample_weight: Any = None, training: bool = True
    ) -> Any:
        loss = own_loss(x=x, y=y, y_pred=y_pred, sample_weight=sample_weight, training=training)
        if not training:
            return loss
        answers = ops.stop_gradient(teacher(_as_input_of(teacher, x), training=False))
        return (1 - weight) * loss + weight * divergence(answers, y_pred)

    with logits(teacher), compute_precision(teacher, recipe.precision), without_xla(teacher), _not_trainable(teacher):
        model.__dict__["compute_loss"] = compute_loss  # not tracked by Keras as an attribute
        try:
            yield
        finally:
            del model.__dict__["compute_loss"]


@contextlib.contextmanager
def _not_trainable(model: keras.Model) -> Iterator[None]:
    """No gradients are recorded for the variables of `model` inside the block, which on torch would need memory."""
    with restored_trainable(model):
        model.trainable = False
        yield


def _as_input_of(teacher: keras.Model, images: Any) -> Any:
    """Raw pixels with the size and the channels that a teacher takes, float32 (N, H, W, C)."""
    images = ops.cast(images, "float32")
    side, channels = teacher.inputs[0].shape[2:]
    if images.shape[-1] == 1 and channels == 3:
        images = ops.repeat(images, 3, axis=-1)
    if side in (None, images.shape[2]):
        return images
    return ops.image.resize(images, (side, side), antialias=side < images.shape[2], data_format="channels_last")


def check_teacher(teacher: keras.Model, model: keras.Model, train: Split, where: Placement) -> None:
    """Raises a `ValueError` unless `teacher` can teach `model`.

    Args:
        teacher: a model of raw pixels, with a softmax, a sigmoid or logits as output (N, classes).
        model: the model that is trained.
        train: the training images.
        where: the devices of the training.

    Raises:
        ValueError: it is the same model; it has other classes or channels; its images are not square; or several
            processes train together.
        TypeError: it is not a functional or sequential model.
    """
    if teacher is model:
        raise ValueError("teacher must be another model than the one that is trained. Received: the same model")
    if (count := output_count(teacher)) != len(train.classes):
        raise ValueError(
            f"teacher must have an output for each of the {len(train.classes)} classes of the images. "
            f"Received: a model with {count} outputs"
        )
    if teacher.inputs[0].shape[1:3] != (None, None):
        square_side(teacher)
    if (channels := teacher.inputs[0].shape[-1]) not in (train.channels, 3 if train.channels == 1 else None):
        raise ValueError(
            f"teacher must take images with {train.channels} channels, as the images have. Received: a model of "
            f"{channels} channels"
        )
    with logits(teacher):
        pass  # it raises an error if the model has another kind of output
    if where.processes > 1:
        raise ValueError(
            "teacher must be None if several processes train together. "
            f"Received: a teacher, and {where.processes} processes"
        )


def fingerprint(teacher: keras.Model | None) -> str | None:
    """A hash of the weights of a teacher, by which a training that is resumed knows that it has the same one."""
    if teacher is None:
        return None
    digest = hashlib.sha256()
    for value in teacher.get_weights():
        digest.update(f"{value.shape}".encode())
        digest.update(np.ascontiguousarray(value).tobytes())
    return digest.hexdigest()
