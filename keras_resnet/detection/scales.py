"""How large an image of a batch becomes, and which part of it: functions `(sides, seed) -> View`.

One resampling does it, after all other augmentation. `augment_boxes.random_iou_crop` chooses a part by its objects;
here it depends on the sides of the image alone. Bind further arguments with `functools.partial`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import tensorflow as tf

from keras_resnet._internal.validation import integers, number_pair
from keras_resnet.detection.augment_boxes import Annotated
from keras_resnet.detection.resizing import sides_in_graph

LEAST_SIDE = 1.0  # pixels: a box that is shorter after the change is dropped, since nothing of it can be seen


class View(NamedTuple):
    """A part of an image, and the sides that it gets.

    Attributes:
        part: top, left, height and width in pixels of the image, int32 (4,).
        sides: new height and width of the part, int32 (2,).
    """

    part: tf.Tensor
    sides: tf.Tensor


Scale = Callable[[tf.Tensor, tf.Tensor], View]


def shortest_side(sides: tf.Tensor, seed: tf.Tensor | None = None, shorter: int = 800, longer: int = 1333) -> View:
    """The whole image, as large as `resizing.resized_sides` says.

    Args:
        sides: height and width of the image, int32 (2,).
        seed: not used; it is there because all scales have the same arguments.
        shorter, longer: see `resizing.resized_sides`.

    Returns:
        The view.

    Example:
        >>> from keras_resnet.detection.scales import shortest_side
        >>> shortest_side([480, 640]).sides.numpy().tolist()
        [800, 1066]
    """
    return _whole(sides, shorter, longer)


def random_shortest_side(
    sides: tf.Tensor,
    seed: tf.Tensor,
    shorter: Sequence[int] = (480, 512, 544, 576, 608, 640, 672, 704, 736, 768, 800),
    longer: int = 1333,
) -> View:
    """The whole image at a random size: torchvision's `RandomShortestSize` in its `multiscale` preset.

    Args:
        sides: height and width of the image, int32 (2,).
        seed: random seed, two integers.
        shorter: lengths of the shorter side in pixels, of which one is drawn.
        longer: largest length of the longer side.

    Returns:
        The view.

    Raises:
        ValueError: a length is below 1.
        TypeError: a length is not an integer.
    """
    lengths = tf.constant(integers("shorter", shorter), tf.float64)
    drawn = tf.random.stateless_uniform((), seed, maxval=len(shorter), dtype=tf.int32)
    return _whole(sides, lengths[drawn], longer)


def large_scale_jitter(
    sides: tf.Tensor,
    seed: tf.Tensor,
    target: tuple[int, int] = (1024, 1024),
    scale: tuple[float, float] = (0.1, 2.0),
) -> View:
    """The image at a random size, and of a large one a random part: large scale jittering (arXiv:2012.07177).

    torchvision's `ScaleJitter` and `FixedSizeCrop` do the same; the batch fills what is missing up to `target`.

    Args:
        sides: height and width of the image, int32 (2,).
        seed: random seed, two integers.
        target: largest height and width of the result.
        scale: the image gets the size with which it fits into `target`, times a factor from this range.

    Returns:
        The view.

    Raises:
        ValueError: a side is below 1, or `scale` is not two numbers above 0, the smaller one first.
        TypeError: a side is not an integer.
    """
    number_pair("scale", scale, float("inf"))
    target_sides = tf.constant(integers("target", target), tf.float32)
    image = tf.cast(sides, tf.float32)
    drawn = tf.random.stateless_uniform((3,), seed)
    factor = tf.reduce_min(target_sides / image) * (scale[0] + (scale[1] - scale[0]) * drawn[0])
    part = tf.minimum(tf.maximum(tf.round(target_sides / factor), 1), image)
    corner = tf.floor((image - part) * drawn[1:])
    new = tf.minimum(tf.maximum(tf.floor(part * factor), 1), target_sides)
    return View(tf.cast(tf.concat([corner, part], axis=0), tf.int32), tf.cast(new, tf.int32))


def viewed(annotated: Annotated, view: View) -> Annotated:
    """The part of an image and of its boxes, resized: bilinear without antialiasing, as `resizing.resized`.

    Args:
        annotated: the image and its objects.
        view: the part, and its new sides.

    Returns:
        The image, float32, and the objects of which a pixel can be seen, with their boxes cut at the border.
    """
    image, boxes, labels = annotated
    top, left, height, width = tf.unstack(view.part)
    pixels = tf.cast(image[top : top + height, left : left + width], tf.float32)
    corner = tf.cast(tf.stack([left, top, left, top]), tf.float32)
    limits = tf.cast(tf.tile(view.sides[::-1], [2]), tf.float32)
    factors = limits / tf.cast(tf.stack([width, height, width, height]), tf.float32)
    boxes = tf.clip_by_value((boxes - corner) * factors, 0, limits)
    kept = tf.reduce_all(boxes[:, 2:] - boxes[:, :2] >= LEAST_SIDE, axis=1)
    resized = tf.ensure_shape(tf.image.resize(pixels, view.sides), (None, None, image.shape[-1]))
    return Annotated(resized, tf.boolean_mask(boxes, kept), tf.boolean_mask(labels, kept))


def _whole(sides: tf.Tensor, shorter: int | tf.Tensor, longer: int) -> View:
    part = tf.concat([[0, 0], tf.cast(sides, tf.int32)], axis=0)
    return View(part, sides_in_graph(sides, shorter, longer))
