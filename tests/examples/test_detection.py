"""The detector of blood cells: cells are cut out, classified, and the detector starts from that classifier."""

import ast
import dataclasses
import functools
import importlib
import inspect

import keras
import numpy as np
import pytest

import keras_resnet as kr
from keras_resnet import zoo
from keras_resnet.complexity import flat_layers
from keras_resnet.detection import load, open_run, rows
from tests.conftest import UNTRACED
from tests.detection.annotated_files import as_png, picture, write_voc, xml
from tests.detection.export_detector import DESIGN

bccd = importlib.import_module("examples.detection.bccd")
BOXES = {
    "a": [(8, 8, 40, 30), (50, 40, 90, 60)],
    "b": [(20, 10, 60, 50)],
    "c": [(30, 20, 70, 60)],
    "d": [(4, 6, 40, 50), (48, 10, 90, 40)],
}


@pytest.fixture
def cells(tmp_path):
    """Four images of 64x96 pixels with red rectangles; the second one of an image has another class."""
    images = {}
    for name, boxes in BOXES.items():
        image = picture((64, 96))
        for box in boxes:
            image = np.maximum(image, picture((64, 96), box))
        images[name] = as_png(image), xml(list(zip(("RBC", "WBC"), boxes)), (64, 96))
    write_voc(tmp_path / "cells", images, {"train": "ab", "val": "c", "test": "d"})
    return tmp_path / "cells"


def test_it_says_command_time_and_result():
    header = ast.get_docstring(ast.parse(inspect.getsource(bccd)))
    for word in ("python examples/detection/bccd.py", "Time:", "Result:"):
        assert word in header


@pytest.mark.slow
def test_each_cell_is_in_the_middle_of_its_square(cells):
    task = bccd.task_of(str(cells), cells.parent)
    task = dataclasses.replace(task, shorter=64, longer=96)
    squares = bccd.cut_cells(load(task.data, "train"), task)
    assert squares.classes == ("RBC", "WBC")
    pixels, labels = (np.stack(part) for part in zip(*squares.examples.as_numpy_iterator()))
    assert pixels.shape == (3, 64, 64, 3)
    assert labels.tolist() == [0, 1, 0]
    for square, (left, top, right, bottom) in zip(pixels, BOXES["a"] + BOXES["b"], strict=True):
        # A pixel less on each side: the coordinates in files of PASCAL VOC start at 1.
        height, width = (bottom - top) // 2 - 1, (right - left) // 2 - 1
        middle = square[32 - height : 32 + height, 32 - width : 32 + width]
        assert (middle[..., 0] > 200).all()


@pytest.mark.slow
@UNTRACED
def test_the_detector_starts_from_the_classifier(cells, tmp_path, monkeypatch, eager, capsys):
    small = functools.partial(zoo.ResNet18, depths=(1, 1, 1, 1), filters=(8, 8, 16, 16))
    monkeypatch.setitem(zoo._CONSTRUCTORS, "ResNet18", small)
    monkeypatch.setattr(kr, "ResNet18", small, raising=False)
    row = dataclasses.replace(rows.ROWS[bccd.NAME], design=dataclasses.replace(DESIGN, least_score=0.0))
    monkeypatch.setitem(rows.ROWS, bccd.NAME, row)
    monkeypatch.setattr(bccd, "CELLS", dataclasses.replace(bccd.CELLS, epochs=1, batch_size=2))
    short = {"epochs": 1, "batch_size": 2, "warmup_steps": 0}
    monkeypatch.setattr(bccd, "RECIPE", dataclasses.replace(bccd.RECIPE, **short))
    found = bccd.main(str(cells), str(tmp_path / "out"))
    assert 0 <= found <= 1
    assert f"test mAP@.5 {found:.1%} (RBC " in capsys.readouterr().out
    run, detector = open_run(tmp_path / "out" / "detector")
    assert run.task.backbone_weights == str(tmp_path / "out" / "cells.keras")
    assert (tmp_path / "out" / "cells" / "history.csv").exists()
    classifier = keras.models.load_model(tmp_path / "out" / "cells.keras")
    # conv2 is frozen, so it is as the classifier learned it.
    (kernel,) = (x.kernel for x in flat_layers(detector) if x.name == "conv2_block1_1_conv")
    np.testing.assert_array_equal(kernel, classifier.get_layer("conv2_block1_1_conv").kernel)
