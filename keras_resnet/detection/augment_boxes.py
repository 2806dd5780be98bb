"""Augmentation of an image with the boxes of its objects; the same arguments give the same result.

An augmentation is a function `(annotated, seed) -> annotated`. Bind further arguments with `functools.partial`.
`of_image` makes one of a function of `keras_resnet.data.augment` that does not move pixels. How large the image
becomes is chosen after these, see `scales`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import tensorflow as tf

from keras_resnet._internal.validation import number, number_pair
from keras_resnet.detection import boxes as box_math

# torchvision's `RandomIoUCrop`, as in SSD (arXiv:1512.02325, section 3.6).
LEAST_OVERLAPS = (0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 1.0)
TRIALS = 40
# torchvision draws limits of overlap until one works. Here these are all: after five without success, which is rare,
# the image stays as it is.
ATTEMPTS = 5


class Annotated(NamedTuple):
    """An image with its objects.

    Attributes:
        image: uint8 (H, W, C).
        boxes: left, top, right and bottom in pixels, float32 (n, 4).
        labels: classes of the objects, int32 (n).
    """

    image: tf.Tensor
    boxes: tf.Tensor
    labels: tf.Tensor


Augmentation = Callable[[Annotated, tf.Tensor], Annotated]


def of_image(augmentation: Callable[[tf.Tensor, tf.Tensor], tf.Tensor]) -> Augmentation:
    """An augmentation of the pixel values alone.

    Args:
        augmentation: function `(images, seed) -> images` of a batch of uint8 (N, H, W, C) that leaves each pixel at its
            place, for example `keras_resnet.data.augment.color_jitter`.

    Returns:
        A function `(annotated, seed) -> annotated`.

    Example:
        >>> import functools
        >>> from keras_resnet.data.augment import color_jitter
        >>> from keras_resnet.detection.augment_boxes import of_image
        >>> jitter = of_image(functools.partial(color_jitter, brightness=0.4, hue=0.1))
    """
    return lambda annotated, seed: annotated._replace(image=augmentation(annotated.image[None], seed)[0])


def random_horizontal_flip(annotated: Annotated, seed: tf.Tensor, probability: float = 0.5) -> Annotated:
    """Mirrors the image and its boxes left to right.

    Args:
        annotated: the image and its objects.
        seed: random seed, two integers.
        probability: in [0, 1].

    Returns:
        The image and its objects.

    Raises:
        ValueError: `probability` is outside its range.
        TypeError: `probability` is not a number.

    Example:
        >>> import numpy as np
        >>> from keras_resnet.detection.augment_boxes import Annotated, random_horizontal_flip
        >>> one = Annotated(np.zeros((4, 8, 3), "uint8"), np.array([[0, 1, 2, 3]], "float32"), np.array([0]))
        >>> random_horizontal_flip(one, (0, 0), probability=1.0).boxes.numpy().tolist()
        [[6.0, 1.0, 8.0, 3.0]]
    """
    return _flip(annotated, seed, probability, axis=1)


def random_vertical_flip(annotated: Annotated, seed: tf.Tensor, probability: float = 0.5) -> Annotated:
    """Mirrors the image and its boxes upside down, for images without an upper side, as those of a microscope.

    Args:
        annotated, seed, probability: as for `random_horizontal_flip`.

    Returns:
        The image and its objects.
    """
    return _flip(annotated, seed, probability, axis=0)


def _flip(annotated: Annotated, seed: tf.Tensor, probability: float, axis: int) -> Annotated:
    number("probability", probability, "[0, 1]")
    image, boxes, labels = map(tf.convert_to_tensor, annotated)
    side = tf.cast(tf.shape(image)[axis], boxes.dtype)
    low, high = 1 - axis, 3 - axis  # the columns of the box's coordinates along this axis
    columns = tf.unstack(boxes, axis=1)
    columns[low], columns[high] = side - columns[high], side - columns[low]
    mirrored = tf.stack(columns, axis=1)
    flipped = tf.random.stateless_uniform((), seed) < probability
    return Annotated(
        tf.ensure_shape(tf.cond(flipped, lambda: tf.reverse(image, [axis]), lambda: image), image.shape),
        tf.where(flipped, mirrored, boxes),
        labels,
    )


def random_iou_crop(
    annotated: Annotated,
    seed: tf.Tensor,
    scale: tuple[float, float] = (0.3, 1.0),
    ratio: tuple[float, float] = (0.5, 2.0),
    least_overlaps: Sequence[float] = LEAST_OVERLAPS,
) -> Annotated:
    """Crops the image so that objects stay in it: torchvision's `RandomIoUCrop`, the crop of SSD (arXiv:1512.02325).

    A limit of overlap is drawn, and then up to 40 crops, until one has the center of an object in it, and overlaps with
    the box of such an object by the limit at least. The limit 1.0 leaves the image as it is. An object whose center is
    outside of the crop is dropped, and the boxes of the others are cut at the border.

    Args:
        annotated: the image and its objects; an image without objects stays as it is.
        seed: random seed, two integers.
        scale: smallest and largest side of the crop over that of the image, in (0, 1].
        ratio: smallest and largest width over height of the crop.
        least_overlaps: limits of intersection over union of an object and the crop, of which one is drawn.

    Returns:
        The image and its objects.

    Raises:
        ValueError: `scale` or `ratio` is outside its range.
    """
    number_pair("scale", scale, 1), number_pair("ratio", ratio, float("inf"))
    image, boxes, labels = map(tf.convert_to_tensor, annotated)
    drawn = tf.random.stateless_uniform((ATTEMPTS, TRIALS + 1, 4), seed)
    choices = tf.cast(drawn[:, -1, 0] * len(least_overlaps), tf.int32)  # one limit for each attempt
    least = tf.repeat(tf.gather(tf.constant(least_overlaps, tf.float32), choices), TRIALS)
    crops = _crops(tf.reshape(drawn[:, :-1], (-1, 4)), tf.shape(image)[:2], scale)
    sides = crops[:, 2:] - crops[:, :2]
    shape = sides[:, 0] / tf.maximum(sides[:, 1], 1)
    inside = _centers_inside(boxes, crops)
    overlap = tf.where(inside, box_math.overlaps(crops, boxes, tf), -1.0)
    fits = (shape >= ratio[0]) & (shape <= ratio[1]) & (tf.reduce_max(overlap, axis=1) >= least)
    fits &= tf.reduce_all(sides > 0, axis=1)
    whole = least >= 1
    first = tf.argmax(fits | whole)  # 0 if there is none
    cropped = fits[first] & ~whole[first]
    return tf.cond(
        cropped,
        lambda: _cropped(Annotated(image, boxes, labels), crops[first], inside[first]),
        lambda: Annotated(image, boxes, labels),
    )


def _crops(drawn: tf.Tensor, sides: tf.Tensor, scale: tuple[float, float]) -> tf.Tensor:
    """Crops, float32 (K, 4), of whole pixels, from random numbers (K, 4)."""
    image = tf.cast(sides[::-1], tf.float32)  # width and height
    size = tf.floor(image * (scale[0] + (scale[1] - scale[0]) * drawn[:, :2]))
    corner = tf.floor((image - size) * drawn[:, 2:])
    return tf.concat([corner, corner + size], axis=1)


def _centers_inside(boxes: tf.Tensor, crops: tf.Tensor) -> tf.Tensor:
    """Which boxes (n, 4) have their center in which crops (K, 4), bool (K, n)."""
    centers = (boxes[:, :2] + boxes[:, 2:]) / 2
    return tf.reduce_all((centers > crops[:, None, :2]) & (centers < crops[:, None, 2:]), axis=-1)


def _cropped(annotated: Annotated, crop: tf.Tensor, kept: tf.Tensor) -> Annotated:
    left, top, right, bottom = tf.unstack(tf.cast(crop, tf.int32))
    boxes = tf.boolean_mask(annotated.boxes, kept)
    corners = tf.tile(crop[:2], [2])
    limits = tf.tile(crop[2:] - crop[:2], [2])
    return Annotated(
        annotated.image[top:bottom, left:right],
        tf.clip_by_value(boxes - corners, 0, limits),
        tf.boolean_mask(annotated.labels, kept),
    )
