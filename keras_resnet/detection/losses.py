"""The losses of Faster R-CNN: classes and boxes of anchors (proposals), and of regions (detections)."""

from __future__ import annotations

from typing import Any

from keras import ops

BETA = 1 / 9  # below this difference the loss of boxes is quadratic, as in torchvision and Detectron


def smooth_l1(difference: Any, beta: float = BETA) -> Any:
    """The absolute value, and near zero a parabola (arXiv:1504.08083, equation 3, with a width).

    Args:
        difference: any shape.
        beta: above 0: differences below it are in the parabola.

    Returns:
        The shape of `difference`.
    """
    size = ops.absolute(difference)
    return ops.where(size < beta, 0.5 * ops.square(difference) / beta, size - 0.5 * beta)


def objectness(logits: Any, is_object: Any, learned: Any) -> Any:
    """Mean of the binary cross-entropy of the sampled anchors of a batch.

    Args:
        logits: (N, S).
        is_object: targets, 0 or 1, (N, S).
        learned: which of the S samples are real, 0 or 1, (N, S).

    Returns:
        A scalar.
    """
    # log(1 + exp(-|x|)) does not overflow.
    values = ops.maximum(logits, 0) - logits * is_object + ops.log1p(ops.exp(-ops.absolute(logits)))
    return _mean(values, learned)


def classes(logits: Any, targets: Any, learned: Any) -> Any:
    """Mean of the cross-entropy of the sampled regions of a batch.

    Args:
        logits: (N, S, classes + 1); the first is background.
        targets: int32 (N, S).
        learned: which of the S samples are real, 0 or 1, (N, S).

    Returns:
        A scalar.
    """
    chosen = ops.take_along_axis(ops.log_softmax(logits), targets[..., None], axis=-1)[..., 0]
    return _mean(-chosen, learned)


def box_codes(codes: Any, targets: Any, positive: Any, learned: Any) -> Any:
    """The loss of the codes of positive samples, over the number of all samples of the batch.

    Args:
        codes, targets: predicted and right codes, (N, S, 4).
        positive: which of the samples belong to a box, 0 or 1, (N, S).
        learned: which of the samples are real, 0 or 1, (N, S).

    Returns:
        A scalar.
    """
    values = ops.sum(smooth_l1(codes - targets), axis=-1)
    return ops.sum(values * positive) / ops.maximum(ops.sum(learned), 1)


def _mean(values: Any, weights: Any) -> Any:
    return ops.sum(values * weights) / ops.maximum(ops.sum(weights), 1)
