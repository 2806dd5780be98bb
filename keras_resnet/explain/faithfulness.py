"""Whether heat maps mark what a network looks at: deletion and insertion curves (arXiv:1806.07421)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import keras
import numpy as np

from keras_resnet._internal.validation import integer
from keras_resnet.explain.arguments import checked_classes, checked_images, outputs_for
from keras_resnet.explain.covering import mean_color
from keras_resnet.runtime.probabilities import probabilities_of


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

    @property
    def difference(self) -> float:
        """`insertion_area - deletion_area`, 0 for random maps of any kind.

        It is how much more the probability falls if the marked pixels are covered than if as many pixels elsewhere are,
        as a mean over all numbers of pixels.
        """
        return self.insertion_area - self.deletion_area


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
        model: a functional model with one input, images, and one output (N, classes): probabilities or logits.
        images: the images that the model takes, (N, H, W, C).
        maps: a heat map for each image, (N, H, W), for example from `heat_maps`. Random maps show what chance gives.
        classes: the class of all images, or one for each image. None: the class with the highest output.
        steps: number of parts in which the pixels are covered.
        batch_size: images that are computed together. Only the covered images of one batch are in memory.

    Returns:
        The curves, with `steps + 1` points.

    Raises:
        ValueError: the model does not take `images`, `maps` have another shape, or a class is not one of the model's.
        TypeError: the model is not functional, or `steps` or a class is not an integer.

    Example:
        >>> import numpy as np, keras_resnet as kr
        >>> model, images = kr.ResNet20(input_shape=(8, 8, 1)), np.zeros((2, 8, 8, 1), "uint8")
        >>> kr.explain.deletion_and_insertion(model, images, kr.explain.heat_maps(model, images), steps=2).fractions
        array([0. , 0.5, 1. ])
    """
    pixels, parts, count = checked_images(model, images), integer("steps", steps), integer("batch_size", batch_size)
    maps = np.asarray(maps)
    if maps.shape != pixels.shape[:3]:
        raise ValueError(f"maps must have the shape {pixels.shape[:3]}, as the images. Received: {maps.shape}")
    chosen, probabilities = checked_classes(model, classes, len(pixels)), probabilities_of(model)
    fractions = np.linspace(0, 1, parts + 1)
    sums = np.zeros((2, len(fractions)))  # over the images, of deletion and of insertion
    for start in range(0, len(pixels), count):
        part = slice(start, start + count)
        whole, places = pixels[part], _places(maps[part])
        blank = np.broadcast_to(mean_color(whole), whole.shape)
        explained = outputs_for(model, whole).argmax(-1) if chosen is None else chosen[part]
        for step, fraction in enumerate(fractions):
            marked = places < round(fraction * places[0].size)
            for curve, (inside, outside) in enumerate(((blank, whole), (whole, blank))):
                found = probabilities(outputs_for(model, np.where(marked, inside, outside)))
                sums[curve, step] += found[np.arange(len(found)), explained].sum(dtype="float64")
    return Curves(fractions, *(sums / len(pixels)))


def _places(maps: np.ndarray) -> np.ndarray:
    """The place of each pixel in the order of its map, the most marked one first, (N, H, W, 1)."""
    descending = np.argsort(-maps.reshape(len(maps), -1), axis=1, kind="stable")
    return np.argsort(descending, axis=1).reshape(*maps.shape, 1)
