"""The files of a report agree with each other and with the evaluation, and hold whatever a data set has."""

import csv
import json
import re

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import accuracy_score, confusion_matrix

import keras_resnet as kr
from keras_resnet.evaluation import write_report
from keras_resnet.evaluation.metrics import Answers
from keras_resnet.evaluation.result import Evaluation, Mistake
from keras_resnet.plots.confusion import most_confused, plot_confusion
from tests.conftest import quick_among

FILES = {"metrics.json", "predictions.csv", "confusion.png", "reliability.png", "mistakes.png", "report.html"}


def evaluation(count=60, classes=4, seed=0, names=None):
    rng = np.random.default_rng(seed)
    labels = np.random.default_rng(0).integers(0, classes, count)
    probabilities = rng.dirichlet(np.ones(classes), count)
    probabilities[np.arange(count), labels] += 0.2
    probabilities /= probabilities.sum(-1, keepdims=True)
    best = np.argsort(-probabilities)[:, :5]
    rows = np.arange(count)
    found = Answers(
        tuple(f"class {number}" for number in range(classes)) if names is None else names,
        tuple(f"image_{row}.png" for row in rows),
        labels,
        best,
        probabilities[rows[:, None], best],
        -np.log(probabilities[rows, labels]),
    )
    wrong = np.flatnonzero(~found.right)[:5]
    return Evaluation(found, [Mistake(index, np.full((8, 8, 3), index, "uint8")) for index in wrong])


def test_the_figures_are_those_of_the_predictions(tmp_path):
    found = evaluation()
    page = write_report(found, tmp_path / "report", "cats & dogs")
    assert {path.name for path in (tmp_path / "report").iterdir()} == FILES
    figures = json.loads((tmp_path / "report" / "metrics.json").read_text())
    with (tmp_path / "report" / "predictions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    right, answers = ([row[column] for row in rows] for column in ("class", "answer"))
    assert figures["top1"] == accuracy_score(right, answers) == found
    matrix = confusion_matrix(right, answers, labels=found.answers.classes)
    pair = figures["most_confused"][0]
    wrong = matrix - np.diag(matrix.diagonal())
    assert pair["images"] == wrong.max() == wrong[int(pair["class"][-1]), int(pair["answer"][-1])]
    assert [row["support"] for row in figures["per_class"]] == matrix.sum(1).tolist()
    assert np.mean([float(row["loss"]) for row in rows]) == pytest.approx(figures["loss"], abs=1e-6)
    text = page.read_text()
    assert "<h1>cats &amp; dogs</h1>" in text
    assert f"{found:.2%}" in text


def test_the_page_needs_no_other_file_and_no_network(tmp_path):
    text = write_report(evaluation(names=("<script>", "b", "c", "d")), tmp_path / "report", "a").read_text()
    assert not re.findall(r"https?://", text)
    assert set(re.findall(r'src="([^"]{0,22})', text)) == {"data:image/png;base64,"}
    assert text.count("data:image/png;base64,") == 3
    assert "<script" not in text
    assert "&lt;script&gt;" in text


def test_two_networks_are_compared(tmp_path):
    new, old = evaluation(seed=1), evaluation(seed=2)
    text = write_report(new, tmp_path / "report", "a", baseline=old).read_text()
    figures = json.loads((tmp_path / "report" / "metrics.json").read_text())["baseline"]
    right, before = new.answers.right, old.answers.right
    assert (figures["fixed"], figures["broken"]) == (sum(right & ~before), sum(before & ~right))
    assert f"top-1 {old:.2%} before, {new:.2%} now" in text
    broken = new.answers.names[np.flatnonzero(before & ~right)[0]]
    assert f"<td>{broken}</td>" in text.partition("Became wrong")[2].partition("Became right")[0]


def test_a_report_does_not_replace_files(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match="report must be a new or empty directory. Received: .* with files"):
        write_report(evaluation(), tmp_path, "a")
    with pytest.raises(ValueError, match="report must be a directory"):
        write_report(evaluation(), tmp_path / "notes.txt", "a")
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_without_a_wrong_answer_there_is_no_picture_of_mistakes(tmp_path):
    labels = np.array([0, 1, 1])
    right = Answers(
        ("a", "b"), ("1", "2", "3"), labels, np.array([[0, 1], [1, 0], [1, 0]]), np.full((3, 2), 0.5), labels
    )
    text = write_report(Evaluation(right), tmp_path / "report", "a").read_text()
    assert "No answer is wrong." in text
    assert not (tmp_path / "report" / "mistakes.png").exists()


def test_names_that_are_not_utf_8_are_escaped(tmp_path):
    found = evaluation(names=("\udcff", "b", "c", "d"))
    write_report(found, tmp_path / "report", "a")
    assert "\\xff" in (tmp_path / "report" / "predictions.csv").read_text("utf-8")


@pytest.mark.slow
def test_mistakes_have_heat_maps_if_the_network_is_there(tmp_path):
    model = kr.ResNet20(input_shape=(8, 8, 1))
    images = np.random.default_rng(0).integers(0, 256, (20, 8, 8, 1)).astype("uint8")
    found = kr.evaluation.evaluate(model, (images, np.arange(20) % 10))
    assert [found.answers.losses[mistake.number] for mistake in found.mistakes] == sorted(
        (loss for loss, right in zip(found.answers.losses, found.answers.right, strict=True) if not right), reverse=True
    )[:12]
    for mistake in found.mistakes:
        np.testing.assert_array_equal(mistake.image, images[mistake.number])
    text = write_report(found, tmp_path / "report", "a", model).read_text()
    assert "(Grad-CAM)" in text
    with Image.open(tmp_path / "report" / "mistakes.png") as picture:
        pixels = np.asarray(picture.convert("RGB")).astype(int)
    assert (np.ptp(pixels, axis=-1) > 60).any()  # the images are gray, the maps have colors


@pytest.mark.parametrize("classes", quick_among([1, 3, 10, 30, 31, 100, 1000], 3, 31))
def test_confusion_is_drawn_for_any_number_of_classes(classes, tmp_path):
    matrix = np.random.default_rng(0).integers(0, 3, (classes, classes))
    names = [f"a class with a very long name, number {number}" for number in range(classes)]
    plot_confusion(matrix, names, tmp_path / "confusion.png")
    with Image.open(tmp_path / "confusion.png") as picture:
        assert max(picture.size) < 4000
        pixels = np.asarray(picture.convert("L"))
    assert pixels[0].min() == pixels[-1].min() == pixels[:, 0].min() == pixels[:, -1].min() == 255  # nothing is cut off


def test_pairs_without_images_are_not_confused():
    assert most_confused(np.diag([3, 4])) == []
