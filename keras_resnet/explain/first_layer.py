"""`filters`: the kernels of the first convolution as small pictures."""

from __future__ import annotations

import keras
import numpy as np

from keras_resnet.complexity import flat_layers


def filters(model: keras.Model) -> np.ndarray:
    """The kernels of the first convolution, each scaled to the range from 0 to 1 with 0.5 for a weight of 0.

    In a trained network with a 7x7 stem they show edges and colors; noise is a sign of too short a training.

    Args:
        model: a model with a `Conv2D`; its first one is used.

    Returns:
        float32 (filters, h, w, C): pictures with the channels of the input.

    Raises:
        ValueError: the model has no `Conv2D`.

    Example:
        >>> import keras_resnet as kr
        >>> kr.explain.filters(kr.ResNet50()).shape
        (64, 7, 7, 3)
    """
    first = next((layer for layer in flat_layers(model) if isinstance(layer, keras.layers.Conv2D)), None)
    if first is None:
        raise ValueError(f"model must have a Conv2D layer. Received: {model.name!r} without one")
    kernels = np.moveaxis(keras.ops.convert_to_numpy(keras.ops.cast(first.kernel, "float32")), -1, 0)
    largest = np.abs(kernels).max((1, 2, 3), keepdims=True)
    return 0.5 + 0.5 * kernels / np.where(largest == 0, 1, largest)
