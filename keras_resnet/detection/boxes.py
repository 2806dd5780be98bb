"""Boxes: areas, overlaps, clipping, and the code of a box relative to another one.

A box is left, top, right and bottom in pixels, as in torchvision. Coordinates are continuous: the first pixel reaches
from 0 to 1.
"""

from __future__ import annotations

import math
from typing import Any

from keras import ops

# Largest factor by which a decoded box is wider or higher than its reference is 1000 / 16, as in torchvision.
LARGEST_LOG_FACTOR = math.log(1000 / 16)


def areas(boxes: Any) -> Any:
    """Areas in square pixels.

    Args:
        boxes: (..., 4).

    Returns:
        (...).
    """
    return (boxes[..., 2] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 1])


def overlaps(boxes: Any, others: Any, functions: Any = ops) -> Any:
    """Intersection over union of each box with each of the others.

    Args:
        boxes: (..., A, 4).
        others: (..., B, 4), with the same leading axes.
        functions: the module that computes: `keras.ops`, or `tf` where TensorFlow computes whatever the backend is, as
            in a `tf.data` pipeline.

    Returns:
        (..., A, B), from 0 to 1; 0 for two boxes without an area.

    Example:
        >>> import numpy as np
        >>> from keras_resnet.detection.boxes import overlaps
        >>> float(overlaps(np.array([[0.0, 0, 2, 2]]), np.array([[0.0, 0, 2, 1]]))[0, 0])
        0.5
    """
    boxes, others = functions.expand_dims(boxes, -2), functions.expand_dims(others, -3)
    start, end = functions.maximum(boxes[..., :2], others[..., :2]), functions.minimum(boxes[..., 2:], others[..., 2:])
    sides = functions.maximum(end - start, 0)
    common = sides[..., 0] * sides[..., 1]
    union = areas(boxes) + areas(others) - common
    return functions.where(union > 0, common / functions.where(union > 0, union, 1), 0)


def clip(boxes: Any, sizes: Any) -> Any:
    """Cuts off the parts of boxes that are outside of their images.

    Args:
        boxes: (N, R, 4).
        sizes: height and width of each image in pixels, (N, 2).

    Returns:
        (N, R, 4). A box that is outside as a whole has no area.
    """
    height, width = sizes[:, None, 0], sizes[:, None, 1]
    limits = ops.stack([width, height, width, height], axis=-1)
    return ops.minimum(ops.maximum(boxes, 0), ops.cast(limits, boxes.dtype))


def encode(boxes: Any, references: Any, weights: tuple[float, float, float, float]) -> Any:
    """The codes of boxes relative to reference boxes: what a network learns to predict (arXiv:1311.2524, appendix C).

    Args:
        boxes: (..., 4).
        references: anchors or proposals (..., 4), with sides above 0.
        weights: factors of the four numbers of a code: shift in x and y, change of width and height.

    Returns:
        (..., 4). A box without an area gets the code of one with sides of almost 0; do not train with it.
    """
    center, sides = _centers(boxes)
    reference_center, reference_sides = _centers(references)
    shift = (center - reference_center) / reference_sides
    change = ops.log(ops.maximum(sides, 1e-7) / reference_sides)
    return ops.concatenate([shift, change], axis=-1) * ops.convert_to_tensor(weights, boxes.dtype)


def decode(codes: Any, references: Any, weights: tuple[float, float, float, float]) -> Any:
    """The boxes of codes, see `encode`.

    Args:
        codes: (..., 4).
        references: anchors or proposals (..., 4).
        weights: as in `encode`.

    Returns:
        Boxes (..., 4).

    Example:
        >>> import numpy as np
        >>> from keras_resnet.detection.boxes import decode
        >>> np.array(decode(np.zeros((1, 4)), np.array([[0.0, 0, 8, 4]]), (1, 1, 1, 1))).tolist()
        [[0.0, 0.0, 8.0, 4.0]]
    """
    codes = codes / ops.convert_to_tensor(weights, codes.dtype)
    center, sides = _centers(references)
    center = codes[..., :2] * sides + center
    half = 0.5 * ops.exp(ops.minimum(codes[..., 2:], LARGEST_LOG_FACTOR)) * sides
    return ops.concatenate([center - half, center + half], axis=-1)


def _centers(boxes: Any) -> tuple[Any, Any]:
    """Center (..., 2), x and y, and sides (..., 2), width and height."""
    sides = boxes[..., 2:] - boxes[..., :2]
    return boxes[..., :2] + 0.5 * sides, sides
