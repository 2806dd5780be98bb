"""Random boxes within images, given by area and aspect ratio; used for crops and for random erasing."""

from __future__ import annotations

import math
from typing import NamedTuple

import tensorflow as tf

ATTEMPTS = 10  # as in timm and torchvision


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
        `Boxes`. If none of the ten fits, `found` is False, and the box is the last one, cut to the image.
    """
    count, height, width = tf.unstack(tf.shape(images)[:3])
    # All ten are drawn at once: a loop over a whole batch would run until the last image of the batch has its box.
    drawn = tf.random.stateless_uniform((4, count, ATTEMPTS), seed)
    pixels = tf.cast(height * width, tf.float32) * (area[0] + drawn[0] * (area[1] - area[0]))
    aspect = tf.exp(math.log(ratio[0]) + drawn[1] * (math.log(ratio[1]) - math.log(ratio[0])))
    heights = tf.cast(tf.round(tf.sqrt(pixels / aspect)), tf.int32)
    widths = tf.cast(tf.round(tf.sqrt(pixels * aspect)), tf.int32)
    fits = (heights <= height) & (widths <= width)
    first = tf.argmax(fits, axis=1, output_type=tf.int32)
    found = tf.reduce_any(fits, axis=1)
    first = tf.where(found, first, ATTEMPTS - 1)
    chosen_height = tf.minimum(tf.gather(heights, first, batch_dims=1), height)
    chosen_width = tf.minimum(tf.gather(widths, first, batch_dims=1), width)
    positions = drawn[2:, :, 0]
    top = tf.cast(positions[0] * tf.cast(height - chosen_height + 1, tf.float32), tf.int32)
    left = tf.cast(positions[1] * tf.cast(width - chosen_width + 1, tf.float32), tf.int32)
    return Boxes(top, left, chosen_height, chosen_width, found)
