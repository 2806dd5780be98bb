"""`keras-resnet detect`: a detector from its data to its answers, and what is refused before that."""

import csv
import dataclasses
import json
import re
import sys

import numpy as np
import pytest
import tensorflow as tf
import typer

from keras_resnet.cli import detect, found_objects, with_options
from keras_resnet.detection import RECIPES, DetectionRecipe, DetectionTask, Found, finding
from tests.cli.test_cli import invoke
from tests.conftest import UNTRACED
from tests.detection.annotated_files import as_png, picture
from tests.detection.small_detector import DESIGN, in_table, write_photos
from tests.test_package import README

SCRATCH = ("--frozen-until", "conv1", "--no-frozen-norms")
SHORT = ("--epochs", 1, "--batch-size", 2, "--warmup-steps", 0, "--learning-rate", 0.01)


def test_help_has_an_option_for_every_field_of_a_recipe():
    output = re.sub(r"\s+", " ", re.sub("[│]", "", invoke("detect", "train", "--help").output))
    for field in dataclasses.fields(DetectionRecipe):
        assert f"--{field.name.replace('_', '-')}" in output
        assert field.metadata["help"].partition(" ")[0] in output


def test_each_option_has_help_in_its_own_words():
    for name, command in typer.main.get_command(detect.app).commands.items():
        helps = {parameter.name: parameter.help for parameter in command.params}
        assert all(helps.values()), name
        assert len(set(helps.values())) == len(helps), name


def test_recipes_are_listed_with_what_they_change():
    output = invoke("detect", "recipes").output
    assert all(name in output for name in RECIPES)
    assert re.search(r"he2015_coco +iterations=320000 batch_size=8 learning_rate=0.001", output)
    assert "The defaults: epochs=26" in output


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--recipe", "torchvision_fnp"), "unknown value of --recipe; .* Did you mean .*torchvision_fpn"),
        ((), "--frozen-until must be conv1 without weights and backbone_weights: .* Received: --frozen-until=conv3"),
        (("--frozen-until", "conv1"), "--frozen-norms must be False without weights .* Received: --frozen-norms=True"),
        ((*SCRATCH, "--test-split", "train"), "--test-split must be another split than train_split: .*=.train."),
        (("--shorter-sides", 9, "--scale-jitter", 0.5, "--scale-jitter", 2), "--shorter-sides must be empty with"),
    ],
)
def test_what_cannot_be_trained_is_refused_before_it_begins(words, message, tmp_path):
    error = invoke("detect", "train", "fasterrcnn_resnet50_fpn", "--data", "voc:x", "--out", tmp_path, *words).exception
    assert re.search(message, with_options(str(error), "detect train")), error
    assert not list(tmp_path.iterdir())


def test_a_directory_that_is_no_run_is_named(tmp_path):
    message = str(invoke("detect", "evaluate", tmp_path).exception)
    assert "must be a directory that `keras-resnet detect train` wrote, with a readable run.json" in message


def test_without_the_counter_of_coco_a_training_does_not_begin(photos, small_row, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pycocotools.cocoeval", None)
    words = ("detect", "train", "fasterrcnn_resnet50_fpn", "--data", photos, "--out", tmp_path / "run")
    message = str(invoke(*words, *SCRATCH, *SHORT).exception)
    assert "need the package pycocotools: pip install 'keras-resnet-zoo[detection]'" in message
    assert not (tmp_path / "run").exists()


def test_without_the_counter_of_coco_a_report_is_refused_before_the_run_is_opened(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pycocotools.cocoeval", None)
    message = str(invoke("detect", "evaluate", tmp_path / "no run", "--report", tmp_path / "report").exception)
    assert "need the package pycocotools: pip install 'keras-resnet-zoo[detection]'" in message
    assert not (tmp_path / "report").exists()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("none/o.csv", "csv must be in a directory that exists. .*; make '.*/none' first"),
        ("o.txt", "csv must end in .csv"),
    ],
)
def test_a_csv_file_that_cannot_be_written_is_refused_before_the_run_is_opened(name, message, tmp_path):
    error = invoke("detect", "predict", tmp_path, "--model", tmp_path / "no run", "--csv", tmp_path / name).exception
    assert re.search(message, str(error)), error


@pytest.fixture
def same_names(tmp_path):
    """Two images of the same name in two folders."""
    for folder in "ab":
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "x.png").write_bytes(as_png(picture((8, 8))))
    return tmp_path


def test_pictures_are_in_the_folders_of_their_images(same_names):
    files, names = found_objects.image_files([same_names, same_names / "a" / "x.png"])
    assert [str(file.relative_to(same_names)) for file in files] == ["a/x.png", "b/x.png", "a/x.png"]
    assert [str(name) for name in names] == ["a/x.png.png", "b/x.png.png", "x.png.png"]
    found_objects.check_names([*files, files[2]], [*names, names[2]])  # the same image twice is no mistake


def test_pictures_of_the_same_name_are_refused_before_the_run_is_opened(same_names):
    images = (same_names / "a" / "x.png", same_names / "b")
    message = str(
        invoke("detect", "predict", *images, "--model", "no run", "--pictures", same_names / "pictures").exception
    )
    assert re.match("pictures must have another name for each image: give the directory above the images", message)
    assert f"{same_names}/a/x.png and {same_names}/b/x.png, which would both become x.png.png" in message
    assert not (same_names / "pictures").exists()


@pytest.fixture
def calls(monkeypatch):
    """Puts a detector in place that finds a box around each image; returns the numbers of images in its calls."""
    numbers = []

    def box_around(detector, images, design, batch_size):
        numbers.append(len(images))
        return [Found(np.array([[0, 0, *image.shape[1::-1]]]), np.array([0]), np.array([0.9])) for image in images]

    monkeypatch.setattr(finding, "find", box_around)
    return numbers


@pytest.mark.slow
def test_files_are_answered_in_their_order_several_at_once(calls, tmp_path):
    files = [tmp_path / f"{number}.png" for number in range(12)]
    broken = (0, 4, 5, 11)
    for number, file in enumerate(files):
        file.write_bytes(b"no image" if number in broken else as_png(picture((8, 10 + number))))
    answers = finding.find_in_files(None, [*files, tmp_path / "none.png", files[1]], DESIGN)
    assert [next(answers)[0] for _ in range(4)] == files[:4]
    assert calls == [4]  # what comes later is not computed yet
    later = dict(enumerate(answers, 4))
    assert calls == [4, 4, 1]
    assert [file for file, _ in later.values()] == [*files[4:], tmp_path / "none.png", files[1]]
    for number, (file, answer) in later.items():
        if number in (*broken, 12):
            assert str(file) in str(answer)
            assert isinstance(answer, ValueError)
        else:
            assert answer.found.boxes.tolist() == [[0, 0, answer.pixels.shape[1], 8]]
            assert answer.pixels.shape == (8, 11 if number == 13 else 10 + number, 3)
    assert str(later[4][1]) == f"{files[4]} is not a readable JPEG, PNG, BMP, WebP or GIF"
    assert str(later[12][1]) == f"cannot read {tmp_path / 'none.png'}: No such file or directory"


@pytest.mark.slow
def test_files_that_all_cannot_be_read_are_all_named(calls, tmp_path):
    files = [tmp_path / "none.png", tmp_path / "neither.png"]
    answers = list(finding.find_in_files(None, files, DESIGN))
    assert [str(error) for _, error in answers] == [f"cannot read {file}: No such file or directory" for file in files]
    assert not calls


def test_a_task_goes_through_json():
    task = DetectionTask("fasterrcnn_resnet50_fpn", "voc:x", RECIPES["small_data"], shorter=300)
    assert json.loads(json.dumps(task.fields)) == task.fields
    assert (task.design.shorter, task.design.longer) == (300, 1333)


@pytest.fixture
def small_row(monkeypatch):
    in_table(monkeypatch)


@pytest.fixture
def photos(tmp_path):
    return write_photos(tmp_path / "photos", {"train": "abe", "val": "c", "test": "d"})


@pytest.mark.slow
@UNTRACED
def test_a_detector_is_trained_evaluated_and_asked(photos, small_row, tmp_path, monkeypatch, eager):
    words = ("detect", "train", "fasterrcnn_resnet50_fpn", "--data", photos, "--out", tmp_path / "run")
    trained = invoke(*words, *SCRATCH, *SHORT)
    assert trained.exit_code == 0, trained.exception
    assert re.search(r"mAP@.5 [\d.]+% on 1 images of test", trained.output)
    assert "objects of the classes: mark 2" in trained.output
    made = {path.name for path in (tmp_path / "run").iterdir()}
    assert made >= {"recipe.json", "run.json", "history.csv", "detector.keras", "checkpoints", "report"}
    run = json.loads((tmp_path / "run" / "run.json").read_text())
    assert run["classes"] == ["mark"]
    assert (run["task"]["shorter"], run["task"]["longer"]) == (DESIGN.shorter, DESIGN.longer)

    written = (tmp_path / "run" / "detector.keras").read_bytes()
    again = invoke(*words, *SCRATCH, *SHORT)
    assert again.exit_code == 0, again.exception
    assert re.search(r"is\s+finished;\s+nothing\s+to\s+do", again.output)
    assert (tmp_path / "run" / "detector.keras").read_bytes() == written
    other = str(invoke(*words, *SCRATCH, *SHORT, "--seed", 1).exception)
    assert "out must be a new directory, unless overwrite=True" in other

    evaluated = invoke("detect", "evaluate", tmp_path / "run", "--split", "val", "--fail-below", 1)
    assert evaluated.exit_code in (0, 1), evaluated.exception
    assert re.search(r"mark: AP@.5 [\d.]+% of 1 objects", evaluated.output)

    exported = invoke("detect", "export", tmp_path / "run", "--out", tmp_path / "deploy", "--name", "marks")
    assert exported.exit_code == 0, exported.exception
    assert "at most 100 boxes of 1 classes" in re.sub(r"\s+", " ", exported.output)
    served = tf.saved_model.load(str(tmp_path / "deploy" / "models" / "marks" / "1")).signatures["serving_bytes"]
    file = (tmp_path / "photos" / "JPEGImages" / "d.png").read_bytes()
    assert served(image_bytes=tf.constant([file]))["detection_boxes"].shape == (1, 100, 4)
    assert "localhost:8500" in (tmp_path / "deploy" / "README.md").read_text()

    (tmp_path / "broken.png").write_bytes(b"no image")
    image = tmp_path / "photos" / "JPEGImages" / "d.png"
    files = ("--csv", tmp_path / "found.csv", "--pictures", tmp_path / "pictures", "--json")
    asked = invoke(
        "detect", "predict", image, tmp_path / "broken.png", "--model", tmp_path / "run", *files, "--least-score", 0
    )
    assert asked.exit_code == 1
    found = json.loads(asked.stdout)
    assert [row["file"] for row in found] == [str(image)]
    assert {one["class"] for one in found[0]["objects"]} <= {"mark"}
    table = list(csv.DictReader((tmp_path / "found.csv").read_text().splitlines()))
    assert len(table) == len(found[0]["objects"])
    drawn = tf.io.decode_png((tmp_path / "pictures" / "d.png.png").read_bytes()).numpy()
    assert drawn.dtype == np.uint8
    assert drawn.shape[2] == 3

    # The example of the README opens this run.
    (tmp_path / "runs").mkdir()
    (tmp_path / "run").rename(tmp_path / "runs" / "cells")
    image.rename(tmp_path / "cells.jpg")
    monkeypatch.chdir(tmp_path)
    (example,) = re.findall(r"<!-- needs a detector -->\n```python\n(.*?)```", README, re.S)
    assert len([line for line in example.splitlines() if line]) == 5
    exec(compile(example, "README.md", "exec"), {})
    assert tf.io.decode_png((tmp_path / "found.png").read_bytes()).shape == drawn.shape
