"""`train` of detectors: the images that it uses for what."""

import csv
import dataclasses

import pytest

from keras_resnet.detection import RECIPES, DetectionTask, train
from tests.cli.test_cli import invoke
from tests.conftest import UNTRACED
from tests.detection.small_detector import in_table, write_photos

NAME = "fasterrcnn_resnet50_fpn"
SHORT = dataclasses.replace(RECIPES["small_data"], epochs=1, batch_size=2, warmup_steps=0, learning_rate=0.01)


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
