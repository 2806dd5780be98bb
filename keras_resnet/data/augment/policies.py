"""Augmentation policies, which draw operations for each image from a table: RandAugment, TrivialAugment, AugMix."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

import tensorflow as tf

from keras_resnet._internal.validation import integer, number
from keras_resnet.data.augment import color, geometry
from keras_resnet.data.augment.batch import check_images, per_image, round_to_uint8

Change = Callable[[tf.Tensor, tf.Tensor, float], tf.Tensor]  # (images, amounts, fill) -> images
GREATEST = 10  # largest magnitude of RandAugment
LEVELS = 30  # TrivialAugment draws a level from 0 to this
LEAST_SEVERITY = 0.1  # AugMix draws a level from this to the severity
LONGEST_CHAIN = 3  # AugMix applies one to this many operations, one after the other


class Operation(NamedTuple):
    """One row of a table of operations.

    Attributes:
        change: function `(images, amounts, fill) -> images`.
        lowest: amount at the lowest magnitude.
        greatest: amount at the largest magnitude.
        signed: whether the amount is negated for half of the images.
    """

    change: Change
    lowest: float
    greatest: float
    signed: bool = False


def _ignoring_fill(change: Callable[[tf.Tensor, tf.Tensor], tf.Tensor]) -> Change:
    """A color operation with the signature of `Change`: it shows nothing from outside the image, so it has no fill."""
    return lambda images, amounts, fill: change(images, amounts)


def _translate_x_by_fraction(images: tf.Tensor, fractions: tf.Tensor, fill: float) -> tf.Tensor:
    return geometry.translate_x(images, fractions * tf.cast(tf.shape(images)[2], tf.float32), fill)


def _translate_y_by_fraction(images: tf.Tensor, fractions: tf.Tensor, fill: float) -> tf.Tensor:
    return geometry.translate_y(images, fractions * tf.cast(tf.shape(images)[1], tf.float32), fill)


def _translate_x_by_whole_pixels(images: tf.Tensor, pixels: tf.Tensor, fill: float) -> tf.Tensor:
    return geometry.translate_x(images, tf.cast(tf.cast(pixels, tf.int32), tf.float32), fill)


def _translate_y_by_whole_pixels(images: tf.Tensor, pixels: tf.Tensor, fill: float) -> tf.Tensor:
    return geometry.translate_y(images, tf.cast(tf.cast(pixels, tf.int32), tf.float32), fill)


# timm's `_RAND_INCREASING_TRANSFORMS`. Amounts that must be whole numbers (bits, pixel values) are rounded down.
RAND_AUGMENT = {
    "AutoContrast": Operation(_ignoring_fill(color.autocontrast), 0, 0),
    "Equalize": Operation(_ignoring_fill(color.equalize), 0, 0),
    "Invert": Operation(_ignoring_fill(color.invert), 0, 0),
    "Rotate": Operation(geometry.rotate_by, 0, math.radians(30), signed=True),
    "Posterize": Operation(_ignoring_fill(color.posterize), 4, 8),
    "Solarize": Operation(_ignoring_fill(color.solarize), 256, 0),
    "SolarizeAdd": Operation(_ignoring_fill(color.solarize_add), 0, 110),
    "Color": Operation(_ignoring_fill(color.adjust_saturation), 0, 0.9, signed=True),
    "Contrast": Operation(_ignoring_fill(color.adjust_contrast), 0, 0.9, signed=True),
    "Brightness": Operation(_ignoring_fill(color.adjust_brightness), 0, 0.9, signed=True),
    "Sharpness": Operation(_ignoring_fill(color.adjust_sharpness), 0, 0.9, signed=True),
    "ShearX": Operation(geometry.shear_x, 0, 0.3, signed=True),
    "ShearY": Operation(geometry.shear_y, 0, 0.3, signed=True),
    "TranslateX": Operation(_translate_x_by_fraction, 0, 0.45, signed=True),
    "TranslateY": Operation(_translate_y_by_fraction, 0, 0.45, signed=True),
}

# torchvision's `TrivialAugmentWide._augmentation_space`. torchvision rounds bits to the nearest whole number; here half
# a bit is added, and the sum is rounded down.
TRIVIAL_AUGMENT_WIDE = {
    "Identity": Operation(lambda images, amounts, fill: images, 0, 0),
    "ShearX": Operation(geometry.shear_x, 0, 0.99, signed=True),
    "ShearY": Operation(geometry.shear_y, 0, 0.99, signed=True),
    "TranslateX": Operation(_translate_x_by_whole_pixels, 0, 32, signed=True),
    "TranslateY": Operation(_translate_y_by_whole_pixels, 0, 32, signed=True),
    "Rotate": Operation(geometry.rotate_by, 0, math.radians(135), signed=True),
    "Brightness": Operation(_ignoring_fill(color.adjust_brightness), 0, 0.99, signed=True),
    "Color": Operation(_ignoring_fill(color.adjust_saturation), 0, 0.99, signed=True),
    "Contrast": Operation(_ignoring_fill(color.adjust_contrast), 0, 0.99, signed=True),
    "Sharpness": Operation(_ignoring_fill(color.adjust_sharpness), 0, 0.99, signed=True),
    "Posterize": Operation(_ignoring_fill(color.posterize), 0.5, 6.5),
    "Solarize": Operation(_ignoring_fill(color.solarize), 255, 0),
    "AutoContrast": Operation(_ignoring_fill(color.autocontrast), 0, 0),
    "Equalize": Operation(_ignoring_fill(color.equalize), 0, 0),
}

# `augmentations` in the authors' code for arXiv:1912.02781. Brightness, contrast, color and sharpness are left out:
# they are among the corruptions of ImageNet-C, by which the paper measures.
AUG_MIX = {
    **{
        name: RAND_AUGMENT[name]
        for name in ("AutoContrast", "Equalize", "Posterize", "Rotate", "Solarize", "ShearX", "ShearY")
    },
    "TranslateX": Operation(_translate_x_by_fraction, 0, 1 / 3, signed=True),
    "TranslateY": Operation(_translate_y_by_fraction, 0, 1 / 3, signed=True),
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
    """RandAugment: applies operations that are drawn for each image (arXiv:1909.13719), as in timm 1.0.31.

    `magnitude=7, deviation=0.5` is timm's `rand-m7-mstd0.5-inc1`, which its recipe A1 uses. There are two differences:
    the interpolation is always bilinear, where timm draws bilinear or bicubic; and pixels from outside the image get
    one gray value, where timm uses ImageNet's mean.

    Args:
        images: uint8 (N, H, W, C); C must be 1 or 3.
        seed: random seed, two integers; the same images and seed give the same result.
        num_ops: number of operations, applied one after the other; at least 1; n in timm.
        magnitude: strength of all operations, 0 to 10; m in timm. A larger value changes the image more, as with inc1
            in timm.
        deviation: standard deviation of the magnitude, which is drawn for each image from a normal distribution and
            clipped to 0 to 10; at least 0; mstd in timm.
        probability: probability that each operation is applied, in [0, 1]; p in timm. The paper has 1.
        fill: pixel value outside the image, 0 to 255.

    Returns:
        uint8 (N, H, W, C).

    Raises:
        ValueError: `images` are not uint8 (N, H, W, 1 or 3), or a number is out of its range.
        TypeError: `num_ops` is not an integer, or `probability` is not a number.

    Example:
        >>> import functools
        >>> import numpy as np
        >>> from keras_resnet.data import augment
        >>> a1 = functools.partial(augment.rand_augment, magnitude=7, deviation=0.5)
        >>> a1(np.zeros((2, 32, 32, 3), "uint8"), (0, 1)).shape
        TensorShape([2, 32, 32, 3])
    """
    number("magnitude", magnitude, f"[0, {GREATEST}]")
    number("deviation", deviation, "[0, inf)")
    images, probability = _check_gray_or_color(images), number("probability", probability, "[0, 1]")
    for operation_seed in tf.unstack(tf.random.split(seed, integer("num_ops", num_ops))):
        magnitude_seed, change_seed = tf.unstack(tf.random.split(operation_seed, 2))
        magnitudes = tf.random.stateless_normal(tf.shape(images)[:1], magnitude_seed, magnitude, deviation)
        strengths = tf.clip_by_value(magnitudes * (1 / GREATEST), 0, 1)
        images = _apply_one_operation(images, change_seed, strengths, RAND_AUGMENT, probability, fill)
    return images


def trivial_augment_wide(images: tf.Tensor, seed: tf.Tensor, fill: float = 0) -> tf.Tensor:
    """TrivialAugment: applies one operation with a random strength to each image (arXiv:2103.10158).

    The table is torchvision's `TrivialAugmentWide`. The interpolation is bilinear.

    Args:
        images: uint8 (N, H, W, C); C must be 1 or 3.
        seed: random seed, two integers; the same images and seed give the same result.
        fill: pixel value outside the image, 0 to 255.

    Returns:
        uint8 (N, H, W, C).

    Raises:
        ValueError: `images` are not uint8 (N, H, W, 1 or 3).

    Example:
        >>> import numpy as np
        >>> from keras_resnet.data import augment
        >>> augment.trivial_augment_wide(np.zeros((2, 32, 32, 3), "uint8"), (0, 1)).shape
        TensorShape([2, 32, 32, 3])
    """
    images = _check_gray_or_color(images)
    level_seed, change_seed = tf.unstack(tf.random.split(seed, 2))
    levels = tf.random.stateless_uniform(tf.shape(images)[:1], level_seed, maxval=LEVELS + 1, dtype=tf.int32)
    strengths = tf.cast(levels, tf.float32) * (1 / LEVELS)
    return _apply_one_operation(images, change_seed, strengths, TRIVIAL_AUGMENT_WIDE, 1.0, fill)


def aug_mix(
    images: tf.Tensor, seed: tf.Tensor, severity: float = 3, width: int = 3, alpha: float = 1.0, fill: float = 0
) -> tf.Tensor:
    """AugMix: mixes each image with several versions of itself, which operations change (arXiv:1912.02781).

    Each version is a chain of one to three operations, whose strengths are drawn. The versions are mixed with weights
    from a Dirichlet distribution, and their mix with the image with a weight from a Beta distribution. The paper also
    has a loss that compares the answers for three such images (Jensen-Shannon); it is not part of this function.

    Args:
        images: uint8 (N, H, W, C); C must be 1 or 3.
        seed: random seed, two integers; the same images and seed give the same result.
        severity: largest strength of an operation, 0.1 to 10; the strengths are uniform from 0.1 on.
        width: number of versions, at least 1.
        alpha: parameter of both distributions, above 0; larger values mix more evenly.
        fill: pixel value outside the image, 0 to 255.

    Returns:
        uint8 (N, H, W, C).

    Raises:
        ValueError: `images` are not uint8 (N, H, W, 1 or 3), or a number is out of its range.
        TypeError: `width` is not an integer, or another argument is not a number.

    Example:
        >>> import numpy as np
        >>> from keras_resnet.data import augment
        >>> augment.aug_mix(np.zeros((2, 32, 32, 3), "uint8"), (0, 1)).shape
        TensorShape([2, 32, 32, 3])
    """
    number("severity", severity, f"[{LEAST_SEVERITY}, {GREATEST}]")
    integer("width", width), number("alpha", alpha, "(0, inf)")
    images = _check_gray_or_color(images)
    weight_seed, length_seed, *chain_seeds = tf.unstack(tf.random.split(seed, 2 + LONGEST_CHAIN))
    # All versions are one batch, so that each operation is called once and not `width` times.
    versions = tf.repeat(images, width, axis=0)
    (drawn,) = per_image(versions, length_seed, 1)
    lengths = tf.cast(drawn * LONGEST_CHAIN, tf.int32) + 1
    for place, chain_seed in enumerate(chain_seeds):
        strength_seed, change_seed = tf.unstack(tf.random.split(chain_seed, 2))
        # The range is that of the strengths already: a number may be multiplied by one constant only, see batch.py.
        low, high = LEAST_SEVERITY / GREATEST, severity / GREATEST
        strengths = low + (high - low) * per_image(versions, strength_seed, 1)[0]
        is_long = tf.cast(place < lengths, tf.float32)
        versions = _apply_one_operation(versions, change_seed, strengths, AUG_MIX, is_long, fill)
    # Shares of independent Gamma variables have a Dirichlet distribution; for two variables it is a Beta distribution.
    gammas = tf.random.stateless_gamma((tf.shape(images)[0], width + 2), weight_seed, alpha)
    share, weights = (part / tf.reduce_sum(part, 1, keepdims=True) for part in tf.split(gammas, (2, width), 1))
    weights = tf.concat((share[:, :1], share[:, 1:] * weights), 1)  # of the image itself, and of its versions
    versions = tf.reshape(versions, tf.concat(((-1, width), tf.shape(images)[1:]), 0))
    stacked = tf.cast(tf.concat((images[:, None], versions), 1), tf.float32)
    mixed = tf.einsum("nw,nwijc->nijc", weights, stacked)
    return tf.ensure_shape(round_to_uint8(mixed), images.shape)


def _check_gray_or_color(images: tf.Tensor) -> tf.Tensor:
    images = check_images(images)
    if images.shape[-1] not in color.LUMA:
        raise ValueError(f"images must have 1 or 3 channels. Received: images of shape {images.shape}")
    return images


def _apply_one_operation(
    images: tf.Tensor,
    seed: tf.Tensor,
    strengths: tf.Tensor,
    table: Mapping[str, Operation],
    probability: float | tf.Tensor,
    fill: float,
) -> tf.Tensor:
    """Applies one row of the table to each image, with the given probability: a number, or one for each image (N).

    `strengths` (N), in [0, 1], give the amount of the operation for each image, between `lowest` and `greatest`.
    """
    chance, drawn, sign = per_image(images, seed, 3)
    rows = tuple(table.values())
    chosen = tf.where(chance < probability, tf.cast(drawn * len(rows), tf.int32), len(rows))
    # Measured: 10 to 13 times as fast as keras.layers.RandAugment, which applies the same operation to all images of a
    # batch, and computes all operations to keep one of them.
    # Here each row gets the images that drew it. The last group draws no row, and does not change.
    *groups, unchanged = tf.dynamic_partition(images, chosen, len(rows) + 1)
    groups_strengths = tf.dynamic_partition(tf.stack((strengths, tf.sign(sign - 0.5)), 1), chosen, len(rows) + 1)
    changed = []
    for row, group, numbers in zip(rows, groups, groups_strengths):
        amounts = row.lowest + numbers[:, 0] * (row.greatest - row.lowest)
        changed.append(row.change(group, amounts * numbers[:, 1] if row.signed else amounts, fill))
    positions = tf.dynamic_partition(tf.range(tf.shape(images)[0]), chosen, len(rows) + 1)
    return tf.ensure_shape(tf.dynamic_stitch(positions, [*changed, unchanged]), images.shape)
