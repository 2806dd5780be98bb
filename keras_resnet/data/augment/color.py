"""What pixels become: colour jitter, and the changes of colour that `policies` draws from.

Where nothing else is said, a change is Pillow's (`ImageEnhance`, `ImageOps`), to the nearest grey level.
"""

from __future__ import annotations

import tensorflow as tf

from keras_resnet._internal.validation import number
from keras_resnet.data.augment.batch import check_color_images, checked, per_image, to_uint8

LUMA = {1: (1.0,), 3: (0.299, 0.587, 0.114)}  # by channels; of colour ITU-R BT.601, as Pillow's mode L


def color_jitter(
    images: tf.Tensor,
    seed: tf.Tensor,
    brightness: float = 0.0,
    contrast: float = 0.0,
    saturation: float = 0.0,
    hue: float = 0.0,
) -> tf.Tensor:
    """Changes brightness, contrast, saturation and hue of each image by its own factors.

    As torchvision's `ColorJitter`, but for one thing: grey levels are clipped once, at the end. Unclipped, the order
    of the first three does not matter, which torchvision draws at random.

    Args:
        images: uint8 (N, H, W, C); with 1 or 3 channels for contrast, with 3 for saturation and hue.
        seed: integers (2); the result depends on the images and on it alone.
        brightness: factors are uniform in [1 - brightness, 1 + brightness]; in [0, 1]. 0 leaves it, as for the others.
        contrast: likewise, about the mean of the image in grey.
        saturation: likewise, about the image in grey.
        hue: the greatest turn, a share of the whole circle; in [0, 0.5].

    Returns:
        uint8 (N, H, W, C).

    Raises:
        ValueError: `images` are no such batch or lack the colour, or a number is out of its range.
        TypeError: one of the four is no number.

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
    if not 0 <= hue <= 0.5:
        raise ValueError(f"hue must be in [0, 0.5]. Received: hue={hue!r}")
    images = checked(images)
    for argument, value in (("saturation", saturation), ("hue", hue)):
        if value:
            check_color_images(images, argument)
    *drawn, turn = per_image(images, seed, 4)
    factors = [1 + (2 * number - 1) * strength for number, strength in zip(drawn, strengths, strict=True)]
    values = tf.cast(images, tf.float32)
    if contrast or saturation:
        values = _jittered(values, *factors)
    elif brightness:
        values *= _by_image(factors[0])
    # Own code: 4.2 times as fast for the first three as keras.layers.RandomColorJitter, which goes over the pixels once
    # for each, and 1.3 to 1.8 times for hue, where it goes by way of the whole picture in HSV.
    if hue:
        values = tf.clip_by_value(values, 0, 255)
        turns = (2 * turn - 1) * hue
        values = tf.map_fn(lambda one: tf.image.adjust_hue(*one), (values, turns), fn_output_signature=tf.float32)
    return tf.ensure_shape(to_uint8(values), images.shape)


def _jittered(values: tf.Tensor, brightness: tf.Tensor, contrast: tf.Tensor, saturation: tf.Tensor) -> tf.Tensor:
    """The three in one: they are linear, a matrix and a level for each image."""
    channels = values.shape[-1]
    luma, own = _luma(values), brightness * contrast
    pixels = tf.reshape(values, (tf.shape(values)[0], -1, channels))
    level = (1 - contrast) * brightness * tf.linalg.matvec(tf.reduce_mean(pixels, 1), luma)
    to_grey = tf.tile(luma[:, None], (1, channels))
    matrices = _by_image(own * saturation, 2) * tf.eye(channels) + _by_image(own * (1 - saturation), 2) * to_grey
    return tf.reshape(pixels @ matrices + _by_image(level, 2), tf.shape(values))


def adjust_brightness(images: tf.Tensor, changes: tf.Tensor) -> tf.Tensor:
    """Images times 1 + `changes` (N)."""
    return to_uint8(tf.cast(images, tf.float32) * _by_image(1 + changes))


def adjust_contrast(images: tf.Tensor, changes: tf.Tensor) -> tf.Tensor:
    """Images blended with their mean in grey: -1 of `changes` (N) is all mean, 0 all image."""
    values = tf.cast(images, tf.float32)
    grey = tf.round(tf.linalg.matvec(tf.reduce_mean(values, (1, 2)), _luma(values)))
    return to_uint8(_by_image(1 + changes) * values + _by_image(-changes * grey))


def adjust_saturation(images: tf.Tensor, changes: tf.Tensor) -> tf.Tensor:
    """Images blended with themselves in grey: -1 of `changes` (N) is all grey, 0 all image."""
    one = tf.ones_like(changes)
    return to_uint8(_jittered(tf.cast(images, tf.float32), one, one, 1 + changes))


def adjust_sharpness(images: tf.Tensor, changes: tf.Tensor) -> tf.Tensor:
    """Images blended with themselves smoothed: -1 of `changes` (N) is smooth, 0 the image. The border stays."""
    values = tf.cast(images, tf.float32)
    # Pillow's SMOOTH, (1 1 1; 1 5 1; 1 1 1) / 13, by sums of shifted images.
    rows = values[:, :-2] + values[:, 1:-1] + values[:, 2:]
    inner = values[:, 1:-1, 1:-1]
    smooth = (rows[:, :, :-2] + rows[:, :, 1:-1] + rows[:, :, 2:] + 4 * inner) * (1 / 13)
    change = _by_image(changes) * (inner - smooth)
    return to_uint8(values + tf.pad(change, ((0, 0), (1, 1), (1, 1), (0, 0))))


def posterize(images: tf.Tensor, bits: tf.Tensor) -> tf.Tensor:
    """Images without their lowest `bits` (N), which are rounded down."""
    dropped = _by_image(tf.cast(bits, tf.int32))
    kept = tf.cast(tf.bitwise.left_shift(tf.constant(255), dropped) & 255, tf.uint8)
    return tf.bitwise.bitwise_and(images, kept)


def solarize(images: tf.Tensor, thresholds: tf.Tensor) -> tf.Tensor:
    """Images whose pixels from `thresholds` (N) on are inverted."""
    return tf.where(tf.cast(images, tf.float32) < _by_image(thresholds), images, 255 - images)


def solarize_add(images: tf.Tensor, levels: tf.Tensor) -> tf.Tensor:
    """Images whose pixels below 128 get whole `levels` (N) more: the SolarizeAdd of AutoAugment (arXiv:1805.09501)."""
    added = tf.cast(tf.cast(images, tf.float32) + _by_image(tf.floor(levels)), tf.uint8)
    return tf.where(images < 128, added, images)


def invert(images: tf.Tensor, _: tf.Tensor) -> tf.Tensor:
    """Images in negative."""
    return 255 - images


def autocontrast(images: tf.Tensor, _: tf.Tensor) -> tf.Tensor:
    """Images each of whose channels goes from 0 to 255 (Pillow's `autocontrast`)."""
    values = tf.cast(images, tf.float32)
    low, high = tf.reduce_min(values, (1, 2), keepdims=True), tf.reduce_max(values, (1, 2), keepdims=True)
    # Divided last: the quotients that are whole numbers come out whole, so that the cast truncates as Pillow does.
    levels = tf.cast((values - low) * 255 / tf.maximum(high - low, 1), tf.uint8)
    return tf.where(high > low, levels, images)


def equalize(images: tf.Tensor, _: tf.Tensor) -> tf.Tensor:
    """Images the histogram of each of whose channels is flat (Pillow's `equalize`)."""
    count, height, width, channels = tf.unstack(tf.shape(images))
    # All channels of all images have their own 256 bins in one histogram, and in one table of new levels.
    first = tf.reshape(tf.range(count * channels) * 256, (count, 1, 1, channels))
    bins = tf.cast(images, tf.int32) + first
    histogram = tf.reshape(tf.math.bincount(bins, minlength=count * channels * 256), (-1, 256))
    last = tf.reduce_max(tf.where(histogram > 0, tf.range(256), 0), 1, keepdims=True)
    step = (height * width - tf.gather(histogram, last, batch_dims=1)) // 255
    below = tf.cumsum(histogram, axis=1, exclusive=True)
    table = tf.minimum((below + step // 2) // tf.maximum(step, 1), 255)
    table = tf.where(step > 0, table, tf.range(256))
    return tf.gather(tf.reshape(tf.cast(table, tf.uint8), (-1,)), bins)


def _luma(values: tf.Tensor) -> tf.Tensor:
    channels = values.shape[-1]
    if channels not in LUMA:
        raise ValueError(
            f"images must have 1 or 3 channels to be seen in grey. Received: images of shape {values.shape}"
        )
    return tf.constant(LUMA[channels])


def _by_image(numbers: tf.Tensor, more: int = 3) -> tf.Tensor:
    """Numbers (N) in the shape that goes with (N, ...): with `more` axes of 1."""
    return tf.reshape(numbers, (-1, *[1] * more))
