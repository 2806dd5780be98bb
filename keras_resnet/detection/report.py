"""`write_report`: an evaluation of detections as files that people and programs read."""

from __future__ import annotations

import csv
import dataclasses
import json
import math
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from keras_resnet._internal.atomic_files import writing
from keras_resnet._internal.validation import printable
from keras_resnet.detection.coco_ap import CocoAP
from keras_resnet.detection.evaluation import ClassResult, Evaluation
from keras_resnet.detection.mistakes import DUPLICATE, MISSED, NO_OBJECT, NOTHING, OVERLAP, RIGHT, is_wrong
from keras_resnet.evaluation.html_page import page, percent, picture, table
from keras_resnet.evaluation.report import new_directory
from keras_resnet.plots.boxes import LabeledBox, Tile, plot_boxes
from keras_resnet.plots.confusion import most_confused, plot_confusion
from keras_resnet.plots.precision_recall import Panel, plot_precision_recall
from keras_resnet.plots.style import BLUE, ORANGE, shortened

ROWS = 100  # classes in the table of report.html; metrics.json has all
CURVES = 40  # classes in precision_recall.png, the ones with the lowest average precision
WORST = 12  # images in misses.png
COLUMNS = (
    *("image", "outcome", "class", "score", "left", "top", "right", "bottom"),
    *("object class", "overlap", "class index", "object class index"),
)
FOUND_OBJECT, MISSED_OBJECT = LabeledBox((), "object", BLUE, 0.7), LabeledBox((), "missed object", BLUE, 1.6)
RIGHT_BOX = LabeledBox((), "right detection", ORANGE, 0.7, dashed=True)
WRONG_BOX = LabeledBox((), "wrong detection", ORANGE, 1.6, dashed=True)


def write_report(
    evaluation: Evaluation,
    directory: str | os.PathLike[str],
    title: str,
    image_of: Callable[[int], np.ndarray],
    names: Sequence[str] | None = None,
) -> Path:
    """Writes an evaluation to a directory.

    The directory gets `metrics.json` (all figures), `detections.csv` (each detection and each missed object),
    `precision_recall.png`, `confusion.png`, `misses.png` (the images with the most mistakes), and `report.html`, one
    file with all of it that needs no network. Without any object there is no curve, and without a mistake no picture of
    misses.

    Args:
        evaluation: the result of `evaluate`.
        directory: the directory to write; it must be new or empty.
        title: what was evaluated, the heading of the report.
        image_of: function that returns the pixels of an image, uint8 (H, W, C), from its number in the evaluation; it
            is called for the images that are drawn, at most 12.
        names: names of the images. None: their numbers.

    Returns:
        The path of `report.html`.

    Raises:
        ValueError: `directory` is a file or is not empty, `names` has not one name for each image, or pycocotools is
            not installed.
        OSError: a file cannot be written.

    Example:
        >>> from keras_resnet.detection import evaluate, write_report
        >>> write_report(evaluate(found, truth, classes), "report", "cells", images.__getitem__)  # doctest: +SKIP
    """
    count = len(evaluation.found)
    names = list(map(str, range(count))) if names is None else list(map(printable, names))
    if len(names) != count:
        raise ValueError(f"names must have a name for each of the {count} images. Received: {len(names)} names")
    evaluation = dataclasses.replace(evaluation, classes=tuple(map(printable, evaluation.classes)))
    per_class = evaluation.per_class
    path = new_directory(directory)
    with writing(path):
        (path / "metrics.json").write_text(json.dumps(figures_of(evaluation), indent=2) + "\n", "utf-8")
        _write_detections(evaluation, names, path / "detections.csv")
        _plot_curves(evaluation, path / "precision_recall.png")
        rows, columns = _sides(evaluation)
        plot_confusion(evaluation.confusion, rows, path / "confusion.png", columns, "objects or detections")
        _plot_misses(evaluation, image_of, names, path / "misses.png")
        content = page(printable(title), _parts(evaluation, per_class, path))
        (path / "report.html").write_text(content, "utf-8")
    return path / "report.html"


def figures_of(evaluation: Evaluation) -> dict[str, Any]:
    """The content of `metrics.json`. A figure of no objects is null; averages leave out classes without objects."""
    rows, columns = _sides(evaluation)
    per_class = evaluation.per_class
    return {
        "images": len(evaluation.found),
        "objects": sum(row.objects for row in per_class),
        "detections": sum(row.detections for row in per_class),
        "map50": _json(evaluation.map50),
        "map50_2007": _json(evaluation.map50_2007),
        "coco": _coco(evaluation.coco),
        "classes_without_objects": evaluation.without_objects,
        "per_class": [
            {
                "name": row.name,
                "objects": row.objects,
                "detections": row.detections,
                "ap50": _json(row.ap50),
                "ap50_2007": _json(row.ap50_2007),
                "best_f1": {key: _json(value) for key, value in {**row.best._asdict(), "f1": row.best.f1}.items()},
                "coco": _coco(row.coco),
            }
            for row in per_class
        ],
        "confusion": {
            "least_score": evaluation.least_score,
            "overlap": OVERLAP,
            "right_class": rows,
            "answer": columns,
            "counts": evaluation.confusion.tolist(),
        },
        "most_confused": [
            {"class": rows[row], "answer": columns[column], "count": int(evaluation.confusion[row, column])}
            for row, column in most_confused(evaluation.confusion)
        ],
    }


def _coco(figures: CocoAP) -> dict[str, float | None]:
    return {name: _json(value) for name, value in figures._asdict().items()}


def _json(value: float) -> float | None:
    return None if math.isnan(value) else float(value)


def _sides(evaluation: Evaluation) -> tuple[list[str], list[str]]:
    """Names of the rows and of the columns of the confusion matrix."""
    return [*evaluation.classes, NOTHING], [*evaluation.classes, MISSED]


def _write_detections(evaluation: Evaluation, names: Sequence[str], path: Path) -> None:
    """Writes a row for each detection and each missed object. The box of a missed object is its own."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for number, name in enumerate(names):
            writer.writerows((name, *row) for row in _rows(evaluation, number))


def _rows(evaluation: Evaluation, number: int) -> Iterator[Sequence[Any]]:
    found, objects, compared = evaluation.image(number)
    classes = evaluation.classes
    for row, (box, label, score) in enumerate(zip(*found, strict=True)):
        pair = compared.pairs[row]
        known = pair != NO_OBJECT
        right = int(objects.labels[pair]) if known else ""
        overlap = f"{evaluation.coverages[number][row, pair]:.4f}" if known else ""
        name = classes[right] if isinstance(right, int) else ""
        yield compared.outcomes[row], classes[label], f"{score:.6f}", *_place(box), name, overlap, int(label), right
    for box, label in zip(objects.boxes[compared.missed], objects.labels[compared.missed], strict=True):
        yield MISSED, "", "", *_place(box), classes[label], "", "", int(label)


def _place(box: np.ndarray) -> list[str]:
    return [f"{side:.2f}" for side in box]


def _plot_curves(evaluation: Evaluation, path: Path) -> None:
    panels = [
        Panel(
            name, curve.objects, curve.recall, curve.precision, curve.envelope, curve.area, (score, recall, precision)
        )
        for name, curve in zip(evaluation.classes, evaluation.curves, strict=True)
        if curve.objects
        for score, precision, recall in [curve.best]
    ]
    title = f"mAP@.5 {percent(evaluation.map50)}: the mean of the areas"
    if len(panels) > CURVES:
        title += f"; the {CURVES} of {len(panels):,} classes with the lowest AP"
        panels = sorted(panels, key=lambda panel: panel.average)[:CURVES]
    if panels:
        plot_precision_recall(panels, title, path)


def _plot_misses(
    evaluation: Evaluation, image_of: Callable[[int], np.ndarray], names: Sequence[str], path: Path
) -> None:
    tiles = [_tile(evaluation, number, image_of(number), names[number]) for number in evaluation.worst[:WORST]]
    if tiles:
        plot_boxes(tiles, (FOUND_OBJECT, MISSED_OBJECT, RIGHT_BOX, WRONG_BOX), path)


def _tile(evaluation: Evaluation, number: int, image: np.ndarray, name: str) -> Tile:
    """An image with its mistakes, which have labels, and under them what is right."""
    found, objects, compared = evaluation.image(number)
    wrong, classes = is_wrong(compared), [shortened(each, 16) for each in evaluation.classes]
    mistakes = [
        WRONG_BOX._replace(
            box=found.boxes[row],
            text=f"{classes[found.classes[row]]} {found.scores[row]:.0%}"
            + (f", {DUPLICATE}" if compared.outcomes[row] == DUPLICATE else ""),
        )
        for row in np.flatnonzero(wrong)
    ]
    missed = [
        MISSED_OBJECT._replace(box=objects.boxes[row], text=f"{MISSED} {classes[objects.labels[row]]}")
        for row in np.flatnonzero(compared.missed)
    ]
    right = [
        RIGHT_BOX._replace(box=found.boxes[row], text="")
        for row, outcome in enumerate(compared.outcomes)
        if outcome == RIGHT
    ]
    seen = [FOUND_OBJECT._replace(box=box, text="") for box in objects.boxes[~compared.missed]]
    title = f"{shortened(name, 40)}: {len(missed)} missed, {len(mistakes)} wrong, {len(right)} right"
    return Tile(image, title, [*missed, *mistakes, *right, *seen])


def _parts(evaluation: Evaluation, per_class: Sequence[ClassResult], path: Path) -> Iterator[str]:
    coco = evaluation.coco
    yield table(
        ("", ""),
        [
            ("images", f"{len(evaluation.found):,}"),
            ("objects", f"{sum(row.objects for row in per_class):,}"),
            ("detections", f"{sum(row.detections for row in per_class):,}"),
            ("mAP@.5 (PASCAL VOC, area)", percent(evaluation.map50)),
            ("mAP@.5 (PASCAL VOC 2007, 11 points)", percent(evaluation.map50_2007)),
            ("AP (COCO, overlaps from 0.5 to 0.95)", percent(coco.ap)),
            ("AP50, AP75", f"{percent(coco.ap50)}, {percent(coco.ap75)}"),
            ("AP of small, medium, large", ", ".join(map(percent, coco[3:6]))),
            ("AR of 1, 10, 100 detections", ", ".join(map(percent, coco[6:9]))),
        ],
    )
    if absent := evaluation.without_objects:
        yield (
            f'<p class="note">{len(absent):,} of {len(evaluation.classes):,} classes have no objects that count. '
            "Averages leave them out.</p>"
        )
    yield "<h2>Classes</h2>"
    yield from _classes(per_class)
    if (path / "precision_recall.png").exists():
        yield picture(path / "precision_recall.png", "precision and recall of each class")
    yield "<h2>Confusion</h2>"
    yield (
        f'<p class="note">Detections with a score of at least {evaluation.least_score:g} and an overlap of at least '
        f"{OVERLAP:g}. The last column counts objects without a detection; the last row counts detections where no "
        "object is, or whose object has a better detection.</p>"
    )
    yield picture(path / "confusion.png", "confusion matrix")
    yield "<h2>Mistakes</h2>"
    if (path / "misses.png").exists():
        yield (
            '<p class="note">The images with the most mistakes: missed objects, and wrong detections by their score. '
            "Mistakes have labels; detections.csv has all of them.</p>"
        )
        yield picture(path / "misses.png", "images with the most mistakes")
    else:
        least = f"{evaluation.least_score:g}"
        yield f'<p class="note">No detection with a score of at least {least} is wrong, and no object is missed.</p>'


def _classes(per_class: Sequence[ClassResult]) -> Iterator[str]:
    rows = sorted((row for row in per_class if row.objects), key=lambda row: (row.ap50, row.name))
    more = f" {len(rows) - ROWS:,} more classes are in metrics.json." if len(rows) > ROWS else ""
    yield (
        '<p class="note">The classes with the lowest average precision come first. Precision and recall are those at '
        f"the score with the highest F1.{more}</p>"
    )
    yield table(
        ("class", "objects", "detections", "AP@.5", "AP (COCO)", "AR100", "score", "precision", "recall"),
        [
            (
                row.name,
                f"{row.objects:,}",
                f"{row.detections:,}",
                *map(percent, (row.ap50, row.coco.ap, row.coco.ar100)),
                "-" if math.isnan(row.best.score) else f"{row.best.score:.2f}",
                *map(percent, (row.best.precision, row.best.recall)),
            )
            for row in rows[:ROWS]
        ],
    )
