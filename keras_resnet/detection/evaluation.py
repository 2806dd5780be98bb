"""`evaluate`: how good detections are, beside the objects that are in the images."""

from __future__ import annotations

import dataclasses
import functools
import logging
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from keras_resnet._internal.validation import number, texts
from keras_resnet.detection import mistakes, voc_map
from keras_resnet.detection.annotations import Objects
from keras_resnet.detection.coco_ap import CocoAP, coco_ap
from keras_resnet.detection.coverage import coverage
from keras_resnet.detection.finding import Found

SHOWN = 12  # classes whose names are listed in a warning
log = logging.getLogger("keras_resnet.detection")


class ClassResult(NamedTuple):
    """How well the objects of one class are found. A figure of no objects is NaN.

    Attributes:
        name: name of the class.
        objects: number of its objects that count: neither difficult ones nor crowds.
        detections: number of its detections.
        ap50: PASCAL VOC's average precision since 2010: the area under the curve.
        ap50_2007: that of 2007, from 11 points of the curve.
        best: the score with the highest F1, and precision and recall there.
        coco: COCO's figures.
    """

    name: str
    objects: int
    detections: int
    ap50: float
    ap50_2007: float
    best: voc_map.Threshold
    coco: CocoAP


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """Detections and objects of some images, and the figures that follow from them.

    Each figure is computed when it is asked for. Averages over classes are those of the classes that have objects.

    Attributes:
        classes: names of the classes.
        found: the detections of each image.
        truth: the objects of each image.
        least_score: score of the least certain detection that counts in `comparisons`, `confusion` and `worst`.
    """

    classes: tuple[str, ...]
    found: tuple[Found, ...]
    truth: tuple[Objects, ...]
    least_score: float

    @functools.cached_property
    def coverages(self) -> list[np.ndarray]:
        """For each image the overlaps of its detections and objects, (n, m), see `coverage.coverage`."""
        return [coverage(found.boxes, objects) for found, objects in zip(self.found, self.truth, strict=True)]

    @functools.cached_property
    def curves(self) -> list[voc_map.Curve]:
        """Precision and recall of each class at an overlap of 0.5."""
        return voc_map.curves(self.found, self.truth, self.coverages, len(self.classes))

    @property
    def map50(self) -> float:
        """PASCAL VOC's mean average precision since 2010: the mean of the areas under the curves."""
        return _mean([curve.area for curve in self.curves])

    @property
    def map50_2007(self) -> float:
        """PASCAL VOC's mean average precision of 2007: the mean of 11 points of the curves."""
        return _mean([curve.eleven_points for curve in self.curves])

    @functools.cached_property
    def _coco(self) -> tuple[CocoAP, list[CocoAP]]:
        return coco_ap(self.found, self.truth, len(self.classes))

    @property
    def coco(self) -> CocoAP:
        """COCO's figures. They need the package pycocotools."""
        return self._coco[0]

    @property
    def per_class(self) -> list[ClassResult]:
        """The figures of each class. They need the package pycocotools."""
        detections = np.bincount(np.concatenate([image.classes for image in self.found]), minlength=len(self.classes))
        return [
            ClassResult(name, curve.objects, int(count), curve.area, curve.eleven_points, curve.best, coco)
            for name, curve, count, coco in zip(self.classes, self.curves, detections, self._coco[1], strict=True)
        ]

    @property
    def without_objects(self) -> list[str]:
        """Names of the classes without objects that count: their figures are NaN, and averages leave them out."""
        return [name for name, curve in zip(self.classes, self.curves, strict=True) if not curve.objects]

    @functools.cached_property
    def comparisons(self) -> list[mistakes.Comparison]:
        """For each image which detection belongs to which object."""
        images = zip(self.found, self.truth, self.coverages, strict=True)
        return [mistakes.compare(*image, self.least_score) for image in images]

    def image(self, number: int) -> tuple[Found, Objects, mistakes.Comparison]:
        """The detections of an image, its objects, and which belong to which."""
        return self.found[number], self.truth[number], self.comparisons[number]

    @functools.cached_property
    def confusion(self) -> np.ndarray:
        """Number of objects by class (row) and class of their detection (column), (classes + 1, classes + 1).

        The last column counts missed objects, the last row detections without an object of their own.
        """
        return mistakes.confusion(self.found, self.truth, self.comparisons, len(self.classes))

    @property
    def worst(self) -> list[int]:
        """Numbers of the images with mistakes, the worst first: see `mistakes.badness`."""
        badness = np.array([mistakes.badness(*image) for image in zip(self.found, self.comparisons, strict=True)])
        order = np.argsort(-badness, kind="stable")
        return order[badness[order] > 0].tolist()


def evaluate(
    found: Sequence[Found],
    truth: Sequence[Objects],
    classes: Sequence[str],
    least_score: float = mistakes.LEAST_SCORE,
) -> Evaluation:
    """Mean average precision of PASCAL VOC and COCO, and what a detector confuses and misses.

    Images without detections and images without objects count. Classes without objects have no average precision, and
    averages leave them out; a warning names them.

    Args:
        found: the detections of each image, for example of `keras_resnet.detection.find`. For average precision the
            detector must give detections of low scores too.
        truth: the objects of each image, with boxes in the same pixels.
        classes: names of the classes.
        least_score: detections below it are left out where a detection is right or wrong: in `comparisons`, `confusion`
            and `worst`, from 0 to 1. Average precision is that of all detections.

    Returns:
        The evaluation: its `map50`, `map50_2007`, `coco`, `per_class`, `confusion`, and more.

    Raises:
        ValueError: there is no image; `found` and `truth` differ in length; the arrays of one image differ in length; a
            box or a score is not finite; a box has its corners swapped; or a class is not one of `classes`.
        TypeError: `classes` are not names, or numbers of classes are not integers.

    Example:
        >>> import numpy as np
        >>> from keras_resnet.detection import Found, Objects, evaluate
        >>> box, no = np.array([[10.0, 10, 50, 40]]), np.array([False])
        >>> cat = Objects(box, np.array([0]), no, no)
        >>> nothing = Found(np.zeros((0, 4)), np.zeros(0, int), np.zeros(0))
        >>> evaluate([Found(box, np.array([0]), np.array([0.9])), nothing], [cat, cat], ["cat"]).map50
        0.5
    """
    names = texts("classes", classes)
    if not names:
        raise ValueError("classes must have at least one name. Received: classes=()")
    number("least_score", least_score, "[0, 1]")
    if len(found) != len(truth) or not len(found):
        raise ValueError(
            "found and truth must have an entry for each image, of at least one image. "
            f"Received: {len(found)} and {len(truth)} entries"
        )
    evaluation = Evaluation(
        names,
        tuple(_checked_found(f"found[{i}]", image, len(names)) for i, image in enumerate(found)),
        tuple(_checked_objects(f"truth[{i}]", image, len(names)) for i, image in enumerate(truth)),
        least_score,
    )
    if absent := evaluation.without_objects:
        listed = ", ".join(absent[:SHOWN]) + (f" and {len(absent) - SHOWN} more" if len(absent) > SHOWN else "")
        log.warning("classes without objects, which averages leave out: %s", listed)
    return evaluation


def _checked_found(argument: str, image: Found, classes: int) -> Found:
    boxes, numbers, scores = (np.asarray(part) for part in image)
    _check_boxes(argument, boxes)
    numbers = _class_numbers(f"{argument}.classes", numbers, len(boxes), classes)
    _check_length(f"{argument}.scores", scores, len(boxes))
    if not np.isfinite(scores).all():
        raise ValueError(f"{argument}.scores must be finite. Received: {scores[~np.isfinite(scores)][0]}")
    return Found(boxes, numbers, scores)


def _checked_objects(argument: str, image: Objects, classes: int) -> Objects:
    boxes, labels, difficult, crowd = (np.asarray(part) for part in image)
    _check_boxes(argument, boxes)
    labels = _class_numbers(f"{argument}.labels", labels, len(boxes), classes)
    _check_length(f"{argument}.difficult", difficult, len(boxes))
    _check_length(f"{argument}.crowd", crowd, len(boxes))
    return Objects(boxes, labels, difficult.astype(bool), crowd.astype(bool))


def _check_boxes(argument: str, boxes: np.ndarray) -> None:
    if boxes.ndim != 2 or boxes.shape[1] != 4:
        raise ValueError(f"{argument}.boxes must be (n, 4). Received: an array of the shape {boxes.shape}")
    good = np.isfinite(boxes).all(axis=1) & (boxes[:, 2:] >= boxes[:, :2]).all(axis=1)
    if not good.all():
        raise ValueError(
            f"{argument}.boxes must be finite, with left <= right and top <= bottom. "
            f"Received: {boxes[~good][0].tolist()}"
        )


def _class_numbers(argument: str, numbers: np.ndarray, count: int, classes: int) -> np.ndarray:
    _check_length(argument, numbers, count)
    if count and not np.issubdtype(numbers.dtype, np.integer):  # an empty list becomes an array of floats
        raise TypeError(f"{argument} must be integers. Received: an array of {numbers.dtype}")
    wrong = numbers[(numbers < 0) | (numbers >= classes)]
    if len(wrong):
        raise ValueError(f"{argument} must be from 0 to {classes - 1}, numbers of `classes`. Received: {wrong[0]}")
    return numbers.astype(int)


def _check_length(argument: str, values: np.ndarray, count: int) -> None:
    if values.shape != (count,):
        raise ValueError(
            f"{argument} must have an entry for each of the {count} boxes. "
            f"Received: an array of the shape {values.shape}"
        )


def _mean(values: Sequence[float]) -> float:
    """The mean of the values that are not NaN; NaN if there is none."""
    known = [value for value in values if not np.isnan(value)]
    return float(np.mean(known)) if known else np.nan
