"""Random boxes within images, drawn by area and aspect ratio as in torchvision; for crops and random erasing."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import tensorflow as tf

ATTEMPTS = 10  # as in timm and torchvision


def first_that_fits(
    uniform: tf.Tensor, image_sides: tf.Tensor, area: tuple[float, float], ratio: tuple[float, float]
) -> tuple[tf.Tensor, tf.Tensor]:
    """Heights and widths of the first of several random boxes that fits into the image.

    Args:
        uniform: float32 (..., attempts, 2), random numbers in [0, 1): the first gives a box its area, the second its
            aspect ratio.
        image_sides: float32 (2,), height and width of the images in pixels.
        area: smallest and largest fraction of the image's area; the fraction is uniform.
        ratio: smallest and largest ratio of width to height; its logarithm is uniform.

    Returns:
        Height and width, float32 (..., 2), and whether a box fitted, bool (...). If none of the boxes fits, these are
        the sides of the first one.
    """
    low, high = math.log(ratio[0]) / 2, math.log(ratio[1]) / 2
    pixels = tf.reduce_prod(image_sides) * (area[0] + (area[1] - area[0]) * uniform[..., :1])
    root_of_ratio = tf.exp((low + (high - low) * uniform[..., 1:]) * np.array([-1, 1], "float32"))  # heights: inverse
    sides = tf.round(tf.sqrt(pixels) * root_of_ratio)
    fits = tf.reduce_all((sides > 0) & (sides <= image_sides), axis=-1)
    first = tf.argmax(fits, axis=-1)  # 0 if none fits
    batch_dims = len(fits.shape) - 1
    return tf.gather(sides, first, batch_dims=batch_dims), tf.gather(fits, first, batch_dims=batch_dims)


class Boxes(NamedTuple):
    """One box for each image.

    Attributes:
        top, left, height, width: in pixels, int32 (N) each.
        found: whether a box fitted into the image, bool (N).
    """

    top: tf.Tensor
    left: tf.Tensor
    height: tf.Tensor
    width: tf.Tensor
    found: tf.Tensor


def random_boxes(images: tf.Tensor, seed: tf.Tensor, area: tuple[float, float], ratio: tuple[float, float]) -> Boxes:
    """Draws ten boxes for each image, and returns the first one that fits into the image.

    Args:
        images: uint8 (N, H, W, C).
        seed: random seed, two integers.
        area: smallest and largest fraction of the image's area; the fraction is drawn uniformly.
        ratio: smallest and largest ratio of width to height; its logarithm is drawn uniformly.

    Returns:
        `Boxes`. If none of the ten fits, `found` is False, and the box is the first one, cut to the image.
    """
    image_sides = tf.cast(tf.shape(images)[1:3], tf.float32)
    # All ten are drawn at once: a loop over a whole batch would run until the last image of the batch has its box.
    drawn = tf.random.stateless_uniform((4, tf.shape(images)[0], ATTEMPTS), seed)
    sides, found = first_that_fits(tf.stack([drawn[0], drawn[1]], axis=-1), image_sides, area, ratio)
    sides = tf.minimum(sides, image_sides)
    corners = tf.stack([drawn[2, :, 0], drawn[3, :, 0]], axis=-1) * (image_sides - sides + 1)
    top, left = tf.unstack(tf.cast(corners, tf.int32), axis=1)
    height, width = tf.unstack(tf.cast(sides, tf.int32), axis=1)
    return Boxes(top, left, height, width, found)
