"""Images of any size as one batch: resized, padded, and boxes brought back to the original pixels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf


class Batch(NamedTuple):
    """Images of any size as one array.

    Attributes:
        images: float32 (N, H, W, C), raw pixels; zeros to the right of and below each image.
        sizes: height and width of each image in it, int32 (N, 2).
        factors: height and width of each image in it over those of the original, float32 (N, 2).
    """

    images: np.ndarray
    sizes: np.ndarray
    factors: np.ndarray


OVERSHOOT = 50  # by how much bicubic resizing may leave the range of pixels


def check_pixels(name: str, pixels: np.ndarray) -> np.ndarray:
    """`pixels`, if they may be raw ones.

    Args:
        name: what they are, for the error.
        pixels: numbers of any shape.

    Raises:
        ValueError: they are outside of 0 to 255, or normalized, or no finite numbers.
    """
    low, high = float(pixels.min()), float(pixels.max())
    normalized = max(-low, high) <= 4 and (pixels != np.floor(pixels)).any()  # fractions near zero
    if not -OVERSHOOT <= low <= high <= 255 + OVERSHOOT or normalized:
        raise ValueError(
            "images must be raw pixels from 0 to 255; the detector normalizes them itself. "
            f"Received: as {name} pixels from {low:.4g} to {high:.4g}"
        )
    return pixels


def resized_sides(height: int, width: int, shorter: int, longer: int) -> tuple[int, int]:
    """Height and width of an image as a detector gets it, rounded as in torchvision.

    Args:
        height, width: sides of the image in pixels.
        shorter: length of the shorter side in pixels.
        longer: largest length of the longer side in pixels; if it limits the size, the shorter one is smaller.

    Returns:
        Height and width.

    Example:
        >>> from keras_resnet.detection.resizing import resized_sides
        >>> resized_sides(480, 640, 800, 1333)
        (800, 1066)
    """
    factor = min(shorter / min(height, width), longer / max(height, width))
    return max(math.floor(height * factor), 1), max(math.floor(width * factor), 1)


def resized(image: np.ndarray, shorter: int, longer: int) -> np.ndarray:
    """An image as a detector gets it: bilinear without antialiasing, as in torchvision.

    Args:
        image: (H, W, C).
        shorter, longer: see `resized_sides`.

    Returns:
        float32 (H', W', C).
    """
    height, width, _ = image.shape
    sides = resized_sides(height, width, shorter, longer)
    return tf.image.resize(image, sides, "bilinear").numpy()


def resized_in_graph(image: tf.Tensor, shorter: int, longer: int) -> tf.Tensor:
    """`resized` for a graph, in which the sides of the image are not known.

    Args:
        image: (H, W, C).
        shorter, longer: see `resized_sides`.

    Returns:
        float32 (H', W', C).
    """
    return tf.image.resize(image, sides_in_graph(tf.shape(image)[:2], shorter, longer), "bilinear")


def sides_in_graph(sides: tf.Tensor, shorter: int | tf.Tensor, longer: int) -> tf.Tensor:
    """`resized_sides` for a graph.

    Args:
        sides: height and width of the image, integers (2,).
        shorter: an integer, or a scalar of float64.
        longer: an integer.

    Returns:
        Height and width, int32 (2,).
    """
    # In float64, as Python computes: another rounding would give other sides.
    image = tf.cast(sides, tf.float64)
    factor = tf.minimum(shorter / tf.reduce_min(image), longer / tf.reduce_max(image))
    return tf.maximum(tf.cast(tf.floor(image * factor), tf.int32), 1)


def exact_sides_in_graph(sides: tf.Tensor, shorter: int, longer: int) -> tf.Tensor:
    """`sides_in_graph` in whole numbers of 32 bits, for engines that do not compute in float64.

    In float64 a side that is a whole number is sometimes rounded to the one below. Here it never is, so one image size
    in 20 becomes a pixel longer than `resized_sides` has it.

    Args:
        sides: height and width of the image, int32 (2,).
        shorter, longer: see `resized_sides`.

    Returns:
        Height and width, int32 (2,).
    """
    least, most = tf.reduce_min(sides), tf.reduce_max(sides)
    limited_by_shorter = shorter * most <= longer * least
    target, of = (tf.where(limited_by_shorter, *pair) for pair in ((shorter, longer), (least, most)))
    return tf.maximum(sides * target // of, 1)


def batch_of(images: Sequence[np.ndarray], shorter: int, longer: int) -> Batch:
    """Images of any size as one batch.

    Args:
        images: raw pixels, (H, W, C) each.
        shorter, longer: see `resized_sides`.

    Returns:
        The batch.
    """
    small = [resized(image, shorter, longer) for image in images]
    sizes = np.array([image.shape[:2] for image in small], "int32")
    batch = np.zeros((len(small), *sizes.max(axis=0), small[0].shape[-1]), "float32")
    for row, image in zip(batch, small):
        row[: image.shape[0], : image.shape[1]] = image
    originals = np.array([image.shape[:2] for image in images], "float32")
    return Batch(batch, sizes, sizes.astype("float32") / originals)
