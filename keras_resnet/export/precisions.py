"""Precisions: the type in which a network is computed between pixels and features, and when int8 becomes bfloat16."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from keras_resnet.export.int8 import quantised
from keras_resnet.export.int8_kernels import available
from keras_resnet.export.network import (
    Features,
    Part,
    classifier,
    classifier_scores,
    feature_extractor,
    float_features,
    pooled,
)

BATCH = 16  # calibration images in one batch

LOGGER = logging.getLogger("keras_resnet.export")


class ServedFeatures(NamedTuple):
    """The function from pixels to features that is served, and the text about its precision in the model card."""

    features: Features
    precision: str


def in_float32(
    model: keras.Model, calibration: np.ndarray | None, agreement: float, part: Part = feature_extractor
) -> ServedFeatures:
    """The network in float32, as it was trained."""
    return ServedFeatures(float_features(model, "float32", part), "float32")


def in_bfloat16(
    model: keras.Model, calibration: np.ndarray | None, agreement: float, part: Part = feature_extractor
) -> ServedFeatures:
    """The network in bfloat16: the range of float32 in half the bytes.

    CPUs with AMX or AVX512_BF16 compute its convolutions twice as fast.
    """
    return ServedFeatures(float_features(model, "bfloat16", part), "bfloat16")


def in_int8(
    model: keras.Model, calibration: np.ndarray | None, agreement: float, part: Part = feature_extractor
) -> ServedFeatures:
    """The network in int8, if it classifies enough of the calibration images as float32 does; otherwise bfloat16.

    Args:
        model: a network with folded batch norms, of float32 layers, that ends in a classifier.
        calibration: raw pixels (N, H, W, C).
        agreement: smallest fraction of the calibration images, in (0, 1], that int8 and float32 must classify alike.
        part: function that gives the layers before the features: `feature_extractor` or `map_extractor`.

    Returns:
        The function that is served, and the text about its precision. The text and the log give the reason if int8
        became bfloat16.

    Raises:
        ValueError: `calibration` is None.
    """
    if calibration is None:
        raise ValueError("calibration must be images if precision is 'int8'. Received: calibration=None")
    reason = "this TensorFlow has no exact int8 convolution on this CPU (x86 with VNNI has)"
    if available():
        features = quantised(model, calibration, part)
        expected_choices = choices(model, float_features(model, "float32"), calibration)
        int8_choices = choices(model, features, calibration)
        fraction = float(np.mean(np.all(int8_choices == expected_choices, axis=-1)))
        result = f"{fraction:.1%} of {len(calibration)} calibration images are classified as in float32"
        if fraction >= agreement:
            return ServedFeatures(features, f"int8; {result}")
        reason = f"only {result}, which is less than agreement={agreement}"
    LOGGER.warning("int8 became bfloat16: %s", reason)
    return ServedFeatures(float_features(model, "bfloat16", part), f"bfloat16, in place of int8: {reason}")


PRECISIONS: dict[str, Callable[[keras.Model, np.ndarray | None, float, Part], ServedFeatures]] = {
    "float32": in_float32,
    "bfloat16": in_bfloat16,
    "int8": in_int8,
}


def choices(model: keras.Model, features: Features, images: np.ndarray) -> np.ndarray:
    """What the classifier of a network decides for each image.

    Args:
        model: a network that ends in a classifier.
        features: function from pixels to features, which is used in place of the network's own layers.
        images: raw pixels (N, H, W, C).

    Returns:
        After a softmax the class with the highest probability, int64 (N, 1). After a sigmoid whether the probability
        of each class is above 0.5, bool (N, classes).
    """
    scores = classifier_scores(model)
    decide = DECISIONS[classifier(model).activation]
    choose = tf.function(lambda pixels: decide(scores(pooled(features(pixels)))), autograph=False)
    batches = [images[start : start + BATCH].astype("float32") for start in range(0, len(images), BATCH)]
    return np.concatenate([choose(tf.constant(batch)).numpy() for batch in batches])


DECISIONS: dict[Callable[[tf.Tensor], tf.Tensor], Callable[[tf.Tensor], tf.Tensor]] = {
    tf.nn.softmax: lambda probabilities: tf.argmax(probabilities, axis=-1)[:, None],
    tf.nn.sigmoid: lambda probabilities: probabilities > 0.5,
}
