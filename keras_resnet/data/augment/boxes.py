"""Random boxes within images, by area and aspect ratio: to crop to, and to erase."""

from __future__ import annotations

import math
from typing import NamedTuple

import tensorflow as tf

ATTEMPTS = 10  # as timm and torchvision


class Boxes(NamedTuple):
    """One box an image: int32 (N) each, in pixels; and whether one was found, bool (N)."""

    top: tf.Tensor
    left: tf.Tensor
    height: tf.Tensor
    width: tf.Tensor
    found: tf.Tensor


def random_boxes(images: tf.Tensor, seed: tf.Tensor, area: tuple[float, float], ratio: tuple[float, float]) -> Boxes:
    """Draws for each image of (N, H, W, C) a box; the first of ten that fits into the image.

    Args:
        images: uint8 (N, H, W, C).
        seed: integers (2).
        area: least and greatest share of the image's area; uniform.
        ratio: least and greatest width over height; its logarithm is uniform.

    Returns:
        `Boxes`; where none of ten fits, `found` is False and the last one is cut to the image.
    """
    count, height, width = tf.unstack(tf.shape(images)[:3])
    # All ten at once: a loop over a whole batch would go on until the unluckiest image has its box.
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
    places = drawn[2:, :, 0]
    top = tf.cast(places[0] * tf.cast(height - chosen_height + 1, tf.float32), tf.int32)
    left = tf.cast(places[1] * tf.cast(width - chosen_width + 1, tf.float32), tf.int32)
    return Boxes(top, left, chosen_height, chosen_width, found)
