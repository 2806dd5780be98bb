"""How much detections overlap with the objects of an image."""

from __future__ import annotations

import numpy as np
from keras import ops

from keras_resnet.detection.annotations import Objects
from keras_resnet.detection.boxes import areas, overlaps


def coverage(boxes: np.ndarray, objects: Objects) -> np.ndarray:
    """The overlap of detections and objects, as COCO counts it.

    Args:
        boxes: those of the detections, (n, 4).
        objects: the m objects of the image.

    Returns:
        float64 (n, m), from 0 to 1: intersection over union; for a crowd the fraction of the detection that is inside
        of it, because a detection of one member is right.

    Example:
        >>> import numpy as np
        >>> from keras_resnet.detection.annotations import Objects
        >>> from keras_resnet.detection.coverage import coverage
        >>> box, no, yes = np.array([[0, 0, 4, 2]]), np.array([False]), np.array([True])
        >>> one = np.array([[0, 0, 1, 2]])
        >>> coverage(one, Objects(box, [0], no, no)).item(), coverage(one, Objects(box, [0], no, yes)).item()
        (0.25, 1.0)
    """
    boxes, others = boxes.astype("float64"), objects.boxes.astype("float64")
    found = ops.convert_to_numpy(overlaps(boxes, others))
    own, common = areas(boxes)[:, None], found / (1 + found) * (areas(boxes)[:, None] + areas(others))
    return np.where(objects.crowd & (own > 0), common / np.where(own > 0, own, 1), found)
