""".keras files of strangers: what a file declares is built only if its weights account for it."""

import io
import json
import zipfile

import h5py
import keras
import numpy as np
import pytest

import keras_resnet as kr
from keras_resnet.training.run import open_model
from keras_resnet.weights.keras_files import LARGEST_CONFIG, open_keras_file
from tests import needs, processes

NOT_ENOUGH = "model.weights.h5 must have the values of all variables, [0-9,]{13,} bytes. Received: [0-9,]{6} bytes"
TOO_LARGE = "each layer must have an output of at most 268,435,456 numbers. Received: "
HUGE_METRIC = {"module": "keras.metrics", "class_name": "AUC", "config": {"num_thresholds": 10**9}}


def layers(config):
    return {layer["class_name"]: layer["config"] for layer in config["config"]["layers"]}


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """A compiled model with a model inside, and its file."""
    tiny = kr.ResNet(
        (1,), kr.residual_block, filters=(8,), stem=kr.stems.cifar, input_shape=(8, 8, 3), classes=4, drop_rate=0.1
    )
    image = keras.Input((8, 8, 3))
    outer = keras.Model(image, keras.layers.Dense(2)(tiny(image)))
    for model in (tiny, outer):
        model.compile("adam", "mse")
        model.optimizer.build(model.trainable_variables)
    folder = tmp_path_factory.mktemp("original")
    tiny.save(folder / "tiny.keras")
    outer.save(folder / "outer.keras")
    return {"tiny": tiny, "outer": outer}, folder


def with_config(path, change, out):
    """The file at `path` with a changed configuration, written to `out`."""
    with zipfile.ZipFile(path) as before, zipfile.ZipFile(out, "w") as after:
        for name in before.namelist():
            content = before.read(name)
            if name == "config.json":
                config = json.loads(content)
                content = changed if isinstance(changed := change(config), bytes) else json.dumps(config)
            after.writestr(name, content)
    return out


def last(**values):
    """The last layer gets another description of its class, or parts of it."""
    return lambda config: config["config"]["layers"][-1].update(values)


def normalization(**values):
    """A normalization with statistics for a huge shape is described in another way."""

    def change(config):
        layer = next(layer for layer in config["config"]["layers"] if layer["class_name"] == "Normalization")
        layer.update(build_config={"input_shape": [None, 10**10]}, **values)
        layer["config"].update(mean=1.0, variance=1.0)

    return change


def edited(kind, **values):
    return lambda config: layers(config)[kind].update(values)


CHANGES = {
    "units": (edited("Dense", units=10**10), TOO_LARGE + r"\(None, 10000000000\) of 'predictions'"),
    "units that fit an output": (edited("Dense", units=2**27), NOT_ENOUGH),
    "units beyond integers": (edited("Dense", units=10**30), TOO_LARGE),
    "a kernel": (edited("Conv2D", kernel_size=[10**5, 10**5]), NOT_ENOUGH),
    "images": (edited("InputLayer", batch_shape=[None, 10**5, 10**5, 3]), TOO_LARGE + r".* of 'input_layer"),
    "a batch": (edited("InputLayer", batch_shape=[10**9, 8, 8, 3]), TOO_LARGE),
    "negative sides": (edited("InputLayer", batch_shape=[-1, -8, -8, -3]), "readable .keras file"),
    "axes of a normalization": (edited("Normalization", axis=[1, 2, 3]), "Normalization must have one axis"),
    "sound": (last(class_name="STFTSpectrogram"), "no layer of STFT"),
    "code": (last(class_name="Lambda"), "no layer of Lambda"),
    "a part of the module": (last(module="keras", class_name="layers.GRU"), "without dots. Received: 'layers.GRU'"),
    "a part of the module of a normalization": (
        normalization(module="keras", class_name="layers.Normalization"),
        "without dots. Received: 'layers.Normalization'",
    ),
    "a class as a function": (last(class_name="function", config="layers.GRU"), "without dots. Received: 'layers.GRU'"),
    "a cell": (last(module="keras.src.layers.rnn.conv_lstm", class_name="ConvLSTMCell"), "no layer of ConvLSTMCell"),
    "a class that others inherit from": (
        last(module="keras.src.layers.preprocessing.index_lookup", class_name="IndexLookup"),
        "no layer of IndexLookup",
    ),
    "a class that inherits": (
        last(module="keras.src.layers.rnn.conv_lstm", class_name="ConvLSTM"),
        "no layer of RNN",
    ),
    "a list": (lambda config: b"[]", "must describe a model. Received: a list"),
    "nothing": (lambda config: b"{}", "must be a functional or sequential keras.Model"),
    "no text": (lambda config: b"\xff\xfe\xfd", "readable .keras file"),
    "deep lists": (lambda config: b"[" * 10**6, "must not be nested deeper than 100 levels"),
    "deep objects": (lambda config: b'{"a":' * 200 + b"1" + b"}" * 200, "must not be nested deeper than 100 levels"),
    "length": (lambda config: b" " * (LARGEST_CONFIG + 1), "config.json must have at most 8,388,608 bytes"),
    "parts": (lambda config: b"[%s]" % b",".join([b'{"class_name":"a"}'] * 60_001), "must describe a model"),
    "parts of a model": (
        lambda config: b'{"a":[%s]}' % b",".join([b'{"class_name":"a"}'] * 60_001),
        "at most 60,000 layers and parts. Received: 60,001",
    ),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_file_that_declares_more_than_it_has_is_refused(original, tmp_path, name):
    change, message = CHANGES[name]
    path = with_config(original[1] / "tiny.keras", change, tmp_path / "bomb.keras")
    with pytest.raises(ValueError, match=message) as caught:
        open_model(path)
    assert len(str(caught.value)) < 500
    assert str(caught.value).isprintable()
    assert "model must be a readable .keras file. Received: " in str(caught.value)


@pytest.mark.parametrize("name", ["tiny", "outer"])
def test_a_file_gives_the_model_that_keras_gives(original, name):
    models, folder = original
    again = open_keras_file(folder / f"{name}.keras")
    parts = {type(layer): layer.name for layer in models[name].layers}
    assert {type(layer): layer.name for layer in again.layers} == parts
    images = np.random.default_rng(0).uniform(0, 255, (2, 8, 8, 3)).astype("float32")
    np.testing.assert_array_equal(again(images), models[name](images))
    assert not again.compiled


@pytest.mark.parametrize("name", ["tiny", "outer"])
def test_variables_of_metrics_in_a_file_are_not_built(original, tmp_path, name):
    def change(config):
        compiled = config if name == "tiny" else config["config"]["layers"][1]
        compiled["compile_config"]["metrics"] = [HUGE_METRIC]

    open_keras_file(with_config(original[1] / f"{name}.keras", change, tmp_path / "bomb.keras"))


@pytest.mark.parametrize("module", ["keras.layers", "keras.src.layers.preprocessing.normalization"])
def test_a_normalization_is_built_for_its_own_input(original, tmp_path, module):
    change = normalization(module=module)
    open_keras_file(with_config(original[1] / "tiny.keras", change, tmp_path / "bomb.keras"))


@pytest.mark.parametrize("base", ["RNN", "Hashing", "Lambda"])
def test_a_class_that_inherits_from_a_refused_one_is_refused(original, tmp_path, base):
    keras.saving.register_keras_serializable("tests")(type("Usual", (getattr(keras.layers, base),), {}))
    change = last(module="usual", class_name="Usual", registered_name="tests>Usual")
    try:
        with pytest.raises(ValueError, match=f"no layer of {base}"):
            open_keras_file(with_config(original[1] / "tiny.keras", change, tmp_path / "net.keras"))
    finally:
        keras.saving.get_custom_objects().pop("tests>Usual")


def test_weights_that_share_their_bytes_are_refused(original, tmp_path):
    """The file of weights must be one that `load_weights` would read; `tests/hostile` has the kinds."""
    with zipfile.ZipFile(original[1] / "tiny.keras") as archive:
        config, content = archive.read("config.json"), io.BytesIO(archive.read("model.weights.h5"))
    with h5py.File(content, "r+") as file:
        file["more"] = file["optimizer/vars/2"]
    with zipfile.ZipFile(tmp_path / "bomb.keras", "w") as archive:
        archive.writestr("config.json", config)
        archive.writestr("model.weights.h5", content.getvalue())
    with pytest.raises(ValueError, match="each tensor at its own place"):
        open_keras_file(tmp_path / "bomb.keras")


def test_weights_that_unpack_to_much_more_are_refused(original, tmp_path):
    with zipfile.ZipFile(tmp_path / "bomb.keras", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("config.json", "{}")
        archive.writestr("model.weights.h5", bytes(10**7))
    with pytest.raises(
        ValueError, match="model.weights.h5 must have at most [0-9]{2},[0-9]{3} bytes. Received: 10,000,"
    ):
        open_keras_file(tmp_path / "bomb.keras")


@pytest.mark.parametrize("missing", ["config.json", "model.weights.h5"])
def test_a_file_without_a_part_is_refused(tmp_path, missing):
    with zipfile.ZipFile(tmp_path / "net.keras", "w") as archive:
        archive.writestr({"config.json": "model.weights.h5", "model.weights.h5": "config.json"}[missing], "{}")
    with pytest.raises(ValueError, match=f"must have config.json and model.weights.h5. Received: no {missing}"):
        open_keras_file(tmp_path / "net.keras")


MEASURED = """
import sys
from pathlib import Path
from keras_resnet.weights.keras_files import open_keras_file
from tests.hostile.__main__ import measured
open_keras_file(Path(sys.argv[1]))
for path in sys.argv[2:]:
    print(round(measured(lambda: open_keras_file(Path(path)))[1]["peak"] / 2**20))
"""


@needs.linux
@pytest.mark.slow
@pytest.mark.processes
def test_memory_stays_small_whatever_a_file_declares(original, tmp_path):
    good = original[1] / "tiny.keras"
    bombs = [with_config(good, change, tmp_path / f"{name}.keras") for name, (change, _) in CHANGES.items()]
    peaks = processes.printed(processes.python("-c", MEASURED, good, *bombs)).split()
    assert len(peaks) == len(CHANGES)
    assert {name: peak for name, peak in zip(CHANGES, map(int, peaks)) if peak > 300} == {}


@pytest.mark.slow
@pytest.mark.processes
def test_the_command_says_it_in_one_line(original, tmp_path):
    path = with_config(original[1] / "tiny.keras", CHANGES["a kernel"][0], tmp_path / "bomb.keras")
    ended = processes.command("export", path, "--out", tmp_path / "out")
    assert ended.returncode == 2
    assert "must have the values of all variables" in " ".join(ended.stderr.split())
    assert "Traceback" not in ended.stderr
