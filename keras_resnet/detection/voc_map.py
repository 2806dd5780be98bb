"""Mean average precision as in PASCAL VOC: a detection is right if its overlap with an object is at least 0.5.

It is the counting of VOC's development kit (`VOCevaldet.m`): of the objects of its class a detection belongs to the one
that it overlaps most. The most certain detection of an object is right, others are wrong; detections of difficult
objects do not count. The kit's pixels are counted from 1, and its boxes have their last pixel inside; boxes here are in
continuous coordinates, which have the same overlaps if `left` and `top` are one less than in the kit's files.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from keras_resnet.detection.annotations import Objects
from keras_resnet.detection.finding import Found

OVERLAP = 0.5
WRONG, RIGHT, NOT_COUNTED = 0, 1, 2


class Threshold(NamedTuple):
    """A score, and the precision and recall of the detections that have at least this score."""

    score: float
    precision: float
    recall: float

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall; 0 if both are 0."""
        total = self.precision + self.recall
        return 2 * self.precision * self.recall / total if total else 0.0


class Curve(NamedTuple):
    """Precision and recall of the detections of one class, of the most certain one, of the two most certain, and so on.

    Attributes:
        objects: number of objects of the class that count.
        scores: score of each detection that counts, the highest first, (d).
        precision: fraction of the detections up to this one that are right, float64 (d).
        recall: fraction of the objects that the detections up to this one find, float64 (d); NaN without objects.
    """

    objects: int
    scores: np.ndarray
    precision: np.ndarray
    recall: np.ndarray

    @property
    def envelope(self) -> np.ndarray:
        """For each detection the highest precision at its recall or a higher one, float64 (d)."""
        return np.maximum.accumulate(self.precision[::-1])[::-1]

    @property
    def area(self) -> float:
        """Average precision since VOC 2010: the area under the envelope; NaN without objects.

        Example:
            >>> import numpy as np
            >>> from keras_resnet.detection.voc_map import Curve
            >>> curve = Curve(2, np.array([0.9, 0.8, 0.7]), np.array([1, 1 / 2, 2 / 3]), np.array([1 / 2, 1 / 2, 1]))
            >>> round(curve.area, 4), round(curve.eleven_points, 4)
            (0.8333, 0.8485)
        """
        return float(np.diff(self.recall, prepend=0) @ self.envelope) if self.objects else np.nan

    @property
    def eleven_points(self) -> float:
        """Average precision of VOC 2007: the mean of the envelope at the recalls 0, 0.1 to 1; NaN without objects."""
        if not self.objects:
            return np.nan
        # A recall of 3 / 10 is below 3 * 0.1, by the last bit. It is in the common ports of the kit too.
        first = np.searchsorted(self.recall, np.linspace(0, 1, 11))
        return float(np.append(self.envelope, 0)[first].mean())

    @property
    def best(self) -> Threshold:
        """The score with the highest F1: a threshold for use. NaN if no detection is right."""
        if not self.objects or not self.precision.any():
            return Threshold(np.nan, np.nan, np.nan)
        last = np.append(np.diff(self.scores) != 0, True)  # of equal scores all or none are detections
        rows = zip(self.scores[last].tolist(), self.precision[last].tolist(), self.recall[last].tolist(), strict=True)
        return max((Threshold(*row) for row in rows), key=lambda row: row.f1)


def curves(
    found: Sequence[Found], truth: Sequence[Objects], coverages: Sequence[np.ndarray], classes: int
) -> list[Curve]:
    """The curve of each class.

    Args:
        found: the detections of each image.
        truth: the objects of each image.
        coverages: their overlaps, see `coverage.coverage`.
        classes: number of classes.
    """
    verdicts = np.concatenate([_verdicts(*image) for image in zip(found, truth, coverages, strict=True)])
    kinds, scores = (np.concatenate([getattr(image, name) for image in found]) for name in ("classes", "scores"))
    labels = np.concatenate([image.labels[~(image.difficult | image.crowd)] for image in truth])
    totals = np.bincount(labels, minlength=classes)
    order = np.argsort(-scores, kind="stable")
    order = order[verdicts[order] != NOT_COUNTED]
    return [_curve(verdicts[mine], scores[mine], total) for mine, total in _by_class(order, kinds, totals)]


def _by_class(order: np.ndarray, kinds: np.ndarray, totals: np.ndarray) -> list[tuple[np.ndarray, int]]:
    """For each class its detections, in this order, and its number of objects."""
    return [(order[kinds[order] == number], int(total)) for number, total in enumerate(totals)]


def _curve(verdicts: np.ndarray, scores: np.ndarray, objects: int) -> Curve:
    right = np.cumsum(verdicts == RIGHT)
    recall = right / objects if objects else np.full(len(right), np.nan)
    return Curve(objects, scores, right / np.arange(1, len(right) + 1), recall)


def _verdicts(found: Found, objects: Objects, coverage: np.ndarray) -> np.ndarray:
    """Whether each detection of an image is right, int8 (n)."""
    verdicts = np.full(len(found.scores), WRONG, "int8")
    if not len(objects.labels):
        return verdicts
    same = found.classes[:, None] == objects.labels
    single = np.where(same & ~objects.crowd, coverage, -1)
    in_crowd = (same & objects.crowd & (coverage >= OVERLAP)).any(axis=1)
    taken = np.zeros(len(objects.labels), bool)
    for row in np.argsort(-found.scores, kind="stable"):
        nearest = single[row].argmax()
        if single[row, nearest] < OVERLAP:
            verdicts[row] = NOT_COUNTED if in_crowd[row] else WRONG
        elif objects.difficult[nearest]:
            verdicts[row] = NOT_COUNTED
        elif not taken[nearest]:
            verdicts[row], taken[nearest] = RIGHT, True
    return verdicts
