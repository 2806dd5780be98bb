"""Whether heat maps mark what a network looks at: deletion and insertion curves (arXiv:1806.07421)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import keras
import numpy as np

from keras_resnet._internal.validation import integer
from keras_resnet.explain.maps import checked_classes, checked_images


class Curves(NamedTuple):
    """The probability of a class while pixels are covered or shown, the most marked first, as a mean over images.

    Attributes:
        fractions: fraction of the pixels that are covered (deletion) or shown (insertion), from 0 to 1.
        deletion: mean probability when these pixels have the mean color of the image.
        insertion: mean probability when only these pixels are shown.
    """

    fractions: np.ndarray
    deletion: np.ndarray
    insertion: np.ndarray

    @property
    def deletion_area(self) -> float:
        """Area under `deletion`: small if the map marks what the network needs."""
        return float(np.trapezoid(self.deletion, self.fractions))

    @property
    def insertion_area(self) -> float:
        """Area under `insertion`: large if the map marks what suffices to the network."""
        return float(np.trapezoid(self.insertion, self.fractions))


def deletion_and_insertion(
    model: keras.Model,
    images: Any,
    maps: np.ndarray,
    classes: int | Sequence[int] | None = None,
    *,
    steps: int = 10,
    batch_size: int = 64,
) -> Curves:
    """Covers, and shows, the pixels of images in the order of their heat maps, and looks at the probability of a class.

    Args:
        model: a model with the output (N, classes).
        images: the images that the model takes, (N, H, W, C).
        maps: a heat map for each image, (N, H, W), for example from `heat_maps`. Random maps show what chance gives.
        classes: the class of all images, or one for each image. None: the class with the highest output.
        steps: number of parts in which the pixels are covered.
        batch_size: images that are computed together.

    Returns:
        The curves, with `steps + 1` points.

    Raises:
        ValueError: `images` or `maps` have another shape, or a class is not one of the model's.
        TypeError: `steps` or a class is not an integer.

    Example:
        >>> import numpy as np, keras_resnet as kr
        >>> model, images = kr.ResNet20(input_shape=(8, 8, 1)), np.zeros((2, 8, 8, 1), "uint8")
        >>> kr.explain.deletion_and_insertion(model, images, kr.explain.heat_maps(model, images), steps=2).fractions
        array([0. , 0.5, 1. ])
    """
    pixels, parts = checked_images(images), integer("steps", steps)
    if np.shape(maps) != pixels.shape[:3]:
        raise ValueError(f"maps must have the shape {pixels.shape[:3]}, as the images. Received: {np.shape(maps)}")
    chosen = checked_classes(model, classes, len(pixels))
    if chosen is None:
        chosen = model.predict(pixels, batch_size, verbose=0).argmax(-1)
    count = pixels.shape[1] * pixels.shape[2]
    # The place of each pixel in the order of its map, the most marked one first.
    places = np.argsort(np.argsort(-maps.reshape(len(maps), count), axis=1, kind="stable"), axis=1)
    places = places.reshape(pixels.shape[:3])[..., None]
    color = pixels.mean((1, 2), keepdims=True).astype(pixels.dtype)
    fractions = np.linspace(0, 1, parts + 1)

    def mean_probability(shown: np.ndarray) -> float:
        outputs = model.predict(np.where(shown, pixels, color), batch_size, verbose=0)
        return float(outputs[np.arange(len(outputs)), chosen].mean())

    marked = [places < round(fraction * count) for fraction in fractions]
    deletion, insertion = (
        np.array([mean_probability(part) for part in shown]) for shown in ([~m for m in marked], marked)
    )
    return Curves(fractions, deletion, insertion)
