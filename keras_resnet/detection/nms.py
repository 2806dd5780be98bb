"""Non-maximum suppression for each class of a batch: of boxes that overlap, the one with the highest score is kept."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import keras
from keras import ops

from keras_resnet.detection.boxes import overlaps


class Kept(NamedTuple):
    """The boxes that were kept, the highest score first; the rest of the rows is filled with zeros.

    Attributes:
        boxes: float32 (N, count, 4).
        scores: float32 (N, count).
        classes: int32 (N, count).
        found: number of boxes that were kept, int32 (N).
    """

    boxes: Any
    scores: Any
    classes: Any
    found: Any


# Boxes, scores, overlap, least score and count -> the boxes that are kept, see `non_maximum_suppression`.
Suppress: TypeAlias = Callable[[Any, Any, float, float, int], Kept]


def non_maximum_suppression(boxes: Any, scores: Any, overlap: float, least_score: float, count: int) -> Kept:
    """Keeps the best boxes of each class, and of these the best ones of all classes.

    On TensorFlow this is its own operation; on JAX and PyTorch it is a loop of `count` steps of this package, with
    shapes that XLA can compile.

    Args:
        boxes: float32 (N, R, C, 4): a box for each class; or (N, R, 1, 4): the same box for all classes.
        scores: probabilities, float32 (N, R, C); a score below 0 means that there is no box.
        overlap: a box is dropped if it overlaps more than this with a better one of its class, from 0 to 1.
        least_score: boxes with this score or a lower one are dropped.
        count: largest number of boxes that are kept for an image.

    Returns:
        `Kept`.
    """
    suppress = _of_tensorflow if keras.backend.backend() == "tensorflow" else greedy
    return suppress(boxes, scores, overlap, least_score, count)


def _of_tensorflow(boxes: Any, scores: Any, overlap: float, least_score: float, count: int) -> Kept:
    import tensorflow as tf  # noqa: PLC0415 (other backends do not need it)

    kept = tf.image.combined_non_max_suppression(
        boxes, scores, count, count, iou_threshold=overlap, score_threshold=least_score, clip_boxes=False
    )
    return Kept(kept[0], kept[1], tf.cast(kept[2], tf.int32), kept[3])


def greedy(boxes: Any, scores: Any, overlap: float, least_score: float, count: int) -> Kept:
    """`non_maximum_suppression` in a loop: each step takes the best box that is left, and drops what it suppresses."""
    batch, regions, classes = ops.shape(scores)
    boxes = ops.reshape(ops.broadcast_to(boxes, (batch, regions, classes, 4)), (batch, regions * classes, 4))
    left = ops.reshape(ops.where(scores > least_score, scores, -1.0), (batch, regions * classes))
    numbers = ops.arange(regions * classes, dtype="int32")[None]
    class_of = numbers[0] % classes
    kept_boxes = ops.zeros((batch, count, 4), boxes.dtype)
    kept_scores = ops.full((batch, count), -1.0, left.dtype)
    kept_classes = ops.zeros((batch, count), "int32")

    def step(number: Any, state: Any) -> Any:
        left, kept_boxes, kept_scores, kept_classes = state
        score = ops.max(left, axis=1, keepdims=True)
        # Not `ops.argmax`: on TensorFlow it contains a Bitcast, which OpenVINO does not have.
        best = ops.min(ops.where(left == score, numbers, regions * classes), axis=1, keepdims=True)
        box = ops.take_along_axis(boxes, best[..., None], axis=1)
        own = ops.take(class_of, best)
        found = score >= 0
        dropped = (overlaps(box, boxes)[:, 0] > overlap) & (class_of[None] == own)
        dropped = dropped | (numbers == best)
        here = ops.arange(count, dtype="int32")[None] == number
        return (
            ops.where(dropped, -1.0, left),
            ops.where((here & found)[..., None], box, kept_boxes),
            ops.where(here & found, score, kept_scores),
            ops.where(here & found, own, kept_classes),
        )

    _, kept_boxes, kept_scores, kept_classes = ops.fori_loop(
        0, count, step, (left, kept_boxes, kept_scores, kept_classes)
    )
    found = ops.sum(ops.cast(kept_scores >= 0, "int32"), axis=1)
    return Kept(kept_boxes, ops.maximum(kept_scores, 0), kept_classes, found)
