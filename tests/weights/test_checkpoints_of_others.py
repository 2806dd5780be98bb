"""torch checkpoints as training programs write them: with arguments, optimizers, averages, and under other names."""

import argparse
import collections
import functools
import importlib
import logging
import pathlib

import keras
import numpy as np
import pytest

import keras_resnet as kr
from tests import needs
from tests.conftest import randomise
from tests.torch_names import torch_state

pytestmark = [needs.package("torch"), pytest.mark.slow]  # importing torch takes seconds

tiny = functools.partial(
    kr.ResNet, (1, 1), kr.bottleneck_block, filters=(8, 16), stem=kr.stems.cifar, input_shape=(16, 16, 3), classes=10
)


@pytest.fixture(scope="module")
def trained():
    importlib.import_module("torch")  # takes seconds, which are not those of the first test
    model = tiny()
    randomise(model, np.random.default_rng(0))
    return model


def state_of(model, prefix=""):
    import torch

    return {f"{prefix}{name}": torch.tensor(value) for name, value in torch_state(model).items()}


def check_loaded(path, trained):
    model = tiny()
    kr.load_weights(model, path)
    for variable, expected in zip(model.weights, trained.weights, strict=True):
        np.testing.assert_array_equal(keras.ops.convert_to_numpy(variable), keras.ops.convert_to_numpy(expected))


class Own:
    """A class of somebody's program."""


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("protocol", [2, 4])
def test_what_is_next_to_the_weights_is_not_read(tmp_path, trained, legacy, protocol):
    """As in `model_best.pth.tar` of timm and checkpoints of torchvision's references."""
    import torch

    others = {
        "args": argparse.Namespace(lr=0.1, names=["a"], path=pathlib.Path("runs/1")),
        "metric": np.float64(81.2),
        "array": np.arange(3),
        "history": collections.defaultdict(list, {"loss": [1.0]}),
        "counts": collections.Counter("abca"),
        "classes": {"cat", "dog"},
        "frozen": frozenset((1, 2)),
        "own": Own(),
        "optimizer": {"state": {0: {"step": torch.tensor(1.0)}}, "param_groups": [{"lr": 0.1, "params": [0]}]},
        "dtype": torch.float32,
        "device": torch.device("cpu"),
    }
    content = {"epoch": 3, "arch": "resnet50", **others, "state_dict": state_of(trained)}
    path = tmp_path / "model_best.pth.tar"
    torch.save(content, path, _use_new_zipfile_serialization=not legacy, pickle_protocol=protocol)
    check_loaded(path, trained)


def test_the_moving_average_is_loaded_as_timm_does_and_the_others_are_named(tmp_path, trained, caplog):
    import torch

    average = {**state_of(trained, "module."), "n_averaged": torch.tensor(5)}
    raw = {name: torch.zeros_like(value) for name, value in state_of(trained).items()}
    torch.save({"state_dict": raw, "state_dict_ema": average}, tmp_path / "last.pth.tar")
    with caplog.at_level(logging.WARNING, "keras_resnet.weights"):
        check_loaded(tmp_path / "last.pth.tar", trained)
    assert "the file has several sets: state_dict_ema is loaded, not state_dict" in caplog.text


def test_settings_of_an_average_are_no_weights(tmp_path, trained):
    import torch

    torch.save({"model": state_of(trained), "model_ema": {"decay": 0.9999}}, tmp_path / "last.pt")
    check_loaded(tmp_path / "last.pt", trained)


@pytest.mark.parametrize("prefix", ["backbone.", "encoder.", "resnet.", "student.", "module.backbone.resnet."])
def test_a_prefix_of_all_names_is_left_out_and_told(tmp_path, trained, prefix, caplog):
    import torch

    torch.save(state_of(trained, prefix), tmp_path / "net.pt")
    with caplog.at_level(logging.WARNING, "keras_resnet.weights"):
        check_loaded(tmp_path / "net.pt", trained)
    assert f"the names are read without '{prefix.removeprefix('module.')}'" in caplog.text


@pytest.mark.parametrize("wrap", [lambda whole: whole, lambda whole: {"model": whole, "epoch": 3}])
def test_a_network_of_torch_is_answered_with_what_to_save(tmp_path, trained, wrap):
    import torch

    torch.save(wrap(Own()), tmp_path / "whole.pt")
    with pytest.raises(ValueError, match="an object of .*Own; load it in torch, and save model.state_dict"):
        kr.load_weights(tiny(), tmp_path / "whole.pt")


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")  # old files are there, nevertheless
def test_a_network_of_torchscript_is_answered_with_what_to_save(tmp_path, trained):
    import torch

    torch.jit.script(torch.nn.Linear(2, 2)).save(tmp_path / "script.pt")
    with pytest.raises(ValueError, match="a TorchScript file; load it in torch, and save model.state_dict"):
        kr.load_weights(tiny(), tmp_path / "script.pt")
