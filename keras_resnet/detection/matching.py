"""Which box an anchor or a proposal belongs to, and which of them a training step learns from."""

from __future__ import annotations

from typing import Any

from keras import ops

BACKGROUND, IGNORED = -1, -2


def match(overlap: Any, present: Any, low: float, high: float, best_of_each_box: bool) -> Any:
    """The box that each candidate belongs to.

    Args:
        overlap: of each box with each candidate (an anchor or a proposal), (N, M, A), see `boxes.overlaps`.
        present: which of the boxes are real, bool (N, M); the others fill the batch.
        low: candidates that overlap with all boxes less than this are background, in [0, `high`].
        high: candidates that overlap with a box at least so much belong to it, in (0, 1].
        best_of_each_box: whether the candidates with the largest overlap of a box belong to a box too, even if it is
            below `high`. They belong to the box that they overlap most, as in torchvision.

    Returns:
        int32 (N, A): the number of the box, `BACKGROUND`, or `IGNORED` from `low` to `high`.

    Example:
        >>> import numpy as np
        >>> from keras_resnet.detection.matching import match
        >>> overlap = np.array([[[0.9, 0.5, 0.1]]])
        >>> np.array(match(overlap, np.array([[True]]), 0.3, 0.7, best_of_each_box=False)).tolist()
        [[0, -2, -1]]
    """
    overlap = ops.where(present[..., None], overlap, -1.0)
    largest = ops.max(overlap, axis=1)
    nearest = ops.cast(ops.argmax(overlap, axis=1), "int32")
    found = ops.where(largest >= high, nearest, ops.where(largest < low, BACKGROUND, IGNORED))
    if best_of_each_box:
        best = ops.max(overlap, axis=2, keepdims=True)
        is_best = ops.any((overlap == best) & (best > 0), axis=1)
        found = ops.where(is_best, nearest, found)
    return ops.cast(found, "int32")


def sample(positive: Any, negative: Any, priority: Any, count: int, most_positive: int) -> tuple[Any, Any]:
    """A fixed number of candidates to learn from: positive ones up to a limit, the rest negative ones.

    Args:
        positive, negative: which candidates are which, bool (N, A).
        priority: (N, A), from 0 to 1: candidates with a higher priority are taken first. Random numbers.
        count: number of candidates for each image.
        most_positive: largest number of positive ones.

    Returns:
        The numbers of the candidates, int32 (N, count), positive ones first, and which of these are real, bool
        (N, count): an image may have fewer candidates.
    """
    # An image may have fewer candidates than `count`, and its number of anchors may be unknown until it runs.
    none = ops.full((ops.shape(priority)[0], count), -1.0, priority.dtype)
    (positive_values, positives), (negative_values, negatives) = (
        ops.top_k(ops.concatenate([ops.where(chosen, priority, -1.0), none], axis=1), count)
        for chosen in (positive, negative)
    )
    found = ops.sum(ops.cast(positive_values >= 0, "int32"), axis=1, keepdims=True)
    positive_count = ops.minimum(found, most_positive)
    negative_count = ops.sum(ops.cast(negative_values >= 0, "int32"), axis=1, keepdims=True)
    slots = ops.expand_dims(ops.arange(count, dtype="int32"), 0)
    after = ops.maximum(slots - positive_count, 0)
    numbers = ops.where(slots < positive_count, positives, ops.take_along_axis(negatives, after, axis=1))
    learned = slots < positive_count + negative_count
    return ops.cast(ops.where(learned, numbers, 0), "int32"), learned
