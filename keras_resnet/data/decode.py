"""From the bytes of a file to pixels, and from pixels of any size to those that a network takes."""

from __future__ import annotations

from pathlib import Path

import tensorflow as tf


def decode(content: tf.Tensor, channels: int) -> tf.Tensor:
    """uint8 (H, W, channels) from the bytes of a JPEG, PNG, BMP, WebP or GIF (its first frame); `channels` 1 or 3."""
    # By way of colour: TensorFlow decodes BMP, GIF, WebP and some JPEG to nothing else.
    image = tf.ensure_shape(tf.io.decode_image(content, channels=3, expand_animations=False), (None, None, 3))
    return image if channels == 3 else tf.image.rgb_to_grayscale(image)


def read_image(file: Path, channels: int) -> tf.Tensor:
    """`decode` of a file; a `ValueError` names the file that is no readable image."""
    try:
        return decode(tf.constant(file.read_bytes()), channels)
    except OSError as error:
        raise ValueError(f"cannot read {file}: {error.strerror}") from error
    except tf.errors.InvalidArgumentError as error:
        raise ValueError(f"{file} is no readable JPEG, PNG, BMP, WebP or GIF") from error


def to_square(image: tf.Tensor, size: int) -> tf.Tensor:
    """The centred square of a uint8 image (H, W, C), resized to uint8 (size, size, C)."""
    height, width = tf.unstack(tf.shape(image)[:2])
    side = tf.minimum(height, width)
    image = tf.image.crop_to_bounding_box(image, (height - side) // 2, (width - side) // 2, side, side)
    # Antialiasing matters going down and does nothing going up.
    image = tf.image.resize(image, (size, size), antialias=True)
    return tf.cast(tf.round(tf.clip_by_value(image, 0, 255)), tf.uint8)
