"""`train` of detectors: what it refuses before it begins, and the images that it uses for what."""

import csv
import dataclasses

import pytest

from keras_resnet.detection import RECIPES, DetectionTask, train
from tests.cli.test_cli import invoke
from tests.conftest import UNTRACED
from tests.detection.small_detector import in_table, write_photos

NAME = "fasterrcnn_resnet50_fpn"
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
