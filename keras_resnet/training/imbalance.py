"""Uneven classes: weights that make rare classes count more in the loss, and a split that repeats their images."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from keras_resnet.data import Split
from keras_resnet.data.records import Indexed
from keras_resnet.data.summary import label_counts

BETA = 0.999  # of the effective number of images; the paper tries 0.9 to 0.9999


def balanced(counts: np.ndarray) -> np.ndarray:
    """Weights in inverse proportion to the number of images, as scikit-learn's `class_weight="balanced"`."""
    return counts.sum() / (np.count_nonzero(counts) * np.maximum(counts, 1))


def effective_number(counts: np.ndarray) -> np.ndarray:
    """Weights in inverse proportion to the effective number of images (arXiv:1901.05555), with their mean of 1."""
    weights = (1 - BETA) / (1 - BETA ** np.maximum(counts, 1))
    return weights * np.count_nonzero(counts) / weights[counts > 0].sum()


CLASS_WEIGHTS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "none": lambda counts: np.ones(len(counts)),
    "balanced": balanced,
    "effective_number": effective_number,
}


class ClassWeighted(keras.losses.Loss):
    """A loss in which each image counts as much as the weight of its class; of a mixed image, the mean of the weights.

    Args:
        loss: the loss of images (N,), for example `keras.losses.CategoricalCrossentropy`.
        weights: weights of the classes (C,).
    """

    def __init__(self, loss: keras.losses.Loss, weights: np.ndarray) -> None:
        super().__init__(name=loss.name)
        self.loss = loss
        self.weights = weights.astype("float32")

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """The losses of images (N,), from targets and logits (N, C)."""
        return self.loss.call(y_true, y_pred) * keras.ops.matmul(y_true, self.weights)


def with_class_weights(loss: keras.losses.Loss, name: str, train: Split) -> keras.losses.Loss:
    """A loss with the class weights of a recipe.

    Args:
        loss: the loss.
        name: one of `CLASS_WEIGHTS`.
        train: the training images, whose classes are counted.
    """
    return loss if name == "none" else ClassWeighted(loss, CLASS_WEIGHTS[name](label_counts(train)))


def with_all_classes_alike(train: Split) -> Split:
    """The training images with those of smaller classes repeated, until each class is as large as the largest one.

    Raises:
        ValueError: the labels are not known before the images are read (TFRecord, a `tf.data.Dataset`).
    """
    if not isinstance(train.records, Indexed):
        raise ValueError(
            "balanced_sampling must be False for images that are read one after the other (tfrecord:, tfds:, "
            "tf.data.Dataset); class_weights=balanced works for them. Received: balanced_sampling=True"
        )
    members = [np.flatnonzero(train.records.labels == label) for label in range(len(train.classes))]
    most = max(map(len, members))
    return train.part(np.concatenate([np.resize(numbers, most) for numbers in members if len(numbers)]))
