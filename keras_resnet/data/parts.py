"""Parts of images for training: cropped, decoded with no more pixels than needed, and resized to a square.

libjpeg can decode a JPEG at 1/2, 1/4 or 1/8 of its sides: from fewer coefficients it computes fewer pixels, which are
means of the pixels that it leaves out. Training uses it where the result still has at least as many pixels as the
network takes. A photograph of 12 megapixels then takes less than half of the time. Measured on photographs: pixels of
the resized part differ by 1.0 gray levels, on average, from those of all pixels with antialiasing. Evaluation decodes
all pixels, because its accuracies are compared with published ones.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from keras_resnet.data.decode import decode, in_channels
from keras_resnet.data.jpeg import checked_sides
from keras_resnet.data.orientation import orientation, stored_box, upright_sides

RATIOS = (1, 2, 4, 8)  # of `tf.io.decode_and_crop_jpeg`
COARSE = 2  # antialiasing is used if the longer side of a part is more than this many times the new side


class Part(NamedTuple):
    """A part of an image, as it is stored in its file.

    Attributes:
        pixels: uint8 (H, W, C).
        box: float32 (4,), top, left, height and width of the part in `pixels`, which may have up to a pixel more on
            each side.
        ratio: int32, how many pixels of the file became one in each direction.
        orientation: int32, for `upright`.
    """

    pixels: tf.Tensor
    box: tf.Tensor
    ratio: tf.Tensor
    orientation: tf.Tensor


def part_of(content: tf.Tensor, channels: int, choose_box: Callable[[tf.Tensor], tf.Tensor], size: int) -> Part:
    """A part of an image.

    Args:
        content: pixels, uint8 (H, W, C); or scalar string, the bytes of an image file.
        channels: 1 or 3.
        choose_box: function from height and width of the upright image, int32 (2,), to top, left, height and width of
            the part, int32 (4,).
        size: side of the square in pixels to which the part will be resized.
    """

    def crop_pixels(image: tf.Tensor) -> Part:
        box = choose_box(tf.shape(image)[:2])
        top, left, height, width = tf.unstack(box)
        pixels = image[top : top + height, left : left + width]
        return Part(pixels, tf.cast(box * [0, 0, 1, 1], tf.float32), tf.constant(1), tf.constant(1))

    if content.dtype != tf.string:
        return crop_pixels(content)
    return tf.cond(
        tf.io.is_jpeg(content),
        lambda: decode_stored_part(content, channels, choose_box, size),
        lambda: crop_pixels(decode(content, channels)),
    )


def decode_stored_part(
    content: tf.Tensor, channels: int, choose_box: Callable[[tf.Tensor], tf.Tensor], size: int
) -> Part:
    """Decodes a part of a JPEG file; the pixels outside the part are not decoded, and of large parts not each one.

    The part is not turned upright here: that is quicker after it is resized.

    Args:
        content: scalar string, the bytes of the file.
        channels, choose_box, size: as in `part_of`.
    """
    stored = orientation(content)
    sides = upright_sides(checked_sides(content), stored)
    box = stored_box(choose_box(sides), sides, stored)
    # The number of the last ratio with which both sides keep at least `size` pixels.
    level = tf.math.count_nonzero(tf.reduce_min(box[2:]) >= size * np.array(RATIOS[1:]), dtype=tf.int32)
    ratio = tf.gather(RATIOS, level)
    # The window is given in pixels of the result. It covers the box, whose edges may lie between these pixels.
    start, end = box[:2] // ratio, -(-(box[:2] + box[2:]) // ratio)
    window = tf.concat([start, end - start], 0)
    decoders = [functools.partial(tf.io.decode_and_crop_jpeg, content, window, 3, each) for each in RATIOS]
    inside = tf.cast(box - tf.concat([start * ratio, [0, 0]], 0), tf.float32) / tf.cast(ratio, tf.float32)
    return Part(in_channels(tf.switch_case(level, decoders), channels), inside, ratio, stored)


def resize_part(part: Part, size: int, channels: int) -> tf.Tensor:
    """Resizes a part to uint8 (size, size, channels)."""
    # With antialiasing, resizing takes three times as long. It changes little if every pixel is used without it too.
    # Fewer pixels of a file always need it: without it their difference from all pixels is twice as large.
    image = tf.cond(
        (part.ratio > 1) | (tf.reduce_max(part.box[2:]) > COARSE * size),
        lambda: _antialiased(part, size),
        # TensorFlow resizes bytes in 0.38 ms; the cast to float and the resizing of floats together take 0.23 ms.
        lambda: tf.image.resize(tf.cast(part.pixels, tf.float32), (size, size)),
    )
    return tf.ensure_shape(tf.cast(image + 0.5, tf.uint8), (size, size, channels))


def _antialiased(part: Part, size: int) -> tf.Tensor:
    """`tf.image.resize` with antialiasing, of a box whose edges may lie between pixels."""
    scale = size / part.box[2:]
    return tf.raw_ops.ScaleAndTranslate(
        images=part.pixels[None],
        size=(size, size),
        scale=scale,
        translation=-part.box[:2] * scale,
        kernel_type="triangle",
        antialias=True,
    )[0]
