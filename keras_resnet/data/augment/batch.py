"""What all augmentations share: they check the images, draw random numbers for each image, and round pixel values.

Inside `tf.data.Dataset.map`, TensorFlow rewrites arithmetic: it merges two constant factors into one, and replaces a
division by a constant with a multiplication. Both change the last bits of a result. Therefore a random number is
multiplied by one constant only, and is never divided by a constant. Eager execution and a map then give exactly the
same pixels.
"""

from __future__ import annotations

import tensorflow as tf


def check_images(images: tf.Tensor) -> tf.Tensor:
    """Converts `images` to a tensor, and raises a `ValueError` if it is not uint8 (N, H, W, C)."""
    images = tf.convert_to_tensor(images)
    if images.dtype != tf.uint8 or images.shape.rank != 4:
        raise ValueError(
            f"images must be uint8 (N, H, W, C). Received: {images.dtype.name} images of shape {images.shape}"
        )
    return images


def check_color_images(images: tf.Tensor, argument: str) -> tf.Tensor:
    """As `check_images`; also raises a `ValueError` if the images have no color, which `argument` needs."""
    images = check_images(images)
    if images.shape[-1] != 3:
        raise ValueError(
            f"images must have 3 channels if {argument} is above 0. Received: images of shape {images.shape}"
        )
    return images


def per_image(images: tf.Tensor, seed: tf.Tensor, count: int) -> list[tf.Tensor]:
    """Draws `count` random numbers in [0, 1) for each image.

    Returns:
        A list of `count` tensors, float32 (N).
    """
    return tf.unstack(tf.random.stateless_uniform((count, tf.shape(images)[0]), seed))


def round_to_uint8(values: tf.Tensor) -> tf.Tensor:
    """Rounds values in [0, 255] to the nearest uint8. Averages of pixel values always lie in this range."""
    # The cast truncates. `tf.round` would need one more pass over the pixels.
    return tf.cast(values + 0.5, tf.uint8)


def to_uint8(values: tf.Tensor) -> tf.Tensor:
    """Clips values to [0, 255] and rounds them to the nearest uint8."""
    return round_to_uint8(tf.clip_by_value(values, 0.0, 255.0))
