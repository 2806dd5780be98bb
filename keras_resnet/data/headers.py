"""What the headers of image files say, and why some files must not be decoded. All in the graph."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import tensorflow as tf

from keras_resnet.data.binary import part

MOST_PIXELS = 300_000_000  # more than any camera has; they take 900 MB


class Header(NamedTuple):
    """Numbers in the first bytes of a PNG, GIF or BMP, int64 scalars; those of the other two formats mean nothing."""

    png: tf.Tensor  # 0 if the file begins as a PNG; so for the next two
    gif: tf.Tensor
    bmp: tf.Tensor
    png_width: tf.Tensor
    png_height: tf.Tensor
    png_bits: tf.Tensor
    png_colors: tf.Tensor
    gif_width: tf.Tensor
    gif_height: tf.Tensor
    bmp_width: tf.Tensor
    bmp_height: tf.Tensor
    bmp_pixels_at: tf.Tensor
    bmp_header: tf.Tensor
    bmp_bits: tf.Tensor
    bmp_compression: tf.Tensor


# Place of each number of a header in the file, and number of its bytes; below 0 for big-endian.
PLACES = Header(
    png=(0, -4),
    gif=(0, 4),
    bmp=(0, 2),
    png_width=(16, -4),
    png_height=(20, -4),
    png_bits=(24, 1),
    png_colors=(25, 1),
    gif_width=(6, 2),
    gif_height=(8, 2),
    bmp_width=(18, 4),
    bmp_height=(22, 4),
    bmp_pixels_at=(10, 4),
    bmp_header=(14, 4),
    bmp_bits=(28, 2),
    bmp_compression=(30, 4),
)
MARKS = {"png": 0x89504E47, "gif": 0x38464947, "bmp": 0x4D42}
HEADER_BYTES = 34


def _weights_of_bytes() -> np.ndarray:
    """The matrix that makes the numbers of a header of its bytes, int64 (numbers, HEADER_BYTES)."""
    weights = np.zeros((len(PLACES), HEADER_BYTES), "int64")
    for row, (place, count) in zip(weights, PLACES, strict=True):
        powers = 256 ** np.arange(abs(count))
        row[place : place + abs(count)] = powers[::-1] if count < 0 else powers
    return weights


def read_header(content: tf.Tensor) -> Header:
    """The header of an image file."""
    start = tf.strings.substr(tf.strings.join([part(content, 0, HEADER_BYTES), "\0" * HEADER_BYTES]), 0, HEADER_BYTES)
    data = tf.cast(tf.io.decode_raw(start, tf.uint8), tf.int64)
    # One product: each node of a graph costs time whenever a pipeline is started.
    numbers = tf.linalg.matvec(_weights_of_bytes(), tf.ensure_shape(data, (HEADER_BYTES,)))
    marks = [MARKS.get(name, 0) for name in Header._fields]
    return Header(*tf.unstack(numbers - marks))


def refusal(header: Header) -> tf.Tensor:
    """Why a file other than a JPEG must not be decoded; "" if it can be.

    TensorFlow would decode some files to other pixels than Pillow; and it allocates the memory that a header declares.

    Args:
        header: the header of the file.
    """
    is_png, is_gif, is_bmp = header.png == 0, header.gif == 0, header.bmp == 0
    is_deep_gray = is_png & (header.png_bits == 16) & ((header.png_colors == 0) | (header.png_colors == 4))
    is_plain = (
        (header.bmp_header >= 40) & ((header.bmp_bits == 8) | (header.bmp_bits == 24)) & (header.bmp_compression == 0)
    )
    height = tf.minimum(header.bmp_height, 2**32 - header.bmp_height)  # below 0 if the first row is the highest one
    sides = (header.png_width, header.png_height), (header.gif_width, header.gif_height), (header.bmp_width, height)
    is_large = tf.stack([is_png, is_gif, is_bmp]) & (tf.stack([_product(*pair) for pair in sides]) > MOST_PIXELS)
    return tf.where(
        tf.reduce_any(is_large),
        f"image must have at most {MOST_PIXELS:,} pixels",
        tf.where(
            is_deep_gray,
            "image must have 8 bits per channel if it is a gray PNG: the range of 16 bits is not known",
            tf.where(
                is_bmp & ~is_plain,
                "image must be without compression, with 8 or 24 bits per pixel, if it is a BMP",
                "",
            ),
        ),
    )


def _product(first: tf.Tensor, second: tf.Tensor) -> tf.Tensor:
    return tf.cast(first, tf.float32) * tf.cast(second, tf.float32)  # integers could overflow


def checked_jpeg_sides(content: tf.Tensor) -> tf.Tensor:
    """Height and width of a JPEG, int32 (2,); an error in the graph if they declare too many pixels."""
    sides = tf.io.extract_jpeg_shape(content)[:2]
    reason = f"image must have at most {MOST_PIXELS:,} pixels"
    with tf.control_dependencies([tf.debugging.Assert(_product(sides[0], sides[1]) <= MOST_PIXELS, [reason])]):
        return tf.identity(sides)
