"""What a detector gets wrong: which detection belongs to which object, which classes it confuses, the worst images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from keras_resnet.detection.annotations import Objects
from keras_resnet.detection.finding import Found

OVERLAP = 0.5  # of a detection and its object, as for PASCAL VOC's average precision
LEAST_SCORE = 0.25  # of a detection in the confusion matrix, as in Ultralytics
RIGHT = "right"
WRONG_CLASS = "wrong class"
DUPLICATE = "duplicate"
NOTHING = "nothing there"
MISSED = "missed"
NOT_COUNTED = "not counted"
LOW_SCORE = "low score"
NO_OBJECT = -1


class Comparison(NamedTuple):
    """The detections of an image beside its objects.

    Attributes:
        outcomes: for each detection `RIGHT`; `WRONG_CLASS`: an object of another class is there; `DUPLICATE`: its
            object has a detection already; `NOTHING`: no object is there; `NOT_COUNTED`: a difficult object or a crowd
            is there; or `LOW_SCORE`.
        pairs: for each detection the number of its object, or `NO_OBJECT`; only of the outcomes right and wrong class.
        missed: whether each object has no detection of its class and should have one, bool (m).
    """

    outcomes: tuple[str, ...]
    pairs: np.ndarray
    missed: np.ndarray


def compare(found: Found, objects: Objects, coverage: np.ndarray, least_score: float) -> Comparison:
    """Pairs the detections and objects of an image: the most certain detection first, and its own class first.

    Args:
        found: the n detections.
        objects: the m objects.
        coverage: their overlaps, (n, m), see `coverage.coverage`.
        least_score: detections with a lower score are left out.

    Example:
        >>> import numpy as np
        >>> from keras_resnet.detection.annotations import Objects
        >>> from keras_resnet.detection.finding import Found
        >>> from keras_resnet.detection.mistakes import compare
        >>> box, no = np.array([[0, 0, 4, 2]]), np.array([False])
        >>> found = Found(np.repeat(box, 2, axis=0), np.array([0, 1]), np.array([0.9, 0.8]))
        >>> compare(found, Objects(box, np.array([1]), no, no), np.ones((2, 1)), 0.25).outcomes
        ('nothing there', 'right')
    """
    outcomes = np.where(found.scores >= least_score, NOTHING, LOW_SCORE).astype(object)
    pairs = np.full(len(outcomes), NO_OBJECT)
    counted = ~(objects.difficult | objects.crowd)
    near = (coverage >= OVERLAP) & (outcomes == NOTHING)[:, None]
    same = found.classes[:, None] == objects.labels
    free = counted.copy()
    order = np.argsort(-found.scores, kind="stable")
    for wanted, outcome in ((near & same, RIGHT), (near & ~same, WRONG_CLASS)):
        for row in order[pairs[order] == NO_OBJECT]:
            overlaps = np.where(wanted[row] & free, coverage[row], -1)
            if overlaps.max(initial=-1) >= 0:
                pairs[row], outcomes[row] = overlaps.argmax(), outcome
                free[pairs[row]] = False
    left = pairs == NO_OBJECT
    outcomes[left & (near & same & counted).any(axis=1)] = DUPLICATE
    outcomes[left & (near & same & ~counted).any(axis=1)] = NOT_COUNTED
    missed = counted.copy()
    missed[pairs[outcomes == RIGHT]] = False
    return Comparison(tuple(outcomes), pairs, missed)


def confusion(
    found: Sequence[Found], truth: Sequence[Objects], comparisons: Sequence[Comparison], classes: int
) -> np.ndarray:
    """The number of objects by class (row) and class of their detection (column).

    Args:
        found, truth, comparisons: of each image.
        classes: number of classes.

    Returns:
        Integers (classes + 1, classes + 1). The last column counts objects without a detection: missed. The last row
        counts detections without an object: nothing is there, or its object has a detection already.
    """
    matrix = np.zeros((classes + 1, classes + 1), int)
    for detections, objects, compared in zip(found, truth, comparisons, strict=True):
        paired = compared.pairs != NO_OBJECT
        objects_found = compared.pairs[paired]
        np.add.at(matrix, (objects.labels[objects_found], detections.classes[paired]), 1)
        alone = np.isin(compared.outcomes, (NOTHING, DUPLICATE))
        np.add.at(matrix[-1], detections.classes[alone], 1)
        unseen = compared.missed.copy()
        unseen[objects_found] = False
        np.add.at(matrix[:, -1], objects.labels[unseen], 1)
    return matrix


def badness(found: Found, compared: Comparison) -> float:
    """How wrong the answer for an image is: the number of missed objects and the scores of wrong detections, added."""
    return float(compared.missed.sum() + found.scores[is_wrong(compared)].sum())


def is_wrong(compared: Comparison) -> np.ndarray:
    """Which detections are mistakes, bool (n)."""
    return np.isin(compared.outcomes, (WRONG_CLASS, DUPLICATE, NOTHING))
