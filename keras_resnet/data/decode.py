"""Decoding of image files to pixels, and resizing of images to the size that a network takes."""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf

from keras_resnet._internal.validation import integer, number, one_of, printable
from keras_resnet.data.binary import one_node, part, unless
from keras_resnet.data.gif import first_frame
from keras_resnet.data.headers import Header, has_alpha, read_header, refusal
from keras_resnet.data.jpeg import checked_sides
from keras_resnet.data.orientation import orientation, upright
from keras_resnet.data.png import needed_chunks
from keras_resnet.weights import Checkpoint

INTERPOLATIONS = ("bilinear", "bicubic")


def decode(content: tf.Tensor, channels: int) -> tf.Tensor:
    """Decodes a JPEG, PNG, BMP, WebP or GIF file to an upright image; of a GIF the first frame.

    Args:
        content: scalar string, the bytes of the file.
        channels: 1 (gray) or 3 (red, green, blue), whatever the file has.

    Returns:
        uint8 (H, W, channels).

    Raises:
        tf.errors.InvalidArgumentError: the bytes are not such a file.

    Example:
        >>> import numpy as np, tensorflow as tf
        >>> from keras_resnet.data.decode import decode
        >>> decode(tf.io.encode_png(np.zeros((2, 3, 1), "uint8")), channels=3).shape
        TensorShape([2, 3, 3])
    """
    # All files are decoded to color first: TensorFlow decodes BMP, GIF, WebP and some JPEG files only to color. JPEG is
    # decoded as in Pillow, because the published accuracies were measured on Pillow's pixels. TensorFlow's default
    # method is 14 % faster, and differs by one gray level on average.
    image = tf.cond(
        tf.io.is_jpeg(content),
        lambda: _decode_jpeg(content),
        lambda: _decode_other(content),
    )
    image = upright(tf.ensure_shape(image, (None, None, 3)), orientation(content))
    return in_channels(image, channels)


@one_node(tf.TensorSpec((), tf.string))
def _decode_other(content: tf.Tensor) -> tf.Tensor:
    """Decodes a file of any format but JPEG to color."""
    header = read_header(content)
    content = unless(refusal(content, header), content)
    # TensorFlow decodes a WebP with transparent pixels only to four channels. `channels=0`, with which it chooses the
    # number itself, is not safe: TensorFlow 2.21 writes out of bounds if a WebP is animated.
    image = tf.case(
        [
            (header.png == 0, lambda: tf.io.decode_png(needed_chunks(content, header), channels=3)),
            ((header.bmp == 0) & (header.bmp_bits == 8), lambda: _decode_palette(content, header)),
            (header.gif == 0, lambda: _decode_first_frame(content, header)),
            (has_alpha(header), lambda: tf.io.decode_image(content, channels=4, expand_animations=False)[..., :3]),
        ],
        default=lambda: tf.io.decode_image(content, channels=3, expand_animations=False),
    )
    return tf.ensure_shape(image, (None, None, 3))


def _decode_palette(content: tf.Tensor, header: Header) -> tf.Tensor:
    """Decodes a BMP of 8 bits per pixel. TensorFlow returns the numbers of the colors as if they were gray levels."""
    numbers = tf.io.decode_bmp(content)[..., 0]
    begin = tf.cast(tf.minimum(14 + header.bmp_header, header.bmp_pixels_at), tf.int32)
    colors = part(content, begin, (tf.cast(header.bmp_pixels_at, tf.int32) - begin) // 4 * 4)
    palette = tf.reshape(tf.io.decode_raw(colors, tf.uint8), (-1, 4))[:, 2::-1]  # blue, green, red, unused
    return tf.gather(palette, tf.cast(numbers, tf.int32))


def _decode_jpeg(content: tf.Tensor) -> tf.Tensor:
    with tf.control_dependencies([checked_sides(content)]):
        return tf.io.decode_jpeg(content, channels=3, dct_method="INTEGER_ACCURATE")


def _decode_first_frame(content: tf.Tensor, header: Header) -> tf.Tensor:
    """Decodes the first picture of a GIF. Where it does not cover the screen, Pillow fills the rest with a color."""
    image = tf.io.decode_image(first_frame(content), channels=3, expand_animations=False)
    screen = tf.stack([header.gif_height, header.gif_width])
    covers = tf.reduce_all(tf.shape(image, tf.int64)[:2] == screen)
    return unless(tf.where(covers, "", "image must begin with a picture that covers the screen if it is a GIF"), image)


def in_channels(image: tf.Tensor, channels: int) -> tf.Tensor:
    """uint8 (H, W, channels) from a color image (H, W, 3): unchanged for 3 channels, gray for 1."""
    return image if channels == 3 else tf.image.rgb_to_grayscale(image)


def read_image(file: Path, channels: int) -> tf.Tensor:
    """Reads and decodes a file, see `decode`.

    Args:
        file: path of the image file.
        channels: 1 or 3.

    Returns:
        uint8 (H, W, channels).

    Raises:
        ValueError: the file cannot be read or decoded. The error names the file.
    """
    try:
        return decode(tf.constant(file.read_bytes()), channels)
    except OSError as error:
        raise ValueError(f"cannot read {printable(file)}: {error.strerror}") from error
    except tf.errors.InvalidArgumentError as error:
        raise ValueError(f"{printable(file)} {why_not_decoded(error)}") from error


def why_not_decoded(error: tf.errors.OpError) -> str:
    """What is wrong with a file that `decode` refused, for an error after the name of the file."""
    reason = re.search(r"image must [^'\"\]\n]*", error.message)  # the text of an assertion in the graph
    return "is not a readable JPEG, PNG, BMP, WebP or GIF" + (f": {reason[0]}" if reason else "")


def to_square(image: tf.Tensor, size: int) -> tf.Tensor:
    """Crops the largest square in the middle of an image and resizes it, with bilinear interpolation.

    Args:
        image: uint8 (H, W, C).
        size: side of the result in pixels.

    Returns:
        uint8 (size, size, C).

    Example:
        >>> import numpy as np
        >>> from keras_resnet.data.decode import to_square
        >>> to_square(np.full((480, 640, 3), 7, "uint8"), 224).shape
        TensorShape([224, 224, 3])
    """
    height, width = tf.unstack(tf.shape(image)[:2])
    side = tf.minimum(height, width)
    image = tf.image.crop_to_bounding_box(image, (height - side) // 2, (width - side) // 2, side, side)
    # Antialiasing matters if the image becomes smaller, and changes nothing if it becomes larger.
    image = tf.image.resize(image, (size, size), antialias=True)
    return tf.cast(tf.round(tf.clip_by_value(image, 0, 255)), tf.uint8)


def resize_and_crop(image: tf.Tensor, size: int, *, crop_pct: float, interpolation: str) -> tf.Tensor:
    """The evaluation transform of timm and torchvision: shorter side to `size / crop_pct`, then a center crop.

    It works eagerly and in `tf.data` maps. For the argument `resize` of `pipeline`, bind the last two arguments with
    `functools.partial`.

    Args:
        image: uint8 (H, W, C).
        size: side of the result in pixels, at least 1.
        crop_pct: fraction of the resized image's shorter side that is kept, in (0, 1]; the name is timm's.
        interpolation: "bilinear" or "bicubic", both antialiased.

    Returns:
        uint8 (size, size, C).

    Raises:
        ValueError: `size` or `crop_pct` is outside its range, or `interpolation` has another value.
        TypeError: `size` is not an integer, or `crop_pct` is not a number.

    Example:
        >>> import numpy as np
        >>> from keras_resnet.data.decode import resize_and_crop
        >>> photograph = np.full((480, 640, 3), 7, "uint8")
        >>> resize_and_crop(photograph, 224, crop_pct=0.875, interpolation="bilinear").shape
        TensorShape([224, 224, 3])
    """
    one_of("interpolation", interpolation, INTERPOLATIONS)
    number("crop_pct", crop_pct, "(0, 1]")
    height, width = _resized_sides(image, math.floor(integer("size", size) / crop_pct))
    top, left = _center_start(height, size), _center_start(width, size)
    image = _resized_part(image, (height, width), (top, left), (size, size), interpolation)
    return tf.ensure_shape(image, (size, size, image.shape[-1]))


def resize_shorter_side(image: tf.Tensor, size: int) -> tf.Tensor:
    """Resizes a whole image so that its shorter side has `size` pixels: bilinear, antialiased, as in torchvision.

    Args:
        image: uint8 (H, W, C).
        size: shorter side of the result in pixels, at least 1.

    Returns:
        uint8 (new H, new W, C).

    Example:
        >>> import numpy as np
        >>> from keras_resnet.data.decode import resize_shorter_side
        >>> resize_shorter_side(np.full((480, 640, 3), 7, "uint8"), 120).shape
        TensorShape([120, 160, 3])
    """
    sides = _resized_sides(image, size)
    return _resized_part(image, sides, (0, 0), sides, "bilinear")


def _resized_sides(image: tf.Tensor, shorter: int) -> tuple[tf.Tensor, tf.Tensor]:
    """Height and width if the shorter side becomes `shorter`; the longer one is rounded down, as in torchvision."""
    sides = tf.shape(image)[:2]
    height, width = tf.unstack(shorter * sides // tf.reduce_min(sides))
    return height, width


def _resized_part(
    image: tf.Tensor, sides: Sequence[Any], start: Sequence[Any], size: Sequence[Any], interpolation: str
) -> tf.Tensor:
    """Resizes a uint8 image (H, W, C) to `sides`, height and width; returns the part of `size` from `start` on."""
    # As in Pillow, the width is resized first, the result is rounded to gray levels, then the height is resized. So
    # bicubic values below 0 and above 255 are cut off between the two steps. With both axes in one step, noise differs
    # from Pillow's result by up to 31 gray levels instead of 1.
    columns = _resized_rows(tf.transpose(image, (1, 0, 2)), sides[1], start[1], size[1], interpolation)
    return _resized_rows(tf.transpose(columns, (1, 0, 2)), sides[0], start[0], size[0], interpolation)


def resize_for(checkpoint: Checkpoint) -> Callable[[tf.Tensor, int], tf.Tensor]:
    """The evaluation transform of a checkpoint: `resize_and_crop` as its published accuracy was measured.

    Args:
        checkpoint: a row of the table of published weights; its `crop_pct` and `interpolation` are used.

    Returns:
        A function `(image, size) -> image`, for the argument `resize` of `pipeline`.
    """
    return functools.partial(resize_and_crop, crop_pct=checkpoint.crop_pct, interpolation=checkpoint.interpolation)


def _center_start(side: tf.Tensor, size: int) -> tf.Tensor:
    """First of the middle `size` pixels of a side; a half is rounded to even, as in torchvision's CenterCrop."""
    return tf.cast(tf.round((side - size) / 2), tf.int32)


def _resized_rows(image: tf.Tensor, height: Any, first: Any, count: Any, interpolation: str) -> tf.Tensor:
    """Resizes a uint8 image (H, W, C) to `height` rows, and returns `count` of them, from row `first` on."""
    rows, width, channels = (image.shape[axis] or tf.shape(image)[axis] for axis in range(3))
    # Each row becomes one pixel with many channels, whose values lie together in memory. Resizing is twice as fast.
    column = tf.reshape(image, (rows, 1, width * channels))
    resized = tf.image.resize(column, (height, 1), interpolation, antialias=True)[first : first + count]
    return tf.reshape(_gray_levels(resized), (count, width, channels))


def _gray_levels(image: tf.Tensor) -> tf.Tensor:
    """Rounds floats to uint8, with limits of 0 and 255. Halves, which are common, are rounded up as in Pillow."""
    # This takes one pass over the image. Clipping, adding a half, rounding down and casting would take four passes and
    # twice the time.
    to_nearest = {"mode": "SCALED", "round_mode": "HALF_AWAY_FROM_ZERO"}
    levels = tf.raw_ops.QuantizeV2(input=image, min_range=0.0, max_range=255.0, T=tf.quint8, **to_nearest)
    return tf.bitcast(levels.output, tf.uint8)
