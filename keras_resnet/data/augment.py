"""Augmentation of whole batches: functions `(images, seed) -> images`, uint8 to uint8, repeatable by the seed."""

from __future__ import annotations

import tensorflow as tf


def pad_and_crop(images: tf.Tensor, seed: tf.Tensor, pixels: int) -> tf.Tensor:
    """Pads images (N, H, W, C) by `pixels` zeros and crops each back at random (arXiv:1512.03385, section 4.2)."""
    count, height, width = tf.unstack(tf.shape(images)[:3])
    padded = tf.pad(images, ((0, 0), (pixels, pixels), (pixels, pixels), (0, 0)))
    corner = tf.random.stateless_uniform((count, 2), seed, maxval=2 * pixels + 1, dtype=tf.int32)
    rows = corner[:, :1] + tf.range(height)
    columns = corner[:, 1:] + tf.range(width)
    cropped = tf.gather(tf.gather(padded, rows, batch_dims=1), columns, axis=2, batch_dims=1)
    return tf.ensure_shape(cropped, images.shape)


def flip(images: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Mirrors half of the images (N, H, W, C), left to right."""
    mirrored = tf.random.stateless_uniform((tf.shape(images)[0], 1, 1, 1), seed) < 0.5
    return tf.where(mirrored, images[:, :, ::-1], images)
