"""Heads of files: the classifier by its names, other heads, and none; the body is loaded all or nothing."""

import logging

import keras
import numpy as np
import pytest
from safetensors.numpy import save_file

import keras_resnet as kr
from tests.torch_names import torch_state
from tests.weights.tiny_net import random_net, tiny

ZEROS = np.zeros((4, 64), "float32")


@pytest.fixture(scope="module")
def model():
    return random_net()


@pytest.fixture(scope="module")
def state(model):
    return torch_state(model)


def load(tensors, folder, **arguments):
    save_file(tensors, folder / "net.safetensors")
    loaded = tiny(**arguments)
    before = loaded.get_weights()
    kr.load_weights(loaded, folder / "net.safetensors")
    return loaded, before


def with_head(state, name):
    return {key.replace("fc.", f"{name}.") if key.startswith("fc.") else key: array for key, array in state.items()}


def body(state):
    return {name: array for name, array in state.items() if not name.startswith("fc.")}


@pytest.mark.parametrize("name", ["fc", "linear", "head.fc", "head", "classifier", "last_linear"])
def test_a_classifier_of_the_right_shape_is_loaded_under_each_usual_name(name, model, state, tmp_path):
    loaded, _ = load(with_head(state, name), tmp_path)
    for ours, theirs in zip(loaded.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_of_two_classifiers_the_one_that_is_loaded_is_named(model, state, tmp_path, caplog):
    with caplog.at_level(logging.WARNING, "keras_resnet"):
        loaded, _ = load({**state, "classifier.weight": ZEROS, "head.weight": ZEROS[0]}, tmp_path)
    assert "net.safetensors has several classifiers, fc, classifier; fc is loaded." in caplog.text
    np.testing.assert_array_equal(loaded.get_layer("predictions").kernel, model.get_layer("predictions").kernel)


@pytest.mark.parametrize(
    ("heads", "listed"),
    [
        ({}, "net.safetensors has no classifier of one layer; that of resnet keeps its values."),
        (
            {"fc.1.weight": ZEROS, "fc.1.bias": ZEROS[0]},
            "has no classifier of one layer (fc.1.bias, fc.1.weight); that",
        ),
        (
            {"fc.0.weight": ZEROS, "fc.3.weight": ZEROS},
            "has no classifier of one layer (fc.0.weight, fc.3.weight); that",
        ),
        ({"projector.0.weight": ZEROS}, "has no classifier of one layer (projector.0.weight); that"),
        ({"fc.weight": ZEROS, "fc.bias": ZEROS[0, :4]}, "has another number of classes; that of resnet keeps"),
    ],
    ids=["none", "after dropout", "of two layers", "of another task", "of other classes"],
)
def test_another_head_starts_anew_and_says_so(heads, listed, model, state, tmp_path, caplog):
    with caplog.at_level(logging.WARNING, "keras_resnet"):
        loaded, before = load({**body(state), **heads}, tmp_path)
    assert listed in caplog.text
    np.testing.assert_array_equal(loaded.get_layer("conv1_conv").kernel, model.get_layer("conv1_conv").kernel)
    np.testing.assert_array_equal(loaded.get_layer("predictions").kernel, before[-2])


def test_without_the_top_other_heads_are_left_out_and_logged(model, state, tmp_path, caplog):
    with caplog.at_level(logging.INFO, "keras_resnet"):
        loaded, _ = load({**body(state), "fc.0.weight": ZEROS}, tmp_path, include_top=False)
    np.testing.assert_array_equal(loaded.get_layer("conv1_conv").kernel, model.get_layer("conv1_conv").kernel)
    assert [record.levelname for record in caplog.records if "left out (fc.0.weight)" in record.message] == ["INFO"]


def test_a_classifier_that_was_added_in_keras_starts_anew(tmp_path, model, caplog):
    bare = tiny(include_top=False, pooling="avg")
    bare.set_weights(model.get_weights()[:-2])
    added = keras.Model(bare.input, keras.layers.Dense(3, name="dense")(bare.output))
    added.save_weights(tmp_path / "mine.weights.h5")
    loaded = tiny()
    with caplog.at_level(logging.WARNING, "keras_resnet"):
        kr.load_weights(loaded, tmp_path / "mine.weights.h5")
    assert "has no classifier of one layer (dense/kernel, dense/bias)" in caplog.text
    np.testing.assert_array_equal(loaded.get_weights()[0], model.get_weights()[0])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: {name: array for name, array in s.items() if "layer1.0.bn2" not in name}, "not in the file: conv2"),
        (lambda s: {**s, "layer3.0.conv1.weight": ZEROS[:, :, None, None]}, "not in the model: conv4_block1_1_conv"),
        (lambda s: {**s, "attention.weight": ZEROS}, "not in the model: attention.weight"),
        (
            lambda s: {name: array for name, array in s.items() if name != "fc.bias"},
            "not in the file: predictions/bias",
        ),
        (lambda s: {**s, "fc.weight": np.zeros((10, 5), "float32")}, "predictions/kernel is .5, 10. in the file"),
    ],
)
def test_a_body_or_a_classifier_of_which_a_part_is_missing_stays_an_error(change, message, state, tmp_path):
    loaded = tiny()
    before = loaded.get_weights()
    save_file(change(state), tmp_path / "net.safetensors")
    with pytest.raises(ValueError, match=message):
        kr.load_weights(loaded, tmp_path / "net.safetensors")
    for ours, theirs in zip(loaded.get_weights(), before, strict=True):
        np.testing.assert_array_equal(ours, theirs)
