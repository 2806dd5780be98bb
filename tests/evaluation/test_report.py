"""The files of a report agree with each other and with the evaluation, and hold whatever a data set has."""

import csv
import dataclasses
import html
import json
import re
import subprocess

import keras
import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import accuracy_score, balanced_accuracy_score, confusion_matrix, f1_score

import keras_resnet as kr
from keras_resnet.evaluation import write_report
from keras_resnet.evaluation.metrics import NO_ANSWER, Answers
from keras_resnet.evaluation.result import Evaluation, Mistake
from keras_resnet.plots.confusion import most_confused, plot_confusion
from tests import needs
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


def predictions(directory):
    with (directory / "predictions.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def calibration_error(rows):
    """The expected calibration error as the paper has it, in 15 ranges of the same width."""
    sure = np.array([float(row["probability"]) for row in rows])
    right = np.array([row["right"] == "1" for row in rows])
    ranges = [(sure > low / 15) & (sure <= (low + 1) / 15) for low in range(15)]
    return sum(abs(sure[part].sum() - right[part].sum()) for part in ranges) / len(rows)


def test_the_figures_are_those_of_the_predictions(tmp_path):
    found = evaluation(90, 7)
    labels = found.answers.labels.copy()
    labels[::4] = (labels[::4] + 3) % 7  # some classes are not among the five best
    found = Evaluation(dataclasses.replace(found.answers, labels=labels), found.mistakes)
    page = write_report(found, tmp_path / "report", "cats & dogs")
    assert {path.name for path in (tmp_path / "report").iterdir()} == FILES
    figures = json.loads((tmp_path / "report" / "metrics.json").read_text())
    rows = predictions(tmp_path / "report")
    right, answers = ([row[column] for row in rows] for column in ("class", "answer"))
    assert figures["top1"] == accuracy_score(right, answers) == found
    assert figures["balanced_accuracy"] == pytest.approx(balanced_accuracy_score(right, answers))
    assert figures["macro_f1"] == pytest.approx(f1_score(right, answers, average="macro"))
    top5 = [{entry.rpartition(" ")[0] for entry in row["top 5"].split("; ")} for row in rows]
    assert figures["top5"] == np.mean([row["class"] in best for row, best in zip(rows, top5, strict=True)]) < 1
    assert figures["calibration_error"] == pytest.approx(calibration_error(rows), abs=1e-5)
    matrix = confusion_matrix(right, answers, labels=found.answers.classes)
    np.testing.assert_array_equal(matrix, found.confusion)
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
    with pytest.raises(OSError, match="File name too long"):
        write_report(evaluation(), tmp_path / ("long" * 100), "a")
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_without_a_wrong_answer_there_is_no_picture_of_mistakes(tmp_path):
    labels = np.array([0, 1, 1])
    right = Answers(
        ("a", "b"), ("1", "2", "3"), labels, np.array([[0, 1], [1, 0], [1, 0]]), np.full((3, 2), 0.5), labels
    )
    text = write_report(Evaluation(right), tmp_path / "report", "a").read_text()
    assert "No answer is wrong." in text
    assert not (tmp_path / "report" / "mistakes.png").exists()


# matplotlib takes `$` for formulas, and has no glyphs for some of these; CSV has its own marks.
ODD = ("\udcff", "", "$x$", "$$", "a\nb", "a\r,b", '"q', "\0\x1b[1m", "=cm()", "中文", "עברית", "👧", "<i>", 99 * "x")


def test_any_names_are_written(tmp_path):
    """`predictions.csv` is for programs, which find the same names again: formulas of spreadsheets stay too."""
    found = evaluation(200, len(ODD), names=ODD)
    files = tuple(f"{name}{number}" for number, name in enumerate(ODD * 20))[:200]
    found = Evaluation(dataclasses.replace(found.answers, names=files), found.mistakes)
    text = write_report(found, tmp_path / "report", "a \udcff $x$").read_text("utf-8")
    printed = [name.replace("\udcff", "\\xff") for name in ODD]
    rows = predictions(tmp_path / "report")
    assert [row["class"] for row in rows] == [printed[label] for label in found.answers.labels]
    assert [row["image"] for row in rows] == [name.replace("\udcff", "\\xff") for name in files]
    assert "<h1>a \\xff $x$</h1>" in text
    assert "<td>&lt;i&gt;</td>" in text


def test_outputs_that_are_not_finite_are_noted(tmp_path):
    found = evaluation(4, 3)
    nothing = {"best": np.full((4, 3), NO_ANSWER), "probabilities": np.full((4, 3), np.nan)}
    found = Evaluation(dataclasses.replace(found.answers, **nothing), found.mistakes)
    text = write_report(found, tmp_path / "report", "a").read_text()
    assert "The outputs for 4 images are not finite" in text
    figures = json.loads((tmp_path / "report" / "metrics.json").read_text(), parse_constant=pytest.fail)
    assert (figures["not_finite"], figures["calibration_error"], figures["reliability"]) == (4, None, [])
    assert (figures["top1"], figures["most_confused"]) == (0, [])
    answered = {(row["answer"], row["probability"], row["answer index"]) for row in predictions(tmp_path / "report")}
    assert answered == {("", "", "")}


def test_classes_of_the_same_name_are_told_apart_by_their_indices(tmp_path):
    found = evaluation(4, 3)
    answers = dataclasses.replace(found.answers, classes=("crane", "crane", "crane"))
    write_report(Evaluation(answers, found.mistakes), tmp_path / "report", "a")
    rows = predictions(tmp_path / "report")
    assert [int(row["class index"]) for row in rows] == answers.labels.tolist()
    assert [int(row["answer index"]) for row in rows] == answers.best[:, 0].tolist()


def test_without_images_of_the_wrong_answers_the_report_does_not_say_that_none_is_wrong(tmp_path):
    found = evaluation(4, 3)
    wrong = dataclasses.replace(found.answers, labels=(found.answers.best[:, 0] + 1) % 3)
    text = write_report(Evaluation(wrong), tmp_path / "report", "a").read_text()
    assert "No answer is wrong" not in text
    assert "The evaluation has no images of the wrong answers" in text


def test_of_many_classes_those_that_changed_most_are_compared(tmp_path):
    count = 150
    labels = np.repeat(np.arange(count), 2)
    best, losses = labels[:, None].copy(), np.zeros(2 * count, "float32")
    names, ones = tuple(map(str, range(2 * count))), np.ones((2 * count, 1), "float32")
    classes = tuple(f"class {index}" for index in range(count))
    before = Evaluation(Answers(classes, names, labels, best, ones, losses))
    now = best.copy()
    now[1:-2:2] = (now[1:-2:2] + 1) % count  # half of the images of each class become wrong, and all of the last one
    now[-2:] = 0
    report = write_report(
        Evaluation(Answers(classes, names, labels, now, ones, losses)), tmp_path / "report", "a", baseline=before
    )
    compared = report.read_text().partition("Against the baseline")[2].partition("Became wrong")[0]
    assert "The 100 classes that changed most; metrics.json has all 150." in compared
    assert compared.index("class 149") < compared.index("class 0<")
    figures = json.loads((tmp_path / "report" / "metrics.json").read_text())["baseline"]
    assert figures["per_class"][149] == {"name": "class 149", "support": 2, "recall_before": 1.0, "recall": 0.0}
    assert predictions(tmp_path / "report")[-1]["baseline answer"] == "class 149"


@pytest.mark.parametrize("classes", [1, 3])
def test_a_single_image_makes_a_report(classes, tmp_path):
    write_report(evaluation(1, classes), tmp_path / "report", "a")
    figures = json.loads((tmp_path / "report" / "metrics.json").read_text(), parse_constant=pytest.fail)
    assert [row["recall"] for row in figures["per_class"] if not row["support"]] == [None] * (classes - 1)


def test_a_network_without_a_map_has_a_report_with_a_note(tmp_path):
    image = keras.Input((8, 8, 3))
    model = keras.Model(image, keras.layers.Dense(4, "softmax")(keras.layers.Flatten()(image)))
    text = write_report(evaluation(), tmp_path / "report", "a", model).read_text()
    assert "Without heat maps: model must have a layer with a map" in text
    assert text.count("<img") == 3


def test_what_is_no_evaluation_is_refused(tmp_path):
    with pytest.raises(TypeError, match="evaluation must be a result of keras_resnet.evaluation.evaluate. Rec.*=0.97"):
        write_report(0.97, tmp_path / "report", "a")
    with pytest.raises(TypeError, match="baseline must be a result"):
        write_report(evaluation(), tmp_path / "report", "a", baseline=0.97)
    with pytest.raises(ValueError, match="baseline must be answers for the same images"):
        write_report(evaluation(), tmp_path / "report", "a", baseline=evaluation(50))
    assert not (tmp_path / "report").exists()


def test_a_report_that_cannot_be_written_is_named(tmp_path, monkeypatch):
    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("keras_resnet.evaluation.report.plot_confusion", fail)
    with pytest.raises(OSError, match=f"cannot write {tmp_path}/report: No space left on device"):
        write_report(evaluation(), tmp_path / "report", "a")


# Counts what is wide and what is not loaded, after everything is loaded, and adds an element with the counts.
COUNT = """
<script>addEventListener("load", () => {
  const images = [...document.images].map(image => image.naturalWidth > 0);
  const requests = performance.getEntriesByType("resource").filter(entry => !entry.name.startsWith("data:"));
  document.body.dataset.found = JSON.stringify({
    title: document.title, images, requests: requests.length,
    rows: [...document.querySelectorAll("table")].map(table => table.tBodies[0].rows.length),
    wide: document.documentElement.scrollWidth > innerWidth,
  });
});</script>
"""


@pytest.mark.slow
@pytest.mark.processes
@needs.chromium
def test_a_browser_without_network_shows_the_page(tmp_path):
    names = ("<script>alert(1)</script>", "x" * 80, "long and many words " * 8, "d")
    title = f"a & {'path/' * 40}"
    page = write_report(evaluation(names=names), tmp_path / "report", title, baseline=evaluation(seed=2))
    page.write_text(page.read_text().replace("</body>", f"{COUNT}</body>"))
    options = ("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking")
    network = "--host-resolver-rules=MAP * ~NOTFOUND", f"--user-data-dir={tmp_path / 'profile'}"
    command = [needs.CHROMIUM, *options, *network, "--window-size=500,900", "--dump-dom", page.as_uri()]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    found = json.loads(html.unescape(re.search('data-found="([^"]*)"', ended.stdout)[1]))
    assert found.pop("title") == title
    assert len(found["rows"]) == 5
    assert min(found.pop("rows")) > 0
    assert found == {"images": [True] * 3, "requests": 0, "wide": False}


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
