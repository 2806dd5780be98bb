"""Cutting boxes into folders of classes, and the comparison of what helps against uneven classes."""

import importlib

import numpy as np
import pytest
import tensorflow as tf

from keras_resnet.evaluation.metrics import Answers
from keras_resnet.evaluation.result import Evaluation
from keras_resnet.plots.confusion import plot_confusion
from keras_resnet.training import Recipe
from keras_resnet.training.run_directory import load_run
from tests import needs
from tests.conftest import SHARED, UNTRACED
from tests.data.test_sources import write_png
from tests.small_training import small_and_eager

cutting = importlib.import_module("examples.blood_cells")
compare = importlib.import_module("examples.uneven_blood_cells.compare")
Box = cutting.Box

OBJECT = "<object><name>{}</name><bndbox><xmin>{}</xmin><ymin>{}</ymin><xmax>{}</xmax><ymax>{}</ymax></bndbox></object>"
# For each split an image of 60 x 40 pixels, with its boxes. A pixel is four times its x, so that a cut says its place.
BOXES = {
    "train": [("RBC", 20, 10, 30, 20), ("RBC", 25, 15, 25, 15), ("WBC", -10, -10, 20, 20)],
    "val": [("RBC", 40, 30, 50, 40), ("Platelets", 61, 5, 70, 15)],
    "test": [("WBC", 0, 0, 60, 40)],
}


@pytest.fixture
def bccd(tmp_path):
    """A data set as BCCD, with an image for each split."""
    for folder in ("Annotations", "ImageSets/Main", "JPEGImages"):
        (tmp_path / "bccd" / folder).mkdir(parents=True)
    image = np.broadcast_to(4 * np.arange(60, dtype="uint8")[None, :, None], (40, 60, 3))
    for split, boxes in BOXES.items():
        (tmp_path / "bccd" / "ImageSets" / "Main" / f"{split}.txt").write_text(f"of_{split}\n")
        objects = "".join(OBJECT.format(*box) for box in boxes)
        (tmp_path / "bccd" / "Annotations" / f"of_{split}.xml").write_text(f"<annotation>{objects}</annotation>")
        path = tmp_path / "bccd" / "JPEGImages" / f"of_{split}.jpg"
        path.write_bytes(tf.io.encode_jpeg(image, quality=100).numpy())
    return tmp_path / "bccd"


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        (Box(20, 10, 30, 20), Box(19, 9, 31, 21)),  # a tenth of the box on each side
        (Box(20, 10, 30, 12), Box(19, 5, 31, 17)),  # a flat box in a square
        (Box(0, 30, 10, 40), Box(0, 28, 12, 40)),  # moved away from the left and the lower border
        (Box(50, 0, 60, 10), Box(48, 0, 60, 12)),  # and from the right and the upper one
        (Box(0, 0, 60, 40), Box(10, 0, 50, 40)),  # as large as the image allows
    ],
)
def test_a_cell_is_shown_by_a_square_inside_the_image(box, expected):
    assert cutting.square(box, width=60, height=40) == expected


def test_boxes_of_three_splits_become_folders_of_classes(bccd, tmp_path, capsys):
    counts = cutting.main(str(bccd), str(tmp_path / "cells"))
    assert counts == {"train": {"RBC": 1, "WBC": 1}, "val": {"RBC": 1}, "test": {"WBC": 1}}
    assert capsys.readouterr().out.splitlines() == [
        "train: 1 RBC, 1 WBC; boxes without area, left out: 1; boxes clipped to their image: 1",
        "val: 1 RBC; boxes without area, left out: 1; boxes clipped to their image: 0",
        "test: 1 WBC; boxes without area, left out: 0; boxes clipped to their image: 0",
    ]
    places = {}
    for path in sorted((tmp_path / "cells").rglob("*.png")):
        cut = tf.io.decode_png(path.read_bytes()).numpy()[..., 0].astype(int)
        assert abs(cut - cut[:1]).max() <= 4
        places[path.relative_to(tmp_path / "cells").as_posix()] = (cut.shape, round(cut[0, 0] / 4))
    assert places == {
        "train/RBC/of_train_0.png": ((12, 12), 19),
        "train/WBC/of_train_2.png": ((24, 24), 0),
        "val/RBC/of_val_0.png": ((12, 12), 39),
        "test/WBC/of_test_0.png": ((40, 40), 10),
    }


@needs.shared_data
def test_boxes_of_the_real_data_set_are_read():
    boxes = list(cutting.boxes(SHARED / "bccd" / "Annotations" / "BloodImage_00343.xml"))
    assert ("RBC", Box(181, 329, 181, 329)) in boxes  # one of the two without area
    assert {name for name, _ in boxes} <= {"RBC", "WBC", "Platelets"}


def evaluation(labels, answers):
    """The evaluation of images of the classes "few" and "many"."""
    best = np.array([[answer, 1 - answer] for answer in answers])
    sure = np.tile([0.9, 0.1], (len(best), 1))
    names = tuple(map(str, range(len(best))))
    return Evaluation(Answers(("few", "many"), names, np.array(labels), best, sure, np.zeros(len(best))))


def test_settings_are_compared_by_mean_and_spread_over_seeds(tmp_path):
    right, half = evaluation([0, 0, 1, 1], [0, 0, 1, 1]), evaluation([0, 0, 1, 1], [0, 1, 1, 1])
    found = {("plain", seed, split): each for seed, each in enumerate((right, half)) for split in ("val", "test")}
    assert compare.table(found).splitlines() == [
        "| setting | split | top1 | balanced_accuracy | recall_few | recall_many |",
        "|---|---|---|---|---|---|",
        "| plain | val | 87.5% ± 17.7 | 87.5% ± 17.7 | 75.0% ± 35.4 | 100.0% ± 0.0 |",
        "| plain | test | 87.5% ± 17.7 | 87.5% ± 17.7 | 75.0% ± 35.4 | 100.0% ± 0.0 |",
    ]
    compare.write(found, tmp_path / "results.csv")
    rows = (tmp_path / "results.csv").read_text().splitlines()
    assert rows[0] == "setting,seed,split,top1,balanced_accuracy,recall_few,recall_many"
    assert rows[3] == "plain,1,val,0.7500,0.7500,0.5000,1.0000"


@pytest.mark.slow
@UNTRACED
def test_settings_against_uneven_classes_are_trained(tmp_path, capsys):
    for path, count in (("train/many", 6), ("train/few", 2), ("val/many", 2), ("val/few", 1), ("test/few", 2)):
        for number in range(count):
            write_png(tmp_path / "cells" / path / f"{number}.png", (8, 8, 3), 9 * number + len(path))
    recipe = Recipe(epochs=1, batch_size=4, pad_and_crop=0.0)
    settings = {"balanced_sampling": compare.SETTINGS["balanced_sampling"]}
    with small_and_eager():
        found = compare.main(
            str(tmp_path / "cells"), str(tmp_path / "out"), recipe=recipe, settings=settings, seeds=(3,), size=8
        )
    assert list(found) == [("balanced_sampling", 3, "val"), ("balanced_sampling", 3, "test")]
    run = load_run(tmp_path / "out" / "balanced_sampling-3")
    assert (run.recipe.balanced_sampling, run.recipe.seed) == (True, 3)
    assert run.test_accuracy == found["balanced_sampling", 3, "test"]
    assert (tmp_path / "out" / "results.csv").read_text().count("\n") == 3
    plot_confusion(found["balanced_sampling", 3, "test"].confusion, ("few", "many"), tmp_path / "expected.png")
    assert (tmp_path / "out" / "balanced_sampling.png").read_bytes() == (tmp_path / "expected.png").read_bytes()
    assert compare.table(found) in capsys.readouterr().out
