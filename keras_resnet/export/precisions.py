"""Precisions: what a network is computed in between pixels and embedding, and what becomes of int8 that is not good."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from keras_resnet.export.int8 import quantised
from keras_resnet.export.int8_kernels import available
from keras_resnet.export.network import Features, classifier, float_features, scores

BATCH = 16

LOGGER = logging.getLogger("keras_resnet.export")


class ServedFeatures(NamedTuple):
    """What is served: the function from pixels to embeddings, and in words what it is computed in."""

    features: Features
    precision: str


def in_float32(model: keras.Model, calibration: np.ndarray | None, agreement: float) -> ServedFeatures:
    """As it was trained."""
    return ServedFeatures(float_features(model, "float32"), "float32")


def in_bfloat16(model: keras.Model, calibration: np.ndarray | None, agreement: float) -> ServedFeatures:
    """The range of float32 in half its bytes; CPUs with AMX or AVX512_BF16 convolve twice as fast."""
    return ServedFeatures(float_features(model, "bfloat16"), "bfloat16")


def in_int8(model: keras.Model, calibration: np.ndarray | None, agreement: float) -> ServedFeatures:
    """Integers, where they choose as float32 does on enough of the calibration images; else bfloat16."""
    if calibration is None:
        raise ValueError("calibration must be images where precision is 'int8'. Received: calibration=None")
    reason = "this TensorFlow has no exact int8 convolution on this CPU (x86 with VNNI has)"
    if available():
        features = quantised(model, calibration)
        wanted = choices(model, float_features(model, "float32"), calibration)
        found = float(np.mean(np.all(choices(model, features, calibration) == wanted, axis=-1)))
        said = f"{found:.1%} of {len(calibration)} calibration images as in float32"
        if found >= agreement:
            return ServedFeatures(features, f"int8; {said}")
        reason = f"it chose only {said}, {agreement:.1%} were asked for"
    LOGGER.warning("int8 became bfloat16: %s", reason)
    return ServedFeatures(float_features(model, "bfloat16"), f"bfloat16, in place of int8: {reason}")


PRECISIONS: dict[str, Callable[[keras.Model, np.ndarray | None, float], ServedFeatures]] = {
    "float32": in_float32,
    "bfloat16": in_bfloat16,
    "int8": in_int8,
}


def choices(model: keras.Model, features: Features, images: np.ndarray) -> np.ndarray:
    """For each image the likeliest class (N, 1), or of a sigmoid which classes are likelier than not (N, classes)."""
    score = scores(model)
    decide = DECISIONS[classifier(model).activation]
    choose = tf.function(lambda pixels: decide(score(features(pixels))), autograph=False)
    parts = [images[start : start + BATCH].astype("float32") for start in range(0, len(images), BATCH)]
    return np.concatenate([choose(tf.constant(part)).numpy() for part in parts])


DECISIONS: dict[Callable[[tf.Tensor], tf.Tensor], Callable[[tf.Tensor], tf.Tensor]] = {
    tf.nn.softmax: lambda probabilities: tf.argmax(probabilities, axis=-1)[:, None],
    tf.nn.sigmoid: lambda probabilities: probabilities > 0.5,
}
