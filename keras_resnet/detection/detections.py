"""Detections: from the scores and codes of regions to boxes with classes."""

from __future__ import annotations

from typing import Any

from keras import ops

from keras_resnet.detection.boxes import clip, decode
from keras_resnet.detection.nms import Kept, Suppress, non_maximum_suppression
from keras_resnet.detection.proposals import ABSENT, large_enough

REGION_WEIGHTS = (10.0, 10.0, 5.0, 5.0)  # of the codes of detections relative to their regions (arXiv:1504.08083)
SHORTEST_SIDE = 1e-2  # of a detection in pixels, as in torchvision


def detect(
    logits: Any,
    codes: Any,
    regions: Any,
    present: Any,
    sizes: Any,
    least_score: float,
    overlap: float,
    count: int,
    suppress: Suppress = non_maximum_suppression,
) -> Kept:
    """The objects in regions.

    Args:
        logits: (N, R, classes + 1); the first class is background.
        codes: for each class the code of a box relative to the region, (N, R, (classes + 1) * 4).
        regions: (N, R, 4).
        present: which of the regions are there, bool (N, R).
        sizes: height and width of each image in pixels, (N, 2).
        least_score: probability above which a box of a class is a detection.
        overlap: a detection is dropped if it overlaps more than this with a better one of its class.
        count: largest number of detections of an image.
        suppress: `nms.non_maximum_suppression` or `nms.greedy`.

    Returns:
        The detections; `classes` are counted from 0, without background.
    """
    logits, codes = ops.cast(logits, "float32"), ops.cast(codes, "float32")
    batch, _, classes = ops.shape(logits)
    scores = ops.softmax(logits)[..., 1:]
    codes = ops.reshape(codes, (batch, -1, classes, 4))[:, :, 1:]
    boxes = decode(codes, regions[:, :, None], REGION_WEIGHTS)
    flat = clip(ops.reshape(boxes, (batch, -1, 4)), sizes)
    boxes = ops.reshape(flat, (batch, -1, classes - 1, 4))
    there = present[..., None] & large_enough(boxes, SHORTEST_SIDE)
    return suppress(boxes, ops.where(there, scores, ABSENT), overlap, least_score, count)
