"""`train` of detectors: what it refuses before it begins, and the images that it uses for what."""

import csv
import dataclasses
import json

import pytest

from keras_resnet._internal.exclusive import exclusive
from keras_resnet.detection import RECIPES, DetectionTask, load, run, train
from keras_resnet.detection.run_directory import FILES, read_task
from keras_resnet.training import out_directory
from tests.cli.test_cli import invoke
from tests.conftest import UNTRACED
from tests.detection.annotated_files import as_png, picture, write_voc, xml
from tests.detection.small_detector import HEIGHT, WIDTH, in_table, write_photos

NAME = "fasterrcnn_resnet50_fpn"
LISTS = {"train": "abe", "val": "c", "test": "d"}
SHORT = dataclasses.replace(RECIPES["small_data"], epochs=1, batch_size=2, warmup_steps=0, learning_rate=0.01)


def recipe(**changes):
    return dataclasses.replace(SHORT, **changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"detector": "fasterrcnn_resnet50"}, "unknown detector; .* Did you mean fasterrcnn_resnet50_fpn"),
        ({"recipe": recipe(frozen_until="conv6")}, "frozen_until must be one of 'conv1', .* frozen_until='conv6'"),
        ({"recipe": recipe(frozen_until="conv2")}, "frozen_until must be conv1 without weights and backbone_weights"),
        ({"recipe": recipe(frozen_norms=True)}, "frozen_norms must be False without .* Received: frozen_norms=True"),
        (
            {"train_split": "all", "val_split": "", "test_split": "all"},
            "test_split must be another split than train_split: .* Received: test_split='all', train_split='all'",
        ),
        ({"val_split": "train"}, "val_split must be another split than train_split"),
        ({"test_split": "val"}, "test_split must be another split than val_split: .* type val_split=''"),
    ],
)
def test_settings_that_contradict_each_other_are_refused_before_the_data_are_read(changes, message):
    with pytest.raises(ValueError, match=message):
        DetectionTask(**{"detector": NAME, "data": "voc:x", "recipe": SHORT, **changes})


def test_pretrained_weights_may_be_frozen_and_no_validation_is_needed():
    frozen = recipe(frozen_until="conv3", frozen_norms=True)
    task = DetectionTask(NAME, "voc:x", frozen, backbone_weights="imagenet", val_split="")
    assert task.fields["recipe"]["frozen_until"] == "conv3"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"warmup_steps": 100}, "warmup_steps must be below 1, the number of steps .* Received: warmup_steps=100"),
        ({"early_stopping": 2}, "early_stopping must be 0 without validate"),
    ],
)
def test_a_recipe_that_is_refused_changes_no_file(change, message, tmp_path):
    task = DetectionTask(NAME, write_photos(tmp_path / "photos", LISTS), recipe(**change), val_split="")
    with pytest.raises(ValueError, match=message):
        train(task, tmp_path / "new")
    assert not (tmp_path / "new").exists()
    finished = tmp_path / "finished"
    (finished / "report").mkdir(parents=True)
    for name in ("recipe.json", "run.json", "detector.keras", "report/report.html"):
        (finished / name).write_text(name)
    with pytest.raises(ValueError, match=message):
        train(task, finished, overwrite=True)
    for name in ("recipe.json", "run.json", "detector.keras", "report/report.html"):
        assert (finished / name).read_text() == name


@pytest.mark.slow
def test_where_the_test_images_are_the_validation_images_training_images_choose_the_epoch(tmp_path):
    lines = []
    task = DetectionTask(NAME, write_photos(tmp_path / "photos", {"train": "abc", "val": "de"}), SHORT)
    parts = run._splits(task, lines.append)
    assert set(parts["test"].ids) == {"d", "e"}
    assert len(parts["val"].ids) == 1
    assert {*parts["train"].ids, *parts["val"].ids} == {"a", "b", "c"}
    assert lines == ["test has the same images as val: 1 images, held out of train, choose the best epoch"]
    again = run._splits(task, lines.append)
    assert again["val"].ids == parts["val"].ids  # so that a training continues with the same images


@pytest.mark.slow
def test_test_images_of_their_own_leave_the_training_images_whole(tmp_path, caplog):
    lines = []
    parts = run._splits(DetectionTask(NAME, write_photos(tmp_path / "photos", LISTS), SHORT), lines.append)
    assert {name: "".join(part.ids) for name, part in parts.items()} == LISTS
    assert not lines
    assert not caplog.messages


@pytest.mark.slow
def test_the_objects_of_each_class_are_told_and_missing_ones_are_warned_of(tmp_path, caplog):
    data = write_photos(tmp_path / "photos", LISTS)
    split = load(data, "train", classes=("mark", "dust", "N/A"))
    assert run._objects_of_classes(split) == "objects of the classes: mark 2, dust 0"
    assert "no training image has an object of dust" in caplog.text


@pytest.mark.slow
def test_training_images_without_objects_are_refused(tmp_path):
    task = DetectionTask(NAME, write_photos(tmp_path / "photos", {**LISTS, "train": "e"}), SHORT)
    with pytest.raises(ValueError, match="split must have objects to learn, which are no crowds. Received: <Annotated"):
        train(task, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_images_that_two_splits_share_are_warned_of(tmp_path, caplog):
    lists = {"train": "abe", "val": "bc", "test": "ad"}
    run._splits(DetectionTask(NAME, write_photos(tmp_path / "photos", lists), SHORT), print)
    assert caplog.messages == [
        "1 of the 2 images of val are also in train: the average precision is higher than on new images",
        "1 of the 2 images of test are also in train: the average precision is higher than on new images",
    ]


def test_test_images_that_are_all_trained_on_are_refused(tmp_path):
    data = write_photos(tmp_path / "photos", LISTS)
    task = DetectionTask(NAME, data, SHORT, train_split="all", val_split="")
    with pytest.raises(ValueError, match="test_split must have images that are not trained on. .* train_split='all'"):
        train(task, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
@pytest.mark.parametrize("without", ["val", "test"])
def test_images_without_an_object_that_counts_are_refused_before_the_training(without, tmp_path):
    box, hard = (8, 8, 40, 30), "<difficult>1</difficult>"
    content = as_png(picture((HEIGHT, WIDTH), box))
    images = {name: (content, xml([("mark", box)], (HEIGHT, WIDTH))) for name in "abcd"}
    hard_one = {"val": "c", "test": "d"}[without]
    images[hard_one] = content, xml([("mark", box)], (HEIGHT, WIDTH), more=hard)
    task = DetectionTask(NAME, write_voc(tmp_path / "photos", images, {**LISTS, "train": "ab"}), SHORT)
    message = f"{without}_split must have an object that is neither difficult nor a crowd.* Received: {without}_split"
    with pytest.raises(ValueError, match=message):
        train(task, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def write_recipe(task, out, **changes):
    """Writes the settings of a run as `train` does."""
    out.mkdir()
    sides = {"shorter": task.design.shorter, "longer": task.design.longer}
    (out / "recipe.json").write_text(json.dumps({**task.fields, **sides, **changes}))


def test_a_run_with_other_settings_is_not_replaced_and_the_error_says_which_differ(tmp_path):
    task = DetectionTask(NAME, "voc:x", SHORT)
    write_recipe(task, tmp_path / "run", shorter=64)
    with pytest.raises(ValueError, match="out must be a new .* which holds an unfinished run with another shorter$"):
        train(task, tmp_path / "run")


def test_a_run_that_another_process_finishes_meanwhile_is_not_replaced(tmp_path):
    task, out = DetectionTask(NAME, "voc:x", SHORT), tmp_path / "run"
    write_recipe(task, out)
    (out / "run.json").write_text("{}")
    with pytest.raises(ValueError, match="run.json must be as a training writes it"):
        train(task, out)
    with pytest.raises(ValueError, match="another process has finished this run meanwhile; type the same command"):
        out_directory.preparation(out, read_task(out), False, FILES, read_task, lambda out: None)
    assert (out / "run.json").read_text() == "{}"


@pytest.mark.slow
def test_while_a_process_trains_in_a_directory_another_one_changes_nothing_there(tmp_path, monkeypatch):
    in_table(monkeypatch)
    task, out = DetectionTask(NAME, write_photos(tmp_path / "photos", LISTS), SHORT), tmp_path / "run"
    write_recipe(task, out, shorter=64)
    before = (out / "recipe.json").read_text()
    with (
        exclusive(out, "training", run.LOCK),
        pytest.raises(ValueError, match="used by one training at a time; .*, which a training of another process"),
    ):
        train(task, out, overwrite=True)
    assert (out / "recipe.json").read_text() == before


@pytest.mark.slow
@UNTRACED
@pytest.mark.parametrize("damaged", ["a", "c", "d"])
def test_a_corrupt_image_of_any_split_stops_a_training_and_is_named(damaged, tmp_path, monkeypatch, eager):
    in_table(monkeypatch)
    data = write_photos(tmp_path / "photos", {"train": "ab", "val": "c", "test": "d"}, damaged=damaged)
    with pytest.raises(ValueError, match=rf"^data: .*/JPEGImages/{damaged}\.png"):
        train(DetectionTask(NAME, data, SHORT), tmp_path / "run")


@pytest.mark.slow
@UNTRACED
def test_a_corrupt_test_image_is_skipped_and_the_report_names_the_others(tmp_path, monkeypatch, eager):
    in_table(monkeypatch)
    data = write_photos(tmp_path / "photos", {"train": "ae", "val": "b", "test": "cd"}, damaged="c")
    result = train(DetectionTask(NAME, data, SHORT, on_corrupt="skip"), tmp_path / "run")
    assert result.test_images == 1
    assert [reason.partition(".png")[0][-1] for reason in result.skipped] == ["c"]
    invoked = invoke("detect", "evaluate", tmp_path / "run", "--report", tmp_path / "again")
    assert invoked.exit_code == 0, invoked.exception
    for report in (tmp_path / "run" / "report", tmp_path / "again"):
        rows = list(csv.DictReader((report / "detections.csv").read_text().splitlines()))
        assert {row["image"] for row in rows} == {str(tmp_path / "photos" / "JPEGImages" / "d.png")}
