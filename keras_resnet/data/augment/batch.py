"""What augmentations begin and end with: checked arguments, random numbers for each image, whole grey levels.

In a map, TensorFlow makes one of two constant factors, and a product of a constant divisor. So that pixels are the same
eagerly and in a map, to the last, numbers that are drawn are multiplied by one constant, and divided by none.
"""

from __future__ import annotations

import tensorflow as tf


def checked(images: tf.Tensor) -> tf.Tensor:
    """`images` as a tensor; a `ValueError` if they are not uint8 (N, H, W, C)."""
    images = tf.convert_to_tensor(images)
    if images.dtype != tf.uint8 or images.shape.rank != 4:
        raise ValueError(
            f"images must be uint8 (N, H, W, C). Received: {images.dtype.name} images of shape {images.shape}"
        )
    return images


def check_color_images(images: tf.Tensor, argument: str) -> tf.Tensor:
    """As `checked`, and a `ValueError` that names `argument` if the images have no colour."""
    images = checked(images)
    if images.shape[-1] != 3:
        raise ValueError(f"{argument} must be of images with 3 channels. Received: images of shape {images.shape}")
    return images


def per_image(images: tf.Tensor, seed: tf.Tensor, count: int) -> list[tf.Tensor]:
    """`count` times a random number in [0, 1) for each image: float32 (N)."""
    return tf.unstack(tf.random.stateless_uniform((count, tf.shape(images)[0]), seed))


def rounded(values: tf.Tensor) -> tf.Tensor:
    """The nearest grey levels to values that lie in [0, 255], as averages of grey levels do."""
    # The cast truncates. `tf.round` would be one more pass over the pixels.
    return tf.cast(values + 0.5, tf.uint8)


def to_uint8(values: tf.Tensor) -> tf.Tensor:
    """The nearest of the grey levels 0..255."""
    return rounded(tf.clip_by_value(values, 0.0, 255.0))
