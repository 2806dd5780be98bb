"""Measures how long a network takes for one image on this machine."""

from __future__ import annotations

import time

import keras
import numpy as np

from keras_resnet.runtime.grouped_convolutions import without_xla


def latency(model: keras.Model, repeats: int = 10) -> float:
    """The shortest time of a prediction for one image. The shortest time is the one that other work delays least.

    Args:
        model: a model with a fixed input size.
        repeats: number of predictions that are timed, at least 1. Two predictions before them are not timed.

    Returns:
        Seconds, including the overhead of Keras' `predict_on_batch`.

    Example:
        >>> import keras_resnet as kr
        >>> from keras_resnet.tuning.latency import latency
        >>> 0 < latency(kr.ResNet20(), repeats=1) < 60
        True
    """
    image = np.zeros((1, *model.input_shape[1:]), "float32")
    seconds = []
    with without_xla(model):
        for _ in range(2 + repeats):
            start = time.perf_counter()
            model.predict_on_batch(image)
            seconds.append(time.perf_counter() - start)
    return min(seconds[2:])
