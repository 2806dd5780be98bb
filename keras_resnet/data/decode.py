"""From the bytes of a file to pixels, and from pixels of any size to those that a network takes."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from pathlib import Path

import tensorflow as tf

from keras_resnet._internal.validation import integer, number, one_of
from keras_resnet.weights import Checkpoint

INTERPOLATIONS = ("bilinear", "bicubic")


def decode(content: tf.Tensor, channels: int) -> tf.Tensor:
    """uint8 (H, W, channels) from the bytes of a JPEG, PNG, BMP, WebP or GIF (its first frame); `channels` 1 or 3."""
    # By way of colour: TensorFlow decodes BMP, GIF, WebP and some JPEG to nothing else. JPEG as Pillow does it, whose
    # pixels the published accuracies are of; TensorFlow's default is 14 % faster, and a grey level off on average.
    image = tf.case(
        [
            (tf.io.is_jpeg(content), lambda: tf.io.decode_jpeg(content, channels=3, dct_method="INTEGER_ACCURATE")),
            (
                _is_transparent_webp(content),
                lambda: tf.io.decode_image(content, channels=4, expand_animations=False)[..., :3],
            ),
        ],
        default=lambda: tf.io.decode_image(content, channels=3, expand_animations=False),
    )
    return in_channels(tf.ensure_shape(image, (None, None, 3)), channels)


def _is_transparent_webp(content: tf.Tensor) -> tf.Tensor:
    """Whether TensorFlow decodes the file to four channels and no other number (RFC 9649 has the places of the bits).

    To let it choose the number, by `channels=0`, is no way: TensorFlow 2.21 writes out of bounds where a WebP is
    animated.
    """
    start = tf.strings.substr(tf.strings.join([tf.strings.substr(content, 0, 25), " " * 25]), 0, 25)
    kind, flags = tf.strings.substr(start, 8, 8), tf.cast(tf.io.decode_raw(start, tf.uint8), tf.int32)
    still_with_alpha = tf.bitwise.bitwise_and(flags[20], 0x12) == 0x10
    return tf.where(kind == "WEBPVP8L", flags[24] // 16 % 2 == 1, (kind == "WEBPVP8X") & still_with_alpha)


def in_channels(image: tf.Tensor, channels: int) -> tf.Tensor:
    """uint8 (H, W, channels) from (H, W, 3): as it is, or in greys."""
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


def resize_and_crop(image: tf.Tensor, size: int, *, crop_pct: float, interpolation: str) -> tf.Tensor:
    """The evaluation transform of timm and torchvision: the shorter side to `size / crop_pct`, then the centre.

    It works eagerly and inside `tf.data` maps. Bind the last two with `functools.partial` for `pipeline`'s `resize`.

    Args:
        image: uint8 (H, W, C).
        size: side of the result in pixels.
        crop_pct: share of the resized image's shorter side that is kept, in (0, 1]; timm's word.
        interpolation: "bilinear" or "bicubic", both antialiased.

    Returns:
        uint8 (size, size, C).

    Raises:
        ValueError: `size`, `crop_pct` or `interpolation` is out of its range.
        TypeError: `size` or `crop_pct` is no number.

    Example:
        >>> import numpy as np
        >>> from keras_resnet.data.decode import resize_and_crop
        >>> photograph = np.full((480, 640, 3), 7, "uint8")
        >>> resize_and_crop(photograph, 224, crop_pct=0.875, interpolation="bilinear").shape
        TensorShape([224, 224, 3])
    """
    one_of("interpolation", interpolation, INTERPOLATIONS)
    number("crop_pct", crop_pct, "(0, 1]")
    shorter = math.floor(integer("size", size) / crop_pct)
    given = tf.shape(image)[:2]
    height, width = tf.unstack(shorter * given // tf.reduce_min(given))  # the longer one truncated, as in torchvision
    top, left = _centre(height, size), _centre(width, size)
    # One axis after the other with whole grey levels between, as Pillow does it: what bicubic overshoots beyond 0 and
    # 255 along the rows is gone before the columns come. In one step, noise is up to 31 levels off Pillow instead of 1.
    columns = _resized_rows(tf.transpose(image, (1, 0, 2)), width, left, size, interpolation)
    image = _resized_rows(tf.transpose(columns, (1, 0, 2)), height, top, size, interpolation)
    return tf.ensure_shape(image, (size, size, image.shape[-1]))


def resize_for(checkpoint: Checkpoint) -> Callable[[tf.Tensor, int], tf.Tensor]:
    """The transform of an image of any size with which a checkpoint was measured, for `pipeline`'s `resize`."""
    return functools.partial(resize_and_crop, crop_pct=checkpoint.crop_pct, interpolation=checkpoint.interpolation)


def _centre(side: tf.Tensor, size: int) -> tf.Tensor:
    """Where the middle `size` pixels of a side start; halves go to the even number, as in torchvision's CenterCrop."""
    return tf.cast(tf.round((side - size) / 2), tf.int32)


def _resized_rows(image: tf.Tensor, height: tf.Tensor, first: tf.Tensor, count: int, interpolation: str) -> tf.Tensor:
    """The rows of a uint8 image (H, W, C), resized to `height` of them; `count` are kept, from `first` on."""
    given, width, channels = (image.shape[axis] or tf.shape(image)[axis] for axis in range(3))
    # As one column of many channels: TensorFlow resizes along what lies together in memory twice as fast as across.
    column = tf.reshape(image, (given, 1, width * channels))
    resized = tf.image.resize(column, (height, 1), interpolation, antialias=True)[first : first + count]
    return tf.reshape(_grey_levels(resized), (count, width, channels))


def _grey_levels(image: tf.Tensor) -> tf.Tensor:
    """Floating point to uint8, cut off at 0 and 255; halves, which are common between levels, go up as in Pillow."""
    # One pass, where clipping, adding a half, rounding down and casting are four and take twice as long.
    to_nearest = {"mode": "SCALED", "round_mode": "HALF_AWAY_FROM_ZERO"}
    levels = tf.raw_ops.QuantizeV2(input=image, min_range=0.0, max_range=255.0, T=tf.quint8, **to_nearest)
    return tf.bitcast(levels.output, tf.uint8)
