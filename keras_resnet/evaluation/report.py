"""`write_report`: an evaluation as files that people and programs read."""

from __future__ import annotations

import csv
import dataclasses
import html
import json
import math
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_resnet._internal.atomic_files import writing
from keras_resnet._internal.validation import directory as checked_directory
from keras_resnet._internal.validation import printable
from keras_resnet.evaluation.html_page import page, percent, picture, table
from keras_resnet.evaluation.metrics import NO_ANSWER, ClassMetrics, Flips, Interval, classes_of_baseline, flips, macro
from keras_resnet.evaluation.result import Evaluation
from keras_resnet.explain import heat_maps
from keras_resnet.plots.confusion import most_confused, plot_confusion
from keras_resnet.plots.overlay import plot_overlays
from keras_resnet.plots.reliability import plot_reliability
from keras_resnet.plots.style import shortened

ROWS = 100  # classes in the table of report.html; metrics.json has all
MESSAGE = 300  # characters of an error in a note
CHANGED = 50  # images that answers changed for, in report.html


def write_report(
    evaluation: Evaluation,
    directory: str | os.PathLike[str],
    title: str,
    model: keras.Model | None = None,
    baseline: Evaluation | None = None,
) -> Path:
    """Writes an evaluation to a directory.

    The directory gets `metrics.json` (all figures), `predictions.csv` (each image: its name, class, answer, probability
    and loss), `confusion.png`, `reliability.png`, `mistakes.png` (the wrong answers with the largest losses), and
    `report.html`, one file with all of it that needs no network.

    Args:
        evaluation: the result of `evaluate`.
        directory: the directory to write; it must be new or empty.
        title: what was evaluated, the heading of the report.
        model: the network; with it `mistakes.png` shows by Grad-CAM what speaks for the wrong answer.
        baseline: the evaluation of another network on the same images, to compare with.

    Returns:
        The path of `report.html`.

    Raises:
        ValueError: `directory` is a file or is not empty; or `baseline` has other images or classes.
        TypeError: `evaluation` or `baseline` is not a result of `evaluate`.
        OSError: a file cannot be written.

    Example:
        >>> import keras_resnet as kr
        >>> model, digits = kr.ResNet20(input_shape=(8, 8, 1)), kr.data.load("digits", "test")
        >>> kr.evaluation.write_report(kr.evaluation.evaluate(model, digits), "report", "digits")  # doctest: +SKIP
    """
    evaluation = _printable("evaluation", evaluation)
    baseline = None if baseline is None else _printable("baseline", baseline)
    changes = None if baseline is None else flips(evaluation.answers, baseline.answers)
    path = new_directory(directory)
    with writing(path):
        figures = figures_of(evaluation, baseline, changes)
        (path / "metrics.json").write_text(json.dumps(figures, indent=2) + "\n", "utf-8")
        _write_predictions(evaluation, baseline, path / "predictions.csv")
        plot_confusion(evaluation.confusion, evaluation.answers.classes, path / "confusion.png")
        if bins := evaluation.reliability:
            _, _, count, confidence, accuracy = zip(*bins, strict=True)
            plot_reliability(confidence, accuracy, count, evaluation.calibration_error, path / "reliability.png")
        note = _plot_mistakes(evaluation, model, path / "mistakes.png")
        content = _page(evaluation, path, printable(title), note, baseline, changes)
        (path / "report.html").write_text(content, "utf-8")
    return path / "report.html"


def check_directory(directory: str | os.PathLike[str]) -> Path:
    """The path of a directory for a report.

    Raises:
        ValueError: it is a file or is not empty.
    """
    path = checked_directory("report", directory)
    if path.is_dir() and any(path.iterdir()):
        raise ValueError(f"report must be a new or empty directory. Received: {printable(path)} with files")
    return path


def new_directory(directory: str | os.PathLike[str]) -> Path:
    """The path of a directory for a report, which is made; so a long evaluation does not end where none can be made.

    Raises:
        ValueError: it is a file or is not empty.
        OSError: it cannot be made.
    """
    path = check_directory(directory)
    with writing(path):
        path.mkdir(parents=True, exist_ok=True)
    return path


def _printable(argument: str, evaluation: Any) -> Evaluation:
    """The evaluation with names that can be written: names of files may have bytes that are not UTF-8."""
    if not isinstance(evaluation, Evaluation):
        raise TypeError(
            f"{argument} must be a result of keras_resnet.evaluation.evaluate. Received: {argument}={evaluation!r:.100}"
        )
    answers = evaluation.answers
    names, classes = (tuple(map(printable, texts)) for texts in (answers.names, answers.classes))
    return Evaluation(dataclasses.replace(answers, names=names, classes=classes), evaluation.mistakes)


def figures_of(evaluation: Evaluation, baseline: Evaluation | None, changes: Flips | None) -> dict[str, Any]:
    """The content of `metrics.json`. A fraction of no images is null.

    The images of `not_finite` have outputs that are not finite; they count as wrong. Averages over classes ("macro",
    "balanced") are those of the classes that have images.
    """
    answers = evaluation.answers
    figures: dict[str, Any] = {
        "images": evaluation.count,
        "classes": len(answers.classes),
        "top1": evaluation.top1,
        "top1_interval": list(evaluation.interval),
        "top5": evaluation.top5,
        "balanced_accuracy": evaluation.balanced_accuracy,
        "macro_precision": macro(evaluation.per_class, "precision"),
        "macro_f1": evaluation.macro_f1,
        "loss": evaluation.loss,
        "calibration_error": _json(evaluation.calibration_error),
        "not_finite": int(answers.not_finite.sum()),
        "reliability": [row._asdict() for row in evaluation.reliability],
        "per_class": [{name: _json(value) for name, value in row._asdict().items()} for row in evaluation.per_class],
        "most_confused": [
            {
                "class": answers.classes[row],
                "class_index": int(row),
                "answer": answers.classes[column],
                "answer_index": int(column),
                "images": int(evaluation.confusion[row, column]),
            }
            for row, column in most_confused(evaluation.confusion)
        ],
    }
    if baseline is not None and changes is not None:
        figures["baseline"] = {
            "top1": baseline.top1,
            "fixed": len(changes.fixed),
            "broken": len(changes.broken),
            "p_value": changes.p_value,
            "per_class": [
                {"name": now.name, "support": now.support, "recall_before": before.recall, "recall": now.recall}
                for now, before in _both(evaluation, baseline)
            ],
        }
    return figures


def _json(value: Any) -> Any:
    if isinstance(value, Interval):
        return list(value)
    return None if isinstance(value, float) and math.isnan(value) else value


def _both(new: Evaluation, old: Evaluation) -> list[tuple[ClassMetrics, ClassMetrics]]:
    """The figures of each class that has images, of a network and of its baseline."""
    pairs = classes_of_baseline(new.answers, old.answers)
    return [(new.per_class[label], old.per_class[before]) for label, before in pairs.items()]


def _write_predictions(evaluation: Evaluation, baseline: Evaluation | None, path: Path) -> None:
    """Writes a row for each image. Classes have their indices too, because two classes may have the same name."""
    answers = evaluation.answers
    columns = ["image", "class", "answer", "right", "probability", "loss", "top 5", "class index", "answer index"]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow([*columns, *([] if baseline is None else ["baseline answer"])])
        for row, (name, label, best, probabilities, loss) in enumerate(
            zip(answers.names, answers.labels, answers.best, answers.probabilities, answers.losses, strict=True)
        ):
            known = best[0] != NO_ANSWER
            top = "; ".join(f"{answers.classes[i]} {p:.4f}" for i, p in zip(best, probabilities, strict=True) if known)
            sure, index = (f"{probabilities[0]:.6f}", int(best[0])) if known else ("", "")
            writer.writerow(
                [
                    *(name, answers.classes[label], answers.name_of(best[0]), int(best[0] == label), sure),
                    *(f"{loss:.6f}", top, int(label), index),
                    *([] if baseline is None else [baseline.answers.name_of(baseline.answers.best[row, 0])]),
                ]
            )


def _plot_mistakes(evaluation: Evaluation, model: keras.Model | None, path: Path) -> str:
    """Draws the mistakes, if there are any; returns a note for the report."""
    answers = evaluation.answers
    if not evaluation.mistakes:
        return "No answer is wrong." if answers.right.all() else "The evaluation has no images of the wrong answers."
    images = np.stack([mistake.image for mistake in evaluation.mistakes])
    answered = [int(answers.best[mistake.number, 0]) for mistake in evaluation.mistakes]
    note = ""
    maps: list[list[tuple[np.ndarray, str]]] = [[] for _ in images]
    if model is not None:
        try:
            found = heat_maps(model, images, np.maximum(answered, 0).tolist())  # maps of what is not finite are blank
        except Exception as error:  # a network without maps, too little memory: the report is whole without them
            note = f"Without heat maps: {' '.join(str(error).split())[:MESSAGE]}"
        else:
            maps = [
                [(heat, f"speaks for\n{shortened(answers.name_of(index))}")] for heat, index in zip(found, answered)
            ]
            note = "Bright places speak for the wrong answer (Grad-CAM). Each map is scaled by itself."
    rows = []
    for mistake, answer, shown in zip(evaluation.mistakes, answered, maps, strict=True):
        sure = answers.probabilities[mistake.number, 0]
        right = answers.classes[answers.labels[mistake.number]]
        said = "no answer" if answer == NO_ANSWER else f"{shortened(answers.classes[answer])} ({sure:.0%})"
        name = Path(answers.names[mistake.number]).name
        name = f"image {name}" if name.isdigit() else shortened(name)  # a number, if images are not single files
        rows.append((mistake.image, f"{name}\n{said}\nis {shortened(right)}", shown))
    plot_overlays(rows, path)
    return note


def _page(
    evaluation: Evaluation, path: Path, title: str, note: str, baseline: Evaluation | None, changes: Flips | None
) -> str:
    interval = evaluation.interval
    numbers = [
        ("images", f"{evaluation.count:,}"),
        ("top-1", f"{evaluation:.2%}"),
        ("95 % interval of top-1", f"{interval.low:.1%} to {interval.high:.1%}"),
        ("top-5", f"{evaluation.top5:.2%}"),
        ("balanced accuracy", f"{evaluation.balanced_accuracy:.2%}"),
        ("macro F1 of classes with images", f"{evaluation.macro_f1:.2%}"),
        ("loss", f"{evaluation.loss:.4f}"),
        ("expected calibration error", percent(evaluation.calibration_error)),
    ]
    lost = int(evaluation.answers.not_finite.sum())
    parts = [
        table(("", ""), numbers),
        f'<p class="note">The outputs for {lost:,} images are not finite (NaN or infinity). They count as wrong.</p>'
        if lost
        else "",
        *(_comparison(evaluation, baseline, changes) if baseline is not None and changes is not None else ()),
        "<h2>Classes</h2>",
        *_classes(evaluation),
        "<h2>Confusion</h2>",
        picture(path / "confusion.png", "confusion matrix"),
        "<h2>Mistakes</h2>",
        f'<p class="note">{html.escape(_about_mistakes(evaluation) + note)}</p>',
        picture(path / "mistakes.png", "wrong answers with the largest losses") if evaluation.mistakes else "",
        "<h2>Calibration</h2>",
        picture(path / "reliability.png", "accuracy by confidence") if evaluation.reliability else "",
    ]
    return page(title, parts)


def _classes(evaluation: Evaluation) -> Iterable[str]:
    rows = sorted((row for row in evaluation.per_class if row.support), key=lambda row: (row.recall, row.name))
    yield (
        '<p class="note">The classes with the lowest recall come first. The interval of the recall has a confidence of '
        f"95 %.{f' {len(rows) - ROWS:,} more classes are in metrics.json.' if len(rows) > ROWS else ''}</p>"
    )
    yield table(
        ("class", "images", "precision", "recall", "interval", "F1"),
        [
            (
                row.name,
                f"{row.support:,}",
                percent(row.precision),
                percent(row.recall),
                f"{row.interval.low:.0%} to {row.interval.high:.0%}",
                percent(row.f1),
            )
            for row in rows[:ROWS]
        ],
    )


def _comparison(new: Evaluation, old: Evaluation, changes: Flips) -> Iterable[str]:
    answers = new.answers
    yield "<h2>Against the baseline</h2>"
    yield (
        f"<p>top-1 {old:.2%} before, {new:.2%} now: {len(changes.fixed):,} images became right, "
        f"{len(changes.broken):,} became wrong (McNemar's test: p = {changes.p_value:.3g}).</p>"
    )
    changed = [(now, before) for now, before in _both(new, old) if before.recall != now.recall]
    changed.sort(key=lambda pair: -abs(pair[0].recall - pair[1].recall))
    if len(changed) > ROWS:
        yield f'<p class="note">The {ROWS} classes that changed most; metrics.json has all {len(changed):,}.</p>'
    if changed:
        yield table(
            ("class", "images", "recall before", "recall now"),
            [
                (now.name, f"{now.support:,}", percent(before.recall), percent(now.recall))
                for now, before in changed[:ROWS]
            ],
        )
    for title, numbers in (("Became wrong", changes.broken), ("Became right", changes.fixed)):
        if len(numbers):
            some = f", the first {CHANGED} of {len(numbers):,}" if len(numbers) > CHANGED else f" ({len(numbers):,})"
            yield f"<details><summary>{title}{some}</summary>"
            yield table(
                ("image", "class", "before", "now"),
                [
                    (
                        answers.names[index],
                        answers.classes[answers.labels[index]],
                        old.answers.name_of(old.answers.best[index, 0]),
                        answers.name_of(answers.best[index, 0]),
                    )
                    for index in numbers[:CHANGED]
                ],
                "names",
            )
            yield "</details>"


def _about_mistakes(evaluation: Evaluation) -> str:
    return (
        "The wrong answers with the largest losses, each under the name of its image. " if evaluation.mistakes else ""
    )
