"""Checks of the batches that a caller gives to the training of a detector."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from keras_resnet.detection.resizing import check_pixels

INPUTS = ("boxes", "images", "labels", "sizes")


def check_batches(batches: Any, classes: int) -> None:
    """Raises an error if the first of the batches cannot be what a detector is trained with.

    Args:
        batches: what the caller gives.
        classes: number of classes of the detector.

    Raises:
        ValueError: the batches are not dicts with the inputs of a training; pixels are not raw; boxes are not left,
            top, right and bottom in pixels of their image; or a label is none of the classes.
        TypeError: it is not a `tf.data.Dataset`.
    """
    if not isinstance(batches, tf.data.Dataset):
        raise TypeError(f"batches_from must return a tf.data.Dataset. Received: {type(batches).__name__}")
    spec = batches.element_spec
    if not isinstance(spec, dict) or not set(INPUTS) <= set(spec):
        raise ValueError(
            f"batches_from must return batches that are dicts with {', '.join(INPUTS)}. "
            f"Received: {sorted(spec) if isinstance(spec, dict) else type(spec).__name__}"
        )
    for batch in batches.take(1):
        _check({name: batch[name].numpy() for name in INPUTS}, classes)


def _check(batch: dict[str, np.ndarray], classes: int) -> None:
    boxes, images, labels, sizes = (batch[name] for name in INPUTS)
    check_pixels("images of the first batch", images)
    if labels.min(initial=-1) < -1 or labels.max(initial=-1) >= classes:
        raise ValueError(
            f"labels must be from 0 to {classes - 1}, and -1 fills the batch. "
            f"Received: labels from {labels.min()} to {labels.max()} in the first batch"
        )
    real = labels >= 0
    left, top, right, bottom = np.moveaxis(boxes[real], -1, 0)
    height, width = np.moveaxis(np.broadcast_to(sizes[:, None], (*labels.shape, 2))[real], -1, 0)
    inside = (left >= -1) & (top >= -1) & (right <= width + 1) & (bottom <= height + 1)
    possible = inside & (left < right) & (top < bottom)
    if not possible.all():
        raise ValueError(
            "boxes must be left, top, right and bottom in pixels, within their images. "
            f"Received: {boxes[real][~possible][0].tolist()} in the first batch"
        )
    if len(left) and boxes[real].max() <= 1:
        raise ValueError(
            "boxes must be in pixels of their images. "
            "Received: boxes with all coordinates from 0 to 1 in the first batch"
        )
