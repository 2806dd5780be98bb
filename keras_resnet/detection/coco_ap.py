"""Average precision and recall as in COCO, counted by pycocotools.

Source: https://cocodataset.org/#detection-eval. An average is one over ten overlaps, 0.5, 0.55 to 0.95, except in AP50
and AP75. COCO has one mark for objects that do not count, crowd; difficult objects get it too, as in MMDetection.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from keras_resnet.detection.annotations import Objects
from keras_resnet.detection.boxes import areas
from keras_resnet.detection.finding import Found


class CocoAP(NamedTuple):
    """COCO's figures, from 0 to 1. A figure of no objects is NaN.

    COCO's own small, medium and large objects are those of its masks; here they are those of boxes, which are larger.

    Attributes:
        ap: average precision.
        ap50, ap75: at an overlap of 0.5 and of 0.75.
        ap_small, ap_medium, ap_large: of objects below 32 * 32 square pixels, up to 96 * 96, and above.
        ar1, ar10, ar100: average recall of the 1, 10 and 100 most certain detections of a class in an image.
        ar_small, ar_medium, ar_large: average recall by size.
    """

    ap: float
    ap50: float
    ap75: float
    ap_small: float
    ap_medium: float
    ap_large: float
    ar1: float
    ar10: float
    ar100: float
    ar_small: float
    ar_medium: float
    ar_large: float


def import_counter() -> Any:
    """pycocotools' class that counts.

    Raises:
        ValueError: pycocotools is not installed.
    """
    try:
        from pycocotools.cocoeval import COCOeval  # noqa: PLC0415 (an extra)
    except ImportError as error:
        raise ValueError(
            f"COCO's figures need the package pycocotools: pip install 'keras-resnet-zoo[detection]'. Received: {error}"
        ) from error
    return COCOeval


def coco_ap(found: Sequence[Found], truth: Sequence[Objects], classes: int) -> tuple[CocoAP, list[CocoAP]]:
    """COCO's figures: of all classes that have objects, and of each class.

    Args:
        found: the detections of each image.
        truth: the objects of each image.
        classes: number of classes.

    Raises:
        ValueError: pycocotools is not installed.
    """
    counter = import_counter()
    with contextlib.redirect_stdout(io.StringIO()):  # it prints its progress
        counting = counter(
            _index(_objects(truth), len(truth), classes), _index(_detections(found), len(found), classes), "bbox"
        )
        counting.evaluate()
        counting.accumulate()
    precision, recall = counting.eval["precision"], counting.eval["recall"]
    each = [_figures(precision[:, :, [k]], recall[:, [k]]) for k in range(classes)]
    return _figures(precision, recall), each


def _figures(precision: np.ndarray, recall: np.ndarray) -> CocoAP:
    """The figures of some classes.

    Args:
        precision: by overlap, recall, class, size (all, small, medium, large) and detections (1, 10, 100); -1 where
            there is no object.
        recall: the same without the axis of recall.
    """
    return CocoAP(
        _mean(precision[..., 0, 2]),
        _mean(precision[0, ..., 0, 2]),
        _mean(precision[5, ..., 0, 2]),
        *(_mean(precision[..., size, 2]) for size in (1, 2, 3)),
        *(_mean(recall[..., 0, most]) for most in (0, 1, 2)),
        *(_mean(recall[..., size, 2]) for size in (1, 2, 3)),
    )


def _mean(values: np.ndarray) -> float:
    known = values[values > -1]
    return float(known.mean()) if len(known) else np.nan


def _index(annotations: Iterator[dict[str, Any]], images: int, classes: int) -> Any:
    """What pycocotools reads. Numbers of annotations begin with 1, because 0 means that there is none."""
    from pycocotools.coco import COCO  # noqa: PLC0415

    index = COCO()
    index.dataset = {
        "images": [{"id": number} for number in range(images)],
        "categories": [{"id": number} for number in range(classes)],
        "annotations": [{"id": number, **entry} for number, entry in enumerate(annotations, start=1)],
    }
    index.createIndex()
    return index


def _objects(truth: Sequence[Objects]) -> Iterator[dict[str, Any]]:
    for image, objects in enumerate(truth):
        ignored = (objects.difficult | objects.crowd).astype(int).tolist()
        for box, label, crowd in zip(_boxes(objects.boxes), objects.labels.tolist(), ignored, strict=True):
            yield {"image_id": image, "category_id": label, "iscrowd": crowd, **box}


def _detections(found: Sequence[Found]) -> Iterator[dict[str, Any]]:
    for image, part in enumerate(found):
        for box, label, score in zip(_boxes(part.boxes), part.classes.tolist(), part.scores.tolist(), strict=True):
            yield {"image_id": image, "category_id": label, "score": score, **box}


def _boxes(boxes: np.ndarray) -> Iterator[dict[str, Any]]:
    """Boxes as COCO has them: left, top, width and height."""
    boxes = boxes.astype("float64")
    sides = np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1)
    for box, area in zip(sides.tolist(), areas(boxes).tolist(), strict=True):
        yield {"bbox": box, "area": area}
