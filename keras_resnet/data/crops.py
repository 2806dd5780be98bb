"""Which part of an image is taken for training: functions `(shape, seed) -> box`, repeatable by the seed.

A box is int32 (4,): top, left, height, width in pixels. It is found before the image is decoded, so that what lies
outside need not be.
"""

from __future__ import annotations

import math

import numpy as np
import tensorflow as tf

TRIES = 10  # as in torchvision's RandomResizedCrop


def center_square(shape: tf.Tensor, seed: tf.Tensor | None = None) -> tf.Tensor:
    """The largest square in the middle.

    Args:
        shape: int32 (2,), height and width of the image.
        seed: not used; every crop takes one.

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
    """A part of random area and form (arXiv:1409.4842, section 6), by the rule of torchvision's RandomResizedCrop.

    The area is uniform in `scale`, the logarithm of the form in that of `ratio`; of ten such draws the first that fits
    into the image is taken, and where none does, the largest part in the middle whose form is in `ratio`.

    Args:
        shape: int32 (2,), height and width of the image.
        seed: integers (2,).
        scale: smallest and largest share of the image's area, each in (0, 1].
        ratio: smallest and largest width / height.

    Returns:
        The box, int32 (4,).

    Raises:
        ValueError: `scale` or `ratio` is no such range.

    Example:
        >>> import functools, tensorflow as tf
        >>> from keras_resnet.data.crops import random_resized_crop
        >>> half = functools.partial(random_resized_crop, scale=(0.5, 0.5), ratio=(1.0, 1.0))
        >>> half(tf.constant([100, 100]), tf.constant([0, 1])).numpy()[2:].tolist()
        [71, 71]
    """
    if not 0 < scale[0] <= scale[1] <= 1:
        raise ValueError(f"scale must be two shares in (0, 1], the smaller first. Received: scale={scale!r}")
    if not 0 < ratio[0] <= ratio[1]:
        raise ValueError(f"ratio must be two numbers above 0, the smaller first. Received: ratio={ratio!r}")
    whole = tf.cast(shape, tf.float32)
    # One draw, and few operations: of each the call takes longer than what it does.
    drawn = tf.random.stateless_uniform((TRIES + 1, 2), seed)
    tries, corner = drawn[:-1], drawn[-1]
    low, high = math.log(ratio[0]) / 2, math.log(ratio[1]) / 2
    area = tf.reduce_prod(whole) * (scale[0] + (scale[1] - scale[0]) * tries[:, :1])
    form = tf.exp((low + (high - low) * tries[:, 1:]) * np.array([-1, 1], "float32"))
    sides = tf.round(tf.sqrt(area) * form)  # heights and widths
    fits = tf.reduce_all((sides > 0) & (sides <= whole), axis=1)
    first = tf.argmax(fits)  # the first of those that are true; where none is, 0
    largest = tf.round(tf.minimum(whole, whole[::-1] * np.array([1 / ratio[0], ratio[1]], "float32")))
    chosen = tf.where(fits[first], sides[first], largest)
    corner = tf.floor(tf.where(fits[first], corner * (whole - chosen + 1), (whole - chosen) / 2))
    return tf.cast(tf.concat([corner, chosen], axis=0), tf.int32)


def scale_jitter(
    shape: tf.Tensor, seed: tf.Tensor, shorter: tuple[int, int] = (256, 480), size: int = 224
) -> tf.Tensor:
    """A square anywhere in the image, at a random scale: that of He et al. 2015 (arXiv:1512.03385), section 3.4.

    There the image's shorter side is resized to a random length, and a square of `size` is cut from that.

    Args:
        shape: int32 (2,), height and width of the image.
        seed: integers (2,).
        shorter: least and greatest length of the resized shorter side, in pixels.
        size: side of the square there.

    Returns:
        The box, int32 (4,).

    Raises:
        ValueError: `shorter` and `size` are no such numbers.

    Example:
        >>> import tensorflow as tf
        >>> from keras_resnet.data.crops import scale_jitter
        >>> box = scale_jitter(tf.constant([512, 960]), tf.constant([0, 1])).numpy()
        >>> bool(512 * 224 / 480 - 1 <= box[2] <= 512 * 224 / 256 + 1), bool(box[2] == box[3])
        (True, True)
    """
    if not 0 < size <= shorter[0] <= shorter[1]:
        raise ValueError(
            f"shorter must be two lengths of at least size, the smaller first. "
            f"Received: shorter={shorter!r}, size={size}"
        )
    whole = tf.cast(shape, tf.float32)
    drawn = tf.random.stateless_uniform((3,), seed)
    length = shorter[0] + (shorter[1] - shorter[0]) * drawn[0]
    side = tf.maximum(tf.round(tf.reduce_min(whole) * size / length), 1)
    corner = tf.floor(drawn[1:] * (whole - side + 1))
    return tf.cast(tf.concat([corner, [side, side]], axis=0), tf.int32)
