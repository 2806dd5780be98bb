"""The files of a report on detections agree with the evaluation and with each other."""

import csv
import json
import re

import numpy as np
import pytest
from PIL import Image

from keras_resnet.detection import Found, Objects, evaluate, write_report
from keras_resnet.detection.mistakes import MISSED, NOTHING, WRONG_CLASS
from tests import needs
from tests.detection import cells

pytestmark = needs.package("pycocotools")
FILES = {"metrics.json", "detections.csv", "precision_recall.png", "confusion.png", "misses.png", "report.html"}
NONE = np.zeros((0, 4)), np.zeros(0, int)


def objects(boxes, labels):
    no = np.zeros(len(labels), bool)
    return Objects(np.array(boxes, float).reshape(-1, 4), np.array(labels, int), no, no)


def pair(classes=("cell", "dust")):
    """Two images: a wrong class, something where nothing is, and a missed object."""
    found = [
        Found(np.array([[10, 10, 30, 30], [0, 0, 5, 5.5]]), np.array([1, 0]), np.array([0.9, 0.4])),
        Found(np.array([[10, 10, 30, 28]]), np.array([0]), np.array([0.8])),
    ]
    truth = [objects([[10, 10, 30, 30]], [0]), objects([[10, 10, 30, 30], [32, 2, 38, 9]], [0, 1])]
    return evaluate(found, truth, classes)


def gray(number):
    return np.full((32, 40, 3), 60 + number, "uint8")


def rows_of(directory):
    with (directory / "detections.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """The directory of a report of `pair`, and the numbers of the images that were asked for."""
    directory, seen = tmp_path_factory.mktemp("reports") / "report", []
    write_report(pair(), directory, "cats & dogs", lambda number: seen.append(number) or gray(number), ["a", "b"])
    return directory, seen


def test_the_files_have_what_the_evaluation_has(report):
    evaluation, (directory, seen) = pair(), report
    assert {path.name for path in directory.iterdir()} == FILES
    assert seen == evaluation.worst == [0, 1]
    figures = json.loads((directory / "metrics.json").read_text())
    assert figures["map50"] == evaluation.map50 == 0.25
    assert figures["coco"]["ap75"] == pytest.approx(evaluation.coco.ap75)
    assert figures["coco"]["ap_large"] is None
    assert [(row["name"], row["objects"], row["detections"]) for row in figures["per_class"]] == [
        ("cell", 2, 2),
        ("dust", 1, 1),
    ]
    assert figures["confusion"]["counts"] == [[1, 1, 0], [0, 0, 1], [1, 0, 0]]
    assert figures["most_confused"][0] == {"class": "cell", "answer": "dust", "count": 1}
    text = (directory / "report.html").read_text()
    assert "<h1>cats &amp; dogs</h1>" in text
    assert "<td>25.0%</td>" in text
    assert text.count("data:image/png;base64,") == 3
    assert not re.findall(r"https?://", text)


def test_each_detection_and_each_missed_object_has_a_row(report):
    rows = rows_of(report[0])
    shown = [(row["image"], row["outcome"], row["class"], row["object class"]) for row in rows]
    assert shown == [
        ("a", WRONG_CLASS, "dust", "cell"),
        ("a", NOTHING, "cell", ""),
        ("a", MISSED, "", "cell"),
        ("b", "right", "cell", "cell"),
        ("b", MISSED, "", "dust"),
    ]
    assert (rows[3]["score"], rows[3]["bottom"], rows[3]["overlap"]) == ("0.800000", "28.00", "0.9000")


@pytest.mark.slow
def test_names_of_strangers_are_text(tmp_path):
    text = write_report(pair(("<script>", "a$b\udcff")), tmp_path / "report", "a", gray).read_text()
    assert "<script" not in text
    assert "a$b\\xff" in text


@pytest.mark.slow
def test_without_mistakes_there_is_no_picture_of_misses(tmp_path):
    box = np.array([[1.0, 1, 9, 9]])
    perfect = evaluate([Found(box, np.array([0]), np.array([0.9]))], [objects(box, [0])], ["cell"])
    page = write_report(perfect, tmp_path / "report", "cells", gray)
    assert {path.name for path in (tmp_path / "report").iterdir()} == FILES - {"misses.png"}
    assert "is wrong, and no object is missed" in page.read_text()


def test_without_objects_there_are_no_curves(tmp_path):
    empty = evaluate([Found(*NONE, np.zeros(0))], [objects(*NONE)], ["cell"])
    page = write_report(empty, tmp_path / "report", "cells", gray)
    assert {path.name for path in (tmp_path / "report").iterdir()} == FILES - {"misses.png", "precision_recall.png"}
    assert "1 of 1 classes have no objects that count" in page.read_text()
    assert json.loads((tmp_path / "report" / "metrics.json").read_text())["map50"] is None


def test_names_are_one_for_each_image_and_files_are_not_replaced(tmp_path):
    with pytest.raises(ValueError, match="names must have a name for each of the 2 images. Received: 1 names"):
        write_report(pair(), tmp_path / "report", "cells", gray, ["a"])
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match="report must be a new or empty directory"):
        write_report(pair(), tmp_path, "cells", gray)


@pytest.mark.slow
def test_many_classes_have_curves_of_the_weakest(tmp_path):
    rng = np.random.default_rng(0)
    boxes = np.concatenate([corner := rng.uniform(0, 20, (200, 2)), corner + 10], axis=1)
    labels = np.arange(200) % 50
    truth = [objects(boxes[start : start + 4], labels[start : start + 4]) for start in range(0, 200, 4)]
    found = [Found(image.boxes + rng.normal(0, 0.5), image.labels, rng.random(4)) for image in truth]
    page = write_report(evaluate(found, truth, [f"kind {n}" for n in range(50)]), tmp_path / "report", "many", gray)
    assert page.read_text().count("<tr>") == 9 + 1 + 50 + 1
    with Image.open(tmp_path / "report" / "precision_recall.png") as picture:
        width, height = picture.size
    assert height > 2 * width


@needs.shared_data
@pytest.mark.slow
def test_a_report_on_real_cells(tmp_path):
    names = cells.names("test")[:6]
    truth = [cells.objects(name) for name in names]
    rng = np.random.default_rng(0)
    evaluation = evaluate([cells.noisy(image, rng) for image in truth], truth, cells.CLASSES)
    write_report(evaluation, tmp_path / "report", "cells", lambda number: cells.image(names[number]), names)
    rows = rows_of(tmp_path / "report")
    assert len(rows) == sum(len(image.scores) for image in evaluation.found) + sum(row["class"] == "" for row in rows)
    outcomes = [row["outcome"] for row in rows]
    assert outcomes.count("right") == evaluation.confusion.diagonal().sum() > 40
    assert outcomes.count(NOTHING) + outcomes.count("duplicate") == evaluation.confusion[-1].sum()
    assert outcomes.count(MISSED) - outcomes.count(WRONG_CLASS) <= evaluation.confusion[:, -1].sum()
