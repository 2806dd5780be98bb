"""`occlusion`: how much the output for a class falls if a part of the image is covered."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from keras_resnet._internal.validation import integer
from keras_resnet.explain.arguments import checked_classes, checked_images, outputs_for


def occlusion(
    model: keras.Model,
    images: Any,
    classes: int | Sequence[int] | None = None,
    *,
    patch: int | None = None,
    stride: int | None = None,
    batch_size: int = 64,
) -> np.ndarray:
    """How much the output for a class falls if a square of the image is covered with the image's mean color.

    The method needs no gradients, so it takes models that end in any layer. It is that of Zeiler and Fergus
    (arXiv:1311.2901). The output is computed once for each place of the square: (H / stride) x (W / stride) times for
    each image.

    Args:
        model: a functional model with one input, images, and one output (N, classes).
        images: the images that the model takes, (N, H, W, C).
        classes: the class to explain for all images, or one for each image. None: the class with the highest output.
        patch: side of the square in pixels. None: a quarter of the shorter side.
        stride: pixels from one place of the square to the next. None: half of `patch`.
        batch_size: covered images that are computed together.

    Returns:
        float32 (N, H, W): how much the output falls, as the mean over all places of the square that cover the pixel;
        below 0 where covering raises the output.

    Raises:
        ValueError: the model does not take `images`; a class is not one of the model's; `patch` is larger than the
            image; or `stride` is larger than `patch`.
        TypeError: the model is not functional, or a class, `patch` or `stride` is not an integer.

    Example:
        >>> import numpy as np, keras_resnet as kr
        >>> model = kr.ResNet20(input_shape=(8, 8, 1))
        >>> kr.explain.occlusion(model, np.zeros((1, 8, 8, 1), "uint8")).shape
        (1, 8, 8)
    """
    pixels, count = checked_images(model, images), integer("batch_size", batch_size)
    chosen = checked_classes(model, classes, len(pixels))
    shorter = min(pixels.shape[1:3])
    side = max(1, shorter // 4) if patch is None else integer("patch", patch)
    step = max(1, side // 2) if stride is None else integer("stride", stride)
    if side > shorter:
        raise ValueError(f"patch must be at most {shorter}, the shorter side of the images. Received: patch={side}")
    if step > side:
        raise ValueError(
            f"stride must be at most the patch, {side}, or pixels are not covered. Received: stride={step}"
        )
    outputs = np.concatenate([outputs_for(model, pixels[n : n + count]) for n in range(0, len(pixels), count)])
    chosen = outputs.argmax(-1) if chosen is None else chosen
    return np.stack(
        [
            _falls(model, image, output[index], index, side, step, count)
            for image, output, index in zip(pixels, outputs, chosen, strict=True)
        ]
    )


def mean_color(images: np.ndarray) -> np.ndarray:
    """The mean color of each image (N, H, W, C), in the type of its pixels, (N, 1, 1, C)."""
    mean = images.mean((1, 2), keepdims=True)
    return (np.rint(mean) if images.dtype.kind in "ui" else mean).astype(images.dtype)


def _falls(
    model: keras.Model, image: np.ndarray, output: float, index: int, side: int, step: int, batch_size: int
) -> np.ndarray:
    """The map of one image, (H, W)."""
    color = mean_color(image[None])[0, 0, 0]
    places = [
        (slice(top, top + side), slice(left, left + side))
        for top in _starts(image.shape[0], side, step)
        for left in _starts(image.shape[1], side, step)
    ]
    sums, counts = np.zeros(image.shape[:2], "float32"), np.zeros(image.shape[:2], "float32")
    for start in range(0, len(places), batch_size):
        part = places[start : start + batch_size]
        covered = np.repeat(image[None], len(part), axis=0)
        for copy, place in zip(covered, part, strict=True):
            copy[place] = color
        falls = output - outputs_for(model, covered)[:, index]
        for place, fall in zip(part, falls, strict=True):
            sums[place] += fall
            counts[place] += 1
    return sums / counts


def _starts(length: int, side: int, step: int) -> list[int]:
    """Where the square begins along one side of the image; the last one ends at the border."""
    return [*range(0, length - side, step), length - side]
