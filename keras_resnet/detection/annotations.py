"""The objects that people marked in an image."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Objects(NamedTuple):
    """The objects in an image.

    Attributes:
        boxes: left, top, right and bottom in pixels of the upright image, float32 (n, 4).
        labels: numbers of their classes, from 0, int32 (n).
        difficult: whether each is hard to recognize (PASCAL VOC), bool (n).
        crowd: whether each is a group of objects in one box (COCO's `iscrowd`), bool (n).
    """

    boxes: np.ndarray
    labels: np.ndarray
    difficult: np.ndarray
    crowd: np.ndarray
