"""How long a network takes for one image, on the machine at hand."""

from __future__ import annotations

import time

import keras
import numpy as np

from keras_resnet.runtime.grouped_convolutions import without_xla


def latency(model: keras.Model, repeats: int = 10) -> float:
    """The shortest time of a prediction for one image: what it takes when nothing else runs beside it.

    Args:
        model: takes images of a fixed size.
        repeats: predictions that are timed, at least 1; two before them are not.

    Returns:
        Seconds, with what Keras' own `predict_on_batch` costs.

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
            began = time.perf_counter()
            model.predict_on_batch(image)
            seconds.append(time.perf_counter() - began)
    return min(seconds[2:])
