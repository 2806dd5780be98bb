"""Proposals: the boxes in which the second half of the detector looks for objects."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from keras import ops

from keras_resnet.detection.boxes import clip, decode
from keras_resnet.detection.nms import Kept, Suppress, non_maximum_suppression

ANCHOR_WEIGHTS = (1.0, 1.0, 1.0, 1.0)  # of the codes of proposals relative to their anchors
SHORTEST_SIDE = 1e-3  # of a proposal in pixels, as in torchvision
ABSENT = -1.0  # score of a box that is not there
ANY_SCORE = -0.5  # below all probabilities, and above `ABSENT`
LEAST_LOGIT = -1e9


def propose(
    logits: Sequence[Any],
    codes: Sequence[Any],
    anchors: Sequence[Any],
    sizes: Any,
    pre_nms_top_n: int,
    post_nms_top_n: int,
    overlap: float,
    suppress: Suppress = non_maximum_suppression,
) -> Kept:
    """The best boxes of a region proposal network.

    Args:
        logits: for each feature map, whether an anchor has an object, (N, A).
        codes: for each feature map the codes of the boxes, (N, A, 4), see `boxes.encode`.
        anchors: for each feature map (A, 4).
        sizes: height and width of each image in pixels, (N, 2). Boxes are cut off there.
        pre_nms_top_n: largest number of boxes of a feature map that non-maximum suppression gets.
        post_nms_top_n: largest number of boxes of an image that it leaves.
        overlap: a box is dropped if it overlaps more than this with a better one of its map.
        suppress: `nms.non_maximum_suppression` or `nms.greedy`.

    Returns:
        The boxes; `scores` are probabilities, and `classes` the numbers of the feature maps.
    """
    best = [_best(*of_map, sizes, pre_nms_top_n) for of_map in zip(logits, codes, anchors, strict=True)]
    boxes, scores = (ops.stack(parts, axis=2) for parts in zip(*best))
    return suppress(boxes, scores, overlap, ANY_SCORE, post_nms_top_n)


def _best(logits: Any, codes: Any, anchors: Any, sizes: Any, count: int) -> tuple[Any, Any]:
    """The `count` boxes of a map with the highest scores, (N, count, 4) and (N, count)."""
    logits, codes = ops.cast(logits, "float32"), ops.cast(codes, "float32")
    # Boxes that are not there are appended, because the map may have fewer anchors than `count`.
    batch = ops.shape(logits)[0]
    logits = ops.concatenate([logits, ops.full((batch, count), LEAST_LOGIT)], axis=1)
    codes = ops.concatenate([codes, ops.zeros((batch, count, 4))], axis=1)
    anchors = ops.concatenate([anchors, ops.zeros((count, 4))], axis=0)
    values, numbers = ops.top_k(logits, count)
    codes = ops.take_along_axis(codes, ops.cast(numbers, "int32")[..., None], axis=1)
    boxes = clip(decode(codes, ops.take(anchors, numbers, axis=0), ANCHOR_WEIGHTS), sizes)
    present = (values > LEAST_LOGIT) & large_enough(boxes, SHORTEST_SIDE)
    return boxes, ops.where(present, ops.sigmoid(values), ABSENT)


def large_enough(boxes: Any, shortest: float) -> Any:
    """Whether both sides of boxes (..., 4) have at least `shortest` pixels, bool (...)."""
    return ops.all(boxes[..., 2:] - boxes[..., :2] >= shortest, axis=-1)
