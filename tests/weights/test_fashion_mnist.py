"""The weights that the package contains, on the real test images."""

import csv
import json

import keras
import numpy as np
import pytest

import keras_resnet as kr
from keras_resnet.data import idx
from keras_resnet.evaluation import published
from keras_resnet.weights.fetch import PACKAGE, SHIPPED
from keras_resnet.weights.table import find, table
from tests import needs
from tests.conftest import FASHION, ROOT

MINIMUM_TOP1 = {"ResNet20": 0.940, "ResNet56": 0.947}
ROWS = [row for row in table() if row.source.startswith(PACKAGE)]


def test_every_shipped_file_is_promised_and_small():
    assert {row.model for row in ROWS} == set(MINIMUM_TOP1)
    files = {path.name: path.stat().st_size for path in SHIPPED.iterdir()}
    assert set(files) == {row.source.removeprefix(PACKAGE) for row in ROWS}
    assert max(files.values()) <= 2_000_000


@pytest.mark.slow
@pytest.mark.parametrize("name", MINIMUM_TOP1)
def test_a_shipped_network_is_built_for_its_images_and_loads_without_a_network(name, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    model = getattr(kr, name)(weights="fashion_mnist")
    assert model.input_shape == (None, 28, 28, 1)
    assert model.output_shape == (None, 10)
    features = getattr(kr, name)(weights="fashion_mnist", include_top=False, pooling="avg")
    assert features.input_shape == (None, None, None, 1)
    colour = getattr(kr, name)(weights="fashion_mnist", input_shape=(32, 32, 3))
    assert colour.input_shape == (None, 32, 32, 3)


@pytest.mark.slow
@needs.fashion_mnist
def test_a_shipped_network_is_as_good_as_promised_on_all_test_images():
    checkpoint = find("ResNet20", "fashion_mnist")
    test = kr.data.load(f"idx:{FASHION}", "test")
    assert test.size == 10_000
    accuracy = published.top1(published.build("ResNet20", checkpoint), checkpoint, test)
    assert accuracy >= MINIMUM_TOP1["ResNet20"]
    assert 100 * accuracy == pytest.approx(checkpoint.top1, abs=0.05)  # rounding differs between machines


@pytest.mark.slow
@needs.fashion_mnist
def test_the_larger_shipped_network_gives_its_number_on_the_first_thousand_images():
    """Measured together: 956 of these 1,000 images are right, and 94.98 % of all. All test images take a minute."""
    checkpoint = find("ResNet56", "fashion_mnist")
    images, labels = idx.read_idx(FASHION, "test")
    first = kr.data.from_arrays(images[:1000, ..., None], labels[:1000], published.class_names(checkpoint))
    assert published.top1(published.build("ResNet56", checkpoint), checkpoint, first) == pytest.approx(0.956, abs=0.002)
    assert checkpoint.top1 >= 100 * MINIMUM_TOP1["ResNet56"]


@needs.fashion_mnist
def test_names_of_the_classes_are_those_of_the_images():
    images, labels = idx.read_idx(FASHION, "test")
    checkpoint = find("ResNet20", "fashion_mnist")
    names = published.class_names(checkpoint)
    assert names[9] == "Ankle boot"
    predicted = keras.ops.argmax(kr.ResNet20(weights="fashion_mnist")(images[:32, ..., None]), axis=-1)
    assert np.mean(predicted == labels[:32]) > 0.8


@pytest.mark.parametrize("name", MINIMUM_TOP1)
def test_how_they_were_trained_is_there_to_be_repeated(name):
    folder = ROOT / "examples" / "fashion_mnist" / name.lower()
    recipe, run = (json.loads((folder / f"{part}.json").read_text()) for part in ("recipe", "run"))
    assert (recipe["model"], run["model"]) == (name, name)
    assert recipe["recipe"]["held_out"] > 0
    with (folder / "history.csv").open(newline="") as file:
        accuracies = [float(row["val_accuracy"]) for row in csv.DictReader(file)]
    assert len(accuracies) == recipe["recipe"]["epochs"]
    assert run["best_epoch"] == 1 + int(np.argmax(accuracies))
    assert 100 * run["test_accuracy"] == pytest.approx(find(name, "fashion_mnist").top1, abs=0.1)
