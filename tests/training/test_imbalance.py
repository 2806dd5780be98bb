"""Uneven classes: class weights, balanced sampling, focal loss."""

import dataclasses
import logging
import signal
from unittest import mock

import keras
import numpy as np
import pytest
from sklearn.utils.class_weight import compute_class_weight

import keras_resnet as kr
from keras_resnet.data.summary import label_counts, warn_of_uneven_classes
from keras_resnet.training import Recipe, run
from keras_resnet.training.imbalance import (
    CLASS_WEIGHTS,
    ClassWeighted,
    balanced,
    effective_number,
    with_all_classes_alike,
    with_class_weights,
)
from keras_resnet.training.losses import LOSSES
from keras_resnet.training.recipe import CHOICES
from keras_resnet.training.resuming import Stopped
from tests.data.test_sources import pairs, write_png
from tests.small_training import of_one_block

COUNTS = np.array([90, 8, 2])
LABELS = np.repeat(np.arange(3), COUNTS)


@pytest.fixture(scope="module")
def uneven():
    images = np.arange(100, dtype="uint8").reshape(-1, 1, 1, 1) * np.ones((1, 4, 4, 1), "uint8")
    return kr.data.from_arrays(images, LABELS, ("many", "few", "rare"))


def test_balanced_weights_are_those_of_scikit_learn():
    expected = compute_class_weight("balanced", classes=np.arange(3), y=LABELS)
    np.testing.assert_allclose(balanced(COUNTS), expected)


def test_weights_of_the_effective_number_are_those_of_the_paper():
    """(1 - beta) / (1 - beta^n), scaled to a mean of 1 (arXiv:1901.05555, equation 4 and section 4)."""
    plain = np.array([0.001 / (1 - 0.999**count) for count in COUNTS])
    np.testing.assert_allclose(effective_number(COUNTS), 3 * plain / plain.sum())
    assert effective_number(np.array([5, 0, 5]))[[0, 2]].tolist() == [1, 1]


def test_a_class_without_images_takes_no_weight_from_others():
    np.testing.assert_allclose(balanced(np.array([30, 0, 10]))[[0, 2]], [40 / (2 * 30), 40 / (2 * 10)])


@pytest.mark.parametrize("loss", CHOICES["loss"])
def test_an_image_counts_as_the_weight_of_its_class(loss):
    rng = np.random.default_rng(0)
    logits, weights = rng.normal(size=(5, 3)).astype("float32"), np.array([0.5, 2.0, 4.0])
    targets = np.eye(3, dtype="float32")[[0, 1, 2, 2, 0]]
    targets[4] = [0.25, 0.75, 0]  # a mixed image
    plain = LOSSES[loss]()
    each = np.array([float(plain(targets[i : i + 1], logits[i : i + 1])) for i in range(5)])
    expected = (each * [0.5, 2, 4, 4, 0.25 * 0.5 + 0.75 * 2]).mean()
    assert float(ClassWeighted(plain, weights)(targets, logits)) == pytest.approx(expected, rel=1e-5)


def test_focal_loss_is_that_of_the_paper():
    """-(1 - p)^2 log p for the probability p of the right class (arXiv:1708.02002, equation 4)."""
    logits = np.array([[2.0, 0.0, -1.0]], "float32")
    p = np.exp(2) / (np.exp(2) + 1 + np.exp(-1))
    found = float(LOSSES["focal"]()(np.array([[1.0, 0, 0]], "float32"), logits))
    assert found == pytest.approx(-((1 - p) ** 2) * np.log(p), rel=1e-5)


def test_labels_are_counted_also_where_they_are_not_known(uneven):
    stream = kr.data.from_dataset(uneven.examples, uneven.classes)
    assert label_counts(uneven).tolist() == label_counts(stream).tolist() == COUNTS.tolist()
    assert with_class_weights(LOSSES["focal"](), "balanced", stream).weights == pytest.approx(balanced(COUNTS))


def test_without_class_weights_the_loss_is_the_plain_one(uneven):
    plain = LOSSES["focal"]()
    assert with_class_weights(plain, "none", uneven) is plain
    assert set(CLASS_WEIGHTS) == set(CHOICES["class_weights"])


def test_images_of_small_classes_are_repeated(uneven):
    alike = with_all_classes_alike(uneven)
    labels = [label for _, label in pairs(alike)]
    assert np.bincount(labels).tolist() == [90, 90, 90]
    values, times = np.unique([image[0, 0, 0] for image, _ in pairs(alike)], return_counts=True)
    assert values.tolist() == list(range(100))  # no image is left out
    assert [set(times[label == LABELS].tolist()) for label in range(3)] == [{1}, {11, 12}, {45}]


def test_images_of_a_stream_are_not_repeated(uneven):
    stream = kr.data.from_dataset(uneven.examples, uneven.classes)
    with pytest.raises(
        ValueError, match="balanced_sampling must be False for images that are read one after the other"
    ):
        with_all_classes_alike(stream)


def test_the_warning_about_uneven_classes_names_the_remedy(uneven, caplog):
    with caplog.at_level(logging.WARNING):
        warn_of_uneven_classes(uneven)
    assert "class_weights=balanced or balanced_sampling=True" in caplog.text
    assert "--class-weights balanced or --balanced-sampling" in caplog.text


@pytest.mark.slow
def test_a_training_warns_of_uneven_classes_unless_its_recipe_makes_them_count(tmp_path, caplog, monkeypatch):
    for path, count in (("train/many", 22), ("train/few", 2), ("test/many", 1), ("test/few", 1)):
        for number in range(count):
            write_png(tmp_path / "data" / path / f"{number}.png", (8, 8, 3), 9 * number + len(path))
    of_one_block(monkeypatch)
    stop = mock.Mock(side_effect=Stopped("stopped", signal.SIGINT))
    monkeypatch.setattr(run, "fit_prepared", stop)  # which is called after the warning
    found = {}
    for name, fields in {
        "plain": {"loss": "focal"},  # which alone does not make rare classes count more
        "weights": {"class_weights": "effective_number"},
        "sampling": {"balanced_sampling": True},
    }.items():
        task = run.Task("ResNet20", f"folder:{tmp_path / 'data'}", Recipe(validation_split=0.0, **fields), 8)
        lines = []
        with pytest.raises(Stopped):
            run.train(task, tmp_path / name, write_line=lines.append)
        found[name] = (lines[0], "classes are uneven" in caplog.text)
        caplog.clear()
    assert found == {
        "plain": ("images: 24 training, 2 test", True),
        "weights": ("images: 24 training, 2 test", False),
        "sampling": ("images: 44 training (images of rare classes are repeated), 2 test", False),
    }


@pytest.mark.slow
@pytest.mark.parametrize(
    "fields",
    [
        {"class_weights": "balanced"},
        {"balanced_sampling": True},
        {"class_weights": "effective_number", "loss": "focal"},
    ],
)
def test_rare_classes_are_learned(fields):
    """9 of 10 images are of one class, and the pixels say nothing: a plain network always answers it."""
    rng = np.random.default_rng(0)
    labels = (np.arange(200) % 10 == 0).astype(int)
    images = rng.integers(0, 256, (200, 8, 8, 1)).astype("uint8")
    split = kr.data.from_arrays(images, labels, ("many", "few"))
    recipe = Recipe(
        epochs=8, batch_size=20, learning_rate=0.05, label_smoothing=0.0, pad_and_crop=0.0, validation_split=0.0
    )

    def share_of_few(recipe):
        keras.utils.set_random_seed(0)
        model = kr.ResNet((1,), kr.residual_block, filters=(4,), stem=kr.stems.cifar, input_shape=(8, 8, 1), classes=2)
        kr.training.fit(model, recipe, split)
        return model.predict(rng.integers(0, 256, (100, 8, 8, 1)), verbose=0)[:, 1].mean()

    plain = share_of_few(recipe)
    assert share_of_few(dataclasses.replace(recipe, **fields)) > plain + 0.1
