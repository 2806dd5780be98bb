"""Policies: for each image some changes drawn from a table. RandAugment and TrivialAugment."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

import tensorflow as tf

from keras_resnet._internal.validation import integer, number
from keras_resnet.data.augment import color, geometry
from keras_resnet.data.augment.batch import checked, per_image

Change = Callable[[tf.Tensor, tf.Tensor, float], tf.Tensor]  # (images, amounts, fill) -> images
GREATEST = 10  # magnitude
LEVELS = 30  # of TrivialAugment, above the lowest


class Operation(NamedTuple):
    """A change: the function, its amount at the lowest and at the greatest magnitude, and whether half are negated."""

    change: Change
    lowest: float
    greatest: float
    signed: bool = False


def _of_colour(change: Callable[[tf.Tensor, tf.Tensor], tf.Tensor]) -> Change:
    return lambda images, amounts, fill: change(images, amounts)


def _share_x(images: tf.Tensor, shares: tf.Tensor, fill: float) -> tf.Tensor:
    return geometry.translate_x(images, shares * tf.cast(tf.shape(images)[2], tf.float32), fill)


def _share_y(images: tf.Tensor, shares: tf.Tensor, fill: float) -> tf.Tensor:
    return geometry.translate_y(images, shares * tf.cast(tf.shape(images)[1], tf.float32), fill)


def _pixels_x(images: tf.Tensor, pixels: tf.Tensor, fill: float) -> tf.Tensor:
    return geometry.translate_x(images, tf.cast(tf.cast(pixels, tf.int32), tf.float32), fill)


def _pixels_y(images: tf.Tensor, pixels: tf.Tensor, fill: float) -> tf.Tensor:
    return geometry.translate_y(images, tf.cast(tf.cast(pixels, tf.int32), tf.float32), fill)


# timm's `_RAND_INCREASING_TRANSFORMS`; whole bits and levels are rounded down.
RAND_AUGMENT = {
    "AutoContrast": Operation(_of_colour(color.autocontrast), 0, 0),
    "Equalize": Operation(_of_colour(color.equalize), 0, 0),
    "Invert": Operation(_of_colour(color.invert), 0, 0),
    "Rotate": Operation(geometry.rotate_by, 0, math.radians(30), signed=True),
    "Posterize": Operation(_of_colour(color.posterize), 4, 8),
    "Solarize": Operation(_of_colour(color.solarize), 256, 0),
    "SolarizeAdd": Operation(_of_colour(color.solarize_add), 0, 110),
    "Color": Operation(_of_colour(color.adjust_saturation), 0, 0.9, signed=True),
    "Contrast": Operation(_of_colour(color.adjust_contrast), 0, 0.9, signed=True),
    "Brightness": Operation(_of_colour(color.adjust_brightness), 0, 0.9, signed=True),
    "Sharpness": Operation(_of_colour(color.adjust_sharpness), 0, 0.9, signed=True),
    "ShearX": Operation(geometry.shear_x, 0, 0.3, signed=True),
    "ShearY": Operation(geometry.shear_y, 0, 0.3, signed=True),
    "TranslateX": Operation(_share_x, 0, 0.45, signed=True),
    "TranslateY": Operation(_share_y, 0, 0.45, signed=True),
}

# torchvision's `TrivialAugmentWide._augmentation_space`. It rounds bits to the nearest: half a bit more, rounded down.
TRIVIAL_AUGMENT_WIDE = {
    "Identity": Operation(lambda images, amounts, fill: images, 0, 0),
    "ShearX": Operation(geometry.shear_x, 0, 0.99, signed=True),
    "ShearY": Operation(geometry.shear_y, 0, 0.99, signed=True),
    "TranslateX": Operation(_pixels_x, 0, 32, signed=True),
    "TranslateY": Operation(_pixels_y, 0, 32, signed=True),
    "Rotate": Operation(geometry.rotate_by, 0, math.radians(135), signed=True),
    "Brightness": Operation(_of_colour(color.adjust_brightness), 0, 0.99, signed=True),
    "Color": Operation(_of_colour(color.adjust_saturation), 0, 0.99, signed=True),
    "Contrast": Operation(_of_colour(color.adjust_contrast), 0, 0.99, signed=True),
    "Sharpness": Operation(_of_colour(color.adjust_sharpness), 0, 0.99, signed=True),
    "Posterize": Operation(_of_colour(color.posterize), 0.5, 6.5),
    "Solarize": Operation(_of_colour(color.solarize), 255, 0),
    "AutoContrast": Operation(_of_colour(color.autocontrast), 0, 0),
    "Equalize": Operation(_of_colour(color.equalize), 0, 0),
}


def rand_augment(
    images: tf.Tensor,
    seed: tf.Tensor,
    num_ops: int = 2,
    magnitude: float = 9,
    deviation: float = 0.0,
    probability: float = 0.5,
    fill: float = 128,
) -> tf.Tensor:
    """Applies changes drawn for each image from a table (arXiv:1909.13719), as timm 1.0.31 does.

    timm's `rand-m7-mstd0.5-inc1`, of its recipe A1, is `magnitude=7, deviation=0.5`. It interpolates bilinearly, where
    timm draws bilinear or bicubic, and fills what comes into the picture with one grey instead of ImageNet's mean.

    Args:
        images: uint8 (N, H, W, C), C 1 or 3.
        seed: integers (2); the result depends on the images and on it alone.
        num_ops: changes one after the other, at least 1; timm's n.
        magnitude: of all changes, 0 to 10; timm's m. The greater, the more is changed (timm's inc1).
        deviation: of the magnitude from image to image, normally distributed and cut to 0 to 10; timm's mstd.
        probability: with which each of the changes is made, in [0, 1]; timm's p. The paper has 1.
        fill: grey level of what comes into the picture.

    Returns:
        uint8 (N, H, W, C).

    Raises:
        ValueError: `images` are no such batch, or a number is out of its range.
        TypeError: `num_ops` is no integer, or `probability` is no number.

    Example:
        >>> import functools
        >>> import numpy as np
        >>> from keras_resnet.data import augment
        >>> a1 = functools.partial(augment.rand_augment, magnitude=7, deviation=0.5)
        >>> a1(np.zeros((2, 32, 32, 3), "uint8"), (0, 1)).shape
        TensorShape([2, 32, 32, 3])
    """
    if not 0 <= magnitude <= GREATEST:
        raise ValueError(f"magnitude must be in [0, {GREATEST}]. Received: magnitude={magnitude!r}")
    if not deviation >= 0:
        raise ValueError(f"deviation must be at least 0. Received: deviation={deviation!r}")
    images, probability = _checked(images), number("probability", probability, "[0, 1]")
    for layer in tf.unstack(tf.random.split(seed, integer("num_ops", num_ops))):
        of_magnitude, of_change = tf.unstack(tf.random.split(layer, 2))
        magnitudes = tf.random.stateless_normal(tf.shape(images)[:1], of_magnitude, magnitude, deviation)
        strengths = tf.clip_by_value(magnitudes * (1 / GREATEST), 0, 1)
        images = _changed(images, of_change, strengths, RAND_AUGMENT, probability, fill)
    return images


def trivial_augment_wide(images: tf.Tensor, seed: tf.Tensor, fill: float = 0) -> tf.Tensor:
    """Applies to each image one change of a random strength (arXiv:2103.10158), as torchvision does, bilinearly.

    Args:
        images: uint8 (N, H, W, C), C 1 or 3.
        seed: integers (2); the result depends on the images and on it alone.
        fill: grey level of what comes into the picture.

    Returns:
        uint8 (N, H, W, C).

    Raises:
        ValueError: `images` are no such batch.

    Example:
        >>> import numpy as np
        >>> from keras_resnet.data import augment
        >>> augment.trivial_augment_wide(np.zeros((2, 32, 32, 3), "uint8"), (0, 1)).shape
        TensorShape([2, 32, 32, 3])
    """
    images = _checked(images)
    of_level, of_change = tf.unstack(tf.random.split(seed, 2))
    levels = tf.random.stateless_uniform(tf.shape(images)[:1], of_level, maxval=LEVELS + 1, dtype=tf.int32)
    strengths = tf.cast(levels, tf.float32) * (1 / LEVELS)
    return _changed(images, of_change, strengths, TRIVIAL_AUGMENT_WIDE, 1.0, fill)


def _checked(images: tf.Tensor) -> tf.Tensor:
    images = checked(images)
    if images.shape[-1] not in color.LUMA:
        raise ValueError(f"images must have 1 or 3 channels. Received: images of shape {images.shape}")
    return images


def _changed(
    images: tf.Tensor,
    seed: tf.Tensor,
    strengths: tf.Tensor,
    table: Mapping[str, Operation],
    probability: float,
    fill: float,
) -> tf.Tensor:
    """Each image of a batch changed by one row of the table, with a probability, at its strength (N) in [0, 1]."""
    chance, drawn, sign = per_image(images, seed, 3)
    rows = tuple(table.values())
    chosen = tf.where(chance < probability, tf.cast(drawn * len(rows), tf.int32), len(rows))
    # Own code: keras.layers.RandAugment changes all images of a batch alike, and makes all changes to throw all but one
    # away; ours is 10 to 13 times as fast.
    # Here each row gets the images that drew it; what is left over, after the last row, stays.
    *groups, left = tf.dynamic_partition(images, chosen, len(rows) + 1)
    groups_strengths = tf.dynamic_partition(tf.stack((strengths, tf.sign(sign - 0.5)), 1), chosen, len(rows) + 1)
    changed = []
    for row, group, numbers in zip(rows, groups, groups_strengths):
        amounts = row.lowest + numbers[:, 0] * (row.greatest - row.lowest)
        changed.append(row.change(group, amounts * numbers[:, 1] if row.signed else amounts, fill))
    places = tf.dynamic_partition(tf.range(tf.shape(images)[0]), chosen, len(rows) + 1)
    return tf.ensure_shape(tf.dynamic_stitch(places, [*changed, left]), images.shape)
