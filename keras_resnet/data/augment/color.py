"""Changes of pixel values: `color_jitter`, and the color operations that `policies` draws from.

If nothing else is said, an operation is Pillow's (`ImageEnhance`, `ImageOps`), but rounds to the nearest pixel value.
"""

from __future__ import annotations

import tensorflow as tf

from keras_resnet._internal.validation import number
from keras_resnet.data.augment.batch import check_color_images, check_images, per_image, to_uint8

# Weights of the channels in grayscale, by number of channels; for color those of ITU-R BT.601, as in Pillow's mode L.
LUMA = {1: (1.0,), 3: (0.299, 0.587, 0.114)}


def color_jitter(
    images: tf.Tensor,
    seed: tf.Tensor,
    brightness: float = 0.0,
    contrast: float = 0.0,
    saturation: float = 0.0,
    hue: float = 0.0,
) -> tf.Tensor:
    """Changes brightness, contrast, saturation and hue of each image by random factors.

    It does the same as torchvision's `ColorJitter`, with one difference: pixel values are clipped once, at the end.
    Without clipping in between, the order of brightness, contrast and saturation does not matter; torchvision draws
    this order at random.

    Args:
        images: uint8 (N, H, W, C); C must be 1 or 3 for contrast, and 3 for saturation and hue.
        seed: random seed, two integers; the same images and seed give the same result.
        brightness: strength in [0, 1]; each image gets a factor that is uniform in [1 - brightness, 1 + brightness].
            0 means no change, here and in the next three.
        contrast: strength in [0, 1]; the factor is applied to the difference from the mean of the grayscale image.
        saturation: strength in [0, 1]; the factor is applied to the difference from the grayscale image.
        hue: largest rotation of the hue, as a fraction of the whole color circle; in [0, 0.5].

    Returns:
        uint8 (N, H, W, C).

    Raises:
        ValueError: `images` are not uint8 (N, H, W, C) or have the wrong number of channels, or a strength is out of
            its range.
        TypeError: a strength is not a number.

    Example:
        >>> import numpy as np
        >>> from keras_resnet.data import augment
        >>> augment.color_jitter(np.full((1, 1, 1, 1), 100, "uint8"), (0, 1), brightness=0.4).numpy().item()
        67
    """
    strengths = [
        number(*row, "[0, 1]")
        for row in (("brightness", brightness), ("contrast", contrast), ("saturation", saturation))
    ]
    number("hue", hue, "[0, 0.5]")
    images = check_images(images)
    for argument, value in (("saturation", saturation), ("hue", hue)):
        if value:
            check_color_images(images, argument)
    *drawn, hue_drawn = per_image(images, seed, 4)
    factors = [1 + (2 * draw - 1) * strength for draw, strength in zip(drawn, strengths, strict=True)]
    values = tf.cast(images, tf.float32)
    if contrast or saturation:
        values = _apply_factors(values, *factors)
    elif brightness:
        values *= _add_axes(factors[0])
    # Measured against keras.layers.RandomColorJitter: brightness, contrast and saturation are 4.2 times as fast, since
    # the layer passes over the pixels once for each. Hue is 1.3 to 1.8 times as fast, since the layer converts the
    # whole image to HSV.
    if hue:
        values = tf.clip_by_value(values, 0, 255)
        rotations = (2 * hue_drawn - 1) * hue
        values = tf.map_fn(lambda pair: tf.image.adjust_hue(*pair), (values, rotations), fn_output_signature=tf.float32)
    return tf.ensure_shape(to_uint8(values), images.shape)


def _apply_factors(values: tf.Tensor, brightness: tf.Tensor, contrast: tf.Tensor, saturation: tf.Tensor) -> tf.Tensor:
    """Applies all three factors (N) at once: they are linear, so one matrix and one offset for each image suffice."""
    channels = values.shape[-1]
    luma, gain = _luma_weights(values), brightness * contrast
    pixels = tf.reshape(values, (tf.shape(values)[0], -1, channels))
    offset = (1 - contrast) * brightness * tf.linalg.matvec(tf.reduce_mean(pixels, 1), luma)
    to_gray = tf.tile(luma[:, None], (1, channels))
    matrices = _add_axes(gain * saturation, 2) * tf.eye(channels) + _add_axes(gain * (1 - saturation), 2) * to_gray
    return tf.reshape(pixels @ matrices + _add_axes(offset, 2), tf.shape(values))


def adjust_brightness(images: tf.Tensor, changes: tf.Tensor) -> tf.Tensor:
    """Multiplies each image by 1 + `changes` (N)."""
    return to_uint8(tf.cast(images, tf.float32) * _add_axes(1 + changes))


def adjust_contrast(images: tf.Tensor, changes: tf.Tensor) -> tf.Tensor:
    """Blends each image with the mean of its grayscale version.

    `changes` (N): -1 gives the mean, 0 the image itself, above 0 more contrast.
    """
    values = tf.cast(images, tf.float32)
    gray = tf.round(tf.linalg.matvec(tf.reduce_mean(values, (1, 2)), _luma_weights(values)))
    return to_uint8(_add_axes(1 + changes) * values + _add_axes(-changes * gray))


def adjust_saturation(images: tf.Tensor, changes: tf.Tensor) -> tf.Tensor:
    """Blends each image with its grayscale version.

    `changes` (N): -1 gives the grayscale version, 0 the image itself, above 0 more saturation.
    """
    one = tf.ones_like(changes)
    return to_uint8(_apply_factors(tf.cast(images, tf.float32), one, one, 1 + changes))


def adjust_sharpness(images: tf.Tensor, changes: tf.Tensor) -> tf.Tensor:
    """Blends each image with a smoothed version. The pixels at the border do not change.

    `changes` (N): -1 gives the smoothed version, 0 the image itself, above 0 more sharpness.
    """
    values = tf.cast(images, tf.float32)
    # Pillow's filter SMOOTH, (1 1 1; 1 5 1; 1 1 1) / 13, as sums of shifted images.
    rows = values[:, :-2] + values[:, 1:-1] + values[:, 2:]
    inner = values[:, 1:-1, 1:-1]
    smooth = (rows[:, :, :-2] + rows[:, :, 1:-1] + rows[:, :, 2:] + 4 * inner) * (1 / 13)
    change = _add_axes(changes) * (inner - smooth)
    return to_uint8(values + tf.pad(change, ((0, 0), (1, 1), (1, 1), (0, 0))))


def posterize(images: tf.Tensor, bits: tf.Tensor) -> tf.Tensor:
    """Sets the lowest `bits` (N) of each pixel value to zero. Fractions of a bit are rounded down."""
    dropped = _add_axes(tf.cast(bits, tf.int32))
    mask = tf.cast(tf.bitwise.left_shift(tf.constant(255), dropped) & 255, tf.uint8)
    return tf.bitwise.bitwise_and(images, mask)


def solarize(images: tf.Tensor, thresholds: tf.Tensor) -> tf.Tensor:
    """Inverts the pixel values that are equal to `thresholds` (N) or above."""
    return tf.where(tf.cast(images, tf.float32) < _add_axes(thresholds), images, 255 - images)


def solarize_add(images: tf.Tensor, levels: tf.Tensor) -> tf.Tensor:
    """Adds `levels` (N), rounded down, to the pixel values below 128: SolarizeAdd of AutoAugment (arXiv:1805.09501)."""
    added = tf.cast(tf.cast(images, tf.float32) + _add_axes(tf.floor(levels)), tf.uint8)
    return tf.where(images < 128, added, images)


def invert(images: tf.Tensor, _: tf.Tensor) -> tf.Tensor:
    """Inverts all pixel values: 255 minus the value."""
    return 255 - images


def autocontrast(images: tf.Tensor, _: tf.Tensor) -> tf.Tensor:
    """Stretches each channel of each image to the range from 0 to 255 (Pillow's `autocontrast`)."""
    values = tf.cast(images, tf.float32)
    low, high = tf.reduce_min(values, (1, 2), keepdims=True), tf.reduce_max(values, (1, 2), keepdims=True)
    # The division comes last: a quotient that is a whole number is then exact, and the cast truncates as Pillow does.
    levels = tf.cast((values - low) * 255 / tf.maximum(high - low, 1), tf.uint8)
    return tf.where(high > low, levels, images)


def equalize(images: tf.Tensor, _: tf.Tensor) -> tf.Tensor:
    """Makes the histogram of each channel of each image flat (Pillow's `equalize`)."""
    count, height, width, channels = tf.unstack(tf.shape(images))
    # Each channel of each image has its own 256 bins in one common histogram, and in one table of new pixel values.
    first_bin = tf.reshape(tf.range(count * channels) * 256, (count, 1, 1, channels))
    bins = tf.cast(images, tf.int32) + first_bin
    histogram = tf.reshape(tf.math.bincount(bins, minlength=count * channels * 256), (-1, 256))
    last = tf.reduce_max(tf.where(histogram > 0, tf.range(256), 0), 1, keepdims=True)
    step = (height * width - tf.gather(histogram, last, batch_dims=1)) // 255
    below = tf.cumsum(histogram, axis=1, exclusive=True)
    table = tf.minimum((below + step // 2) // tf.maximum(step, 1), 255)
    table = tf.where(step > 0, table, tf.range(256))
    return tf.gather(tf.reshape(tf.cast(table, tf.uint8), (-1,)), bins)


def _luma_weights(values: tf.Tensor) -> tf.Tensor:
    channels = values.shape[-1]
    if channels not in LUMA:
        raise ValueError(
            f"images must have 1 or 3 channels to be converted to grayscale. Received: images of shape {values.shape}"
        )
    return tf.constant(LUMA[channels])


def _add_axes(numbers: tf.Tensor, count: int = 3) -> tf.Tensor:
    """Reshapes numbers (N) to (N, 1, ..., 1) with `count` axes of length 1, so that they broadcast to images."""
    return tf.reshape(numbers, (-1, *[1] * count))
