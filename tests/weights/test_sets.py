"""Files with several sets of weights: averages, students and teachers, and networks that are a part of another one."""

import logging

import numpy as np
import pytest

import keras_resnet as kr
from keras_resnet import weights
from keras_resnet.weights.sets import chosen
from tests.hostile.pickled import tensor
from tests.hostile.writers import write_torch_raw
from tests.torch_names import torch_state
from tests.weights.tiny_net import random_net, tiny

FIRST = "layer1.0.conv1.weight"
KERNEL = "conv2_block1_1_conv"


@pytest.fixture(scope="module")
def model():
    return random_net()


@pytest.fixture(scope="module")
def state(model):
    return torch_state(model)


def write(path, sets):
    """A torch checkpoint: dicts of arrays, nested as given."""
    arrays = []

    def pickled(value):
        if isinstance(value, dict):
            return {name: pickled(entry) for name, entry in value.items()}
        if not isinstance(value, np.ndarray):
            return value
        arrays.append(value)
        return tensor(str(len(arrays) - 1), value)

    state = pickled(sets)
    return write_torch_raw(path, state, arrays)


def zeros(state):
    return {name: np.zeros_like(array) for name, array in state.items()}


def with_prefix(prefix, state):
    return {f"{prefix}{name}": array for name, array in state.items()}


def kernel(source, **options):
    loaded = tiny()
    kr.load_weights(loaded, source, **options)
    return np.asarray(loaded.get_layer(KERNEL).kernel)


def choose(names, state=""):
    said = []
    kept = chosen({name: np.zeros((2, 2)) for name in names}, state, said.append)
    return sorted(kept), said


@pytest.mark.parametrize(
    ("file", "asked", "is_trained"),
    [
        (lambda s: {"state_dict": s, "state_dict_ema": with_prefix("module.", zeros(s)), "epoch": 3}, "state_dict", 1),
        (lambda s: {"state_dict": s, "state_dict_ema": with_prefix("module.", zeros(s))}, "state_dict_ema", 0),
        (lambda s: {"model": zeros(s), "model_ema": s, "model_ema_best": zeros(s)}, "model_ema", 1),
        (lambda s: {"student": with_prefix("module.backbone.", s), "teacher": zeros(s)}, "student", 1),
        (lambda s: {"student": with_prefix("module.backbone.", s), "teacher": zeros(s)}, "teacher", 0),
        (
            lambda s: {**with_prefix("module.encoder_q.", s), **with_prefix("module.encoder_k.", zeros(s))},
            "encoder_k",
            0,
        ),
    ],
)
def test_the_set_that_is_asked_for_is_loaded(file, asked, is_trained, model, state, tmp_path):
    path = write(tmp_path / "net.pth", file(state))
    expected = np.asarray(model.get_layer(KERNEL).kernel) * is_trained
    np.testing.assert_array_equal(kernel(path, state=asked), expected)
    np.testing.assert_array_equal(kernel(weights.like("ResNet50", "zoo", path, state=asked)), expected)


def test_of_an_encoder_and_its_copy_the_trained_one_is_loaded_and_the_rest_is_named(model, state, tmp_path, caplog):
    sets = {**with_prefix("module.encoder_q.", state), **with_prefix("module.encoder_k.", zeros(state))}
    path = write(tmp_path / "moco.pth.tar", {"epoch": 200, "state_dict": {**sets, "module.queue": np.zeros((4, 4))}})
    with caplog.at_level(logging.WARNING, "keras_resnet.weights"):
        np.testing.assert_array_equal(kernel(path), np.asarray(model.get_layer(KERNEL).kernel))
    assert "state_dict.encoder_q is loaded, not state_dict.encoder_k, state_dict.queue" in caplog.text


@pytest.mark.parametrize(
    ("names", "first", "others"),
    [
        (["teacher.", "student."], "teacher", "student"),
        (["student.module.backbone.", "teacher.backbone."], "teacher.backbone", "student.backbone"),
        (["", "ema."], "ema", "the one without a prefix"),
        (["module.", "ema.module."], "ema", "the one without a prefix"),
        (["model.", "model.ema."], "model.ema", "model"),
        (["module.", "teacher."], "the one without a prefix", "teacher"),
        (["momentum_encoder.", "backbone."], "backbone", "momentum_encoder"),
        (["module.base_encoder.", "module.momentum_encoder."], "base_encoder", "momentum_encoder"),
        (["", "teacher."], "the one without a prefix", "teacher"),
        (["state_dict.", "ema."], "ema", "state_dict"),
    ],
)
def test_the_network_that_is_kept_after_a_training_comes_first(names, first, others):
    kept, said = choose([f"{prefix}{FIRST}" for prefix in names])
    assert kept == [FIRST]
    assert said == [f"the file has several sets: {first} is loaded, not {others}; state= or --state chooses another"]


def test_a_file_of_networks_of_which_none_is_preferred_asks_for_a_name():
    with pytest.raises(ValueError, match="the name of one: a, b. Type, for example, --state a, or state='a'"):
        choose([f"a.{FIRST}", f"b.{FIRST}"])
    with pytest.raises(ValueError, match="the name of one: a, b.c. Type"):
        choose([f"a.{FIRST}", f"b.c.{FIRST}"])
    assert choose([f"a.{FIRST}", f"b.{FIRST}"], "b")[0] == [FIRST]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (
            ["model.", "model_ema."],
            "state must be one of the sets in the file: model, model_ema. Received: state='emma'",
        ),
        ([""], "state must be left out for this file, which has one set. Received: state='emma'"),
    ],
)
def test_a_set_that_is_not_there_is_answered_with_those_that_are(names, message):
    with pytest.raises(ValueError, match=message):
        choose([f"{prefix}{FIRST}" for prefix in names], "emma")


@pytest.mark.parametrize("others", [["ema."], ["student.", "teacher."]])
def test_a_dot_asks_for_the_set_without_a_prefix(others):
    tensors = {f"{prefix}{FIRST}": np.full((2, 2), number) for number, prefix in enumerate(["", *others])}
    assert chosen(tensors, ".", lambda text: None)[FIRST][0, 0] == 0
    with pytest.raises(ValueError, match=rf"state must be one of the sets in the file: \., {others[0][:-1]}"):
        chosen(tensors, "emma", print)
    with pytest.raises(ValueError, match="state must be one of the sets in the file: ema. Received: state='.'"):
        choose([f"ema.{FIRST}"], ".")


def test_a_teacher_without_a_student_is_not_preferred():
    with pytest.raises(ValueError, match="the name of one: small, teacher"):
        choose([f"small.{FIRST}", f"teacher.{FIRST}"])
    assert choose([f"backbone.{FIRST}", f"teacher.{FIRST}"])[1][0].startswith("the file has several sets: backbone is")


def test_a_classifier_beside_the_network_is_its_classifier(model, state, tmp_path):
    moved = {name if name.startswith("fc.") else f"backbone.{name}": array for name, array in state.items()}
    loaded = tiny()
    kr.load_weights(loaded, write(tmp_path / "net.pth", {"state_dict": moved}))
    np.testing.assert_array_equal(loaded.get_layer("predictions").kernel, model.get_layer("predictions").kernel)


def test_what_belongs_to_a_detector_around_the_network_is_named():
    names = [f"backbone.body.{FIRST}", "backbone.fpn.inner.weight", "rpn.head.conv.weight", "rpn.head.conv.bias"]
    assert choose(names) == ([FIRST], ["the file has several sets: backbone.body is loaded, not backbone.fpn, rpn"])


def test_numbers_beside_the_weights_need_no_word():
    said = []
    tensors = {
        f"state_dict.{FIRST}": np.zeros((2, 2)),
        "best_acc1": np.zeros(()),
        "n_averaged": np.zeros(()),
    }
    assert list(chosen(tensors, "", said.append)) == [FIRST]
    assert said == []


def test_names_of_strangers_are_shown_short_and_printable():
    _, said = choose([FIRST, f"\x1b[31m{'a' * 500}.{FIRST}"])
    assert said[0].isprintable()
    assert len(said[0]) < 200


def test_a_state_of_a_wrong_type_is_refused():
    with pytest.raises(TypeError, match="state must be a string. Received: state=3"):
        kr.load_weights(tiny(), "net.pth", state=3)
    with pytest.raises(TypeError, match="state must be a string. Received: state=3"):
        weights.like("ResNet50", "zoo", "net.pth", state=3)
