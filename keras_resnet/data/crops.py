"""Crops for training: functions `(shape, seed) -> box`. The same seed gives the same box.

A box is int32 (4,): top, left, height and width in pixels. It is chosen before the image is decoded, so that the pixels
outside the box need not be decoded.
"""

from __future__ import annotations

import math

import numpy as np
import tensorflow as tf

from keras_resnet._internal.validation import number_pair
from keras_resnet.data.boxes import ATTEMPTS, first_that_fits


def center_square(shape: tf.Tensor, seed: tf.Tensor | None = None) -> tf.Tensor:
    """The largest square in the middle of the image.

    Args:
        shape: int32 (2,), height and width of the image in pixels.
        seed: not used; it is there because all crops have the same arguments.

    Returns:
        The box, int32 (4,).

    Example:
        >>> from keras_resnet.data.crops import center_square
        >>> center_square([375, 500]).numpy().tolist()
        [0, 62, 375, 375]
    """
    side = tf.reduce_min(shape)
    return tf.concat([(shape - side) // 2, [side, side]], axis=0)


def random_resized_crop(
    shape: tf.Tensor,
    seed: tf.Tensor,
    scale: tuple[float, float] = (0.08, 1.0),
    ratio: tuple[float, float] = (3 / 4, 4 / 3),
) -> tf.Tensor:
    """A box of random area and aspect ratio (arXiv:1409.4842, section 6), as in torchvision's RandomResizedCrop.

    The area is uniform in `scale`, and the logarithm of the aspect ratio is uniform between the logarithms of `ratio`.
    Ten boxes are drawn, and the first one that fits into the image is taken. If none fits, the result is the largest
    box in the middle of the image with an aspect ratio in `ratio`.

    Args:
        shape: int32 (2,), height and width of the image in pixels.
        seed: integers (2,), the random seed.
        scale: smallest and largest fraction of the image's area, each in (0, 1].
        ratio: smallest and largest width / height, each above 0.

    Returns:
        The box, int32 (4,).

    Raises:
        ValueError: `scale` or `ratio` is outside its range, or its first number is larger than its second.

    Example:
        >>> import functools, tensorflow as tf
        >>> from keras_resnet.data.crops import random_resized_crop
        >>> half = functools.partial(random_resized_crop, scale=(0.5, 0.5), ratio=(1.0, 1.0))
        >>> half(tf.constant([100, 100]), tf.constant([0, 1])).numpy()[2:].tolist()
        [71, 71]
    """
    scale, ratio = number_pair("scale", scale, 1), number_pair("ratio", ratio, math.inf)
    image_sides = tf.cast(shape, tf.float32)
    # One draw and few operations: calling an operation takes longer than its computation.
    uniform = tf.random.stateless_uniform((ATTEMPTS + 1, 2), seed)
    sides, found = first_that_fits(uniform[:-1], image_sides, scale, ratio)
    largest = tf.round(tf.minimum(image_sides, image_sides[::-1] * np.array([1 / ratio[0], ratio[1]], "float32")))
    sides = tf.where(found, sides, largest)
    corner = tf.floor(tf.where(found, uniform[-1] * (image_sides - sides + 1), (image_sides - sides) / 2))
    return tf.cast(tf.concat([corner, sides], axis=0), tf.int32)


def scale_jitter(
    shape: tf.Tensor, seed: tf.Tensor, shorter: tuple[int, int] = (256, 480), size: int = 224
) -> tf.Tensor:
    """A square of random scale, anywhere in the image (He et al. 2015, arXiv:1512.03385, section 3.4).

    In the paper the shorter side of the image is resized to a random length, and a square with the side `size` is cut
    from the resized image. The box is that square in the image before resizing.

    Args:
        shape: int32 (2,), height and width of the image in pixels.
        seed: integers (2,), the random seed.
        shorter: smallest and largest length of the resized shorter side, in pixels, each at least `size`.
        size: side of the square in the resized image, in pixels, above 0.

    Returns:
        The box, int32 (4,).

    Raises:
        ValueError: not 0 < `size` <= `shorter[0]` <= `shorter[1]`.

    Example:
        >>> import tensorflow as tf
        >>> from keras_resnet.data.crops import scale_jitter
        >>> box = scale_jitter(tf.constant([512, 960]), tf.constant([0, 1])).numpy()
        >>> bool(512 * 224 / 480 - 1 <= box[2] <= 512 * 224 / 256 + 1), bool(box[2] == box[3])
        (True, True)
    """
    if not 0 < size <= shorter[0] <= shorter[1]:
        raise ValueError(
            "shorter must be two lengths of at least size, the smaller one first, and size must be above 0. "
            f"Received: shorter={shorter!r}, size={size}"
        )
    image_sides = tf.cast(shape, tf.float32)
    uniform = tf.random.stateless_uniform((3,), seed)
    length = shorter[0] + (shorter[1] - shorter[0]) * uniform[0]
    side = tf.maximum(tf.round(tf.reduce_min(image_sides) * size / length), 1)
    corner = tf.floor(uniform[1:] * (image_sides - side + 1))
    return tf.cast(tf.concat([corner, [side, side]], axis=0), tf.int32)
