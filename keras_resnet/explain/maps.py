"""`heat_maps`: which places of an image raise the score of a class."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from keras_resnet._internal.validation import integer
from keras_resnet.explain.arguments import checked_classes, checked_images
from keras_resnet.explain.cam import METHODS, CamMethod, grad_cam
from keras_resnet.explain.gradients import features, layer_with_map


def heat_maps(
    model: keras.Model,
    images: Any,
    classes: int | Sequence[int] | None = None,
    *,
    method: CamMethod = grad_cam,
    layer: str | None = None,
    batch_size: int = 16,
) -> np.ndarray:
    """Which places of images raise the score of a class: class activation maps of one layer, as large as the images.

    It works on TensorFlow, JAX and torch, for frozen and nested models, and under mixed precision.

    Args:
        model: a functional model with one input, images, and one output (N, classes): a softmax, a sigmoid or logits.
        images: the images that the model takes, (N, H, W, C); for a model of this package raw pixels from 0 to 255.
        classes: the class to explain for all images, or one for each image. None: the class with the highest score.
        method: `grad_cam`, `grad_cam_plus_plus`, `hires_cam`, `layer_cam`, or your own function of features and
            gradients, see `keras_resnet.explain.cam`.
        layer: name of the layer whose features are used, or of a stage, such as "conv4". None: the last layer that has
            a map, in a ResNet the one before average pooling.
        batch_size: images that are computed together.

    Returns:
        float32 (N, H, W), at least 0: the maps of the layer, resized with bilinear interpolation. They are not scaled;
        divide by their maximum for a picture.

    Raises:
        ValueError: the model does not take `images`; a class is not one of the model's; there is no such layer, or it
            has no map; the model calls it several times; or the model ends in another layer.
        TypeError: the model is not functional, a class is not an integer, or `method` is not a function.

    Example:
        >>> import numpy as np, keras_resnet as kr
        >>> model = kr.ResNet20(input_shape=(32, 32, 3))
        >>> kr.explain.heat_maps(model, np.zeros((2, 32, 32, 3), "uint8"), classes=3).shape
        (2, 32, 32)
    """
    if not callable(method):
        raise TypeError(
            f"method must be a function, one of kr.explain.METHODS, which has {', '.join(METHODS)}, or your own. "
            f"Received: method={method!r:.100}"
        )
    pixels, count = checked_images(model, images), integer("batch_size", batch_size)
    explained = layer_with_map(model, layer)
    chosen = checked_classes(model, classes, len(pixels))
    maps = []
    for start in range(0, len(pixels), count):
        part = slice(start, start + count)
        found = features(model, pixels[part], explained, None if chosen is None else chosen[part])
        maps.append(method(found.values, found.gradients))
    return _resized(np.concatenate(maps), pixels.shape[1:3])


def _resized(maps: np.ndarray, sides: tuple[int, int]) -> np.ndarray:
    return keras.ops.convert_to_numpy(keras.ops.image.resize(maps[..., None], sides, "bilinear"))[..., 0]
