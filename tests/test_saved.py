"""A saved model belongs to plain Keras: it loads where this package is not, and on another backend."""

import functools
import json
import sys

import keras
import numpy as np
import pytest

import keras_resnet as kr
from keras_resnet import zoo
from keras_resnet.orderings import ORDERINGS
from tests import needs, processes
from tests.conftest import ROOT, randomise
from tests.torch_names import write_as_torch
from tests.weights.test_parity_keras_applications import CUT, headless, original, write_as_keras_2

SMALL = {"filters": (8, 16), "input_shape": (33, 32, 3), "classes": 10, "classifier_activation": None}
build = functools.partial(kr.ResNet, **SMALL)
basic = functools.partial(build, (1, 2), kr.residual_block)

# Each thing that a net can have is in one of them.
NETS = {
    "original": functools.partial(build, (2, 2), ordering="original"),
    "bn_after_addition": functools.partial(
        build, (1, 1), ordering="bn_after_addition", shortcut=kr.shortcuts.project, groups=4, base_width=32
    ),
    "relu_before_addition": functools.partial(
        build,
        (1, 2),
        ordering="relu_before_addition",
        shortcut=kr.shortcuts.pool_project,
        stem=kr.stems.deep,
        gate=kr.gates.squeeze_excite,
    ),
    "relu_only_preactivation": functools.partial(
        build, (1, 2), ordering="relu_only_preactivation", stem=kr.stems.cifar, stochastic_depth=0.2, drop_rate=0.1
    ),
    "full_preactivation": functools.partial(
        build,
        (1, 2),
        ordering="full_preactivation",
        stem=kr.stems.deep_strided,
        gate=kr.gates.efficient_channel_attention,
    ),
    "zero_pad": functools.partial(basic, shortcut=kr.shortcuts.zero_pad),
    "zero_pad_both": functools.partial(basic, shortcut=kr.shortcuts.zero_pad_both),
    "dilated": functools.partial(basic, output_stride=8),
    "subsample": functools.partial(basic, filters=(8, 8), shortcut=kr.shortcuts.subsample),
}

# What the other process runs: it has never heard of keras_resnet before it is told to import it.
READER = """
import json, sys
from pathlib import Path
import keras, numpy as np
folder, depths = Path(sys.argv[1]), json.loads(sys.argv[3])
images = np.load(folder / "images.npy")
draw = keras.initializers.VarianceScaling.__call__
# What is drawn is replaced by what is in the file, and JAX takes a second to compile the drawing of each new shape.
keras.initializers.VarianceScaling.__call__ = lambda self, shape, dtype=None: keras.ops.zeros(shape, dtype)
say = lambda model, images: keras.ops.convert_to_numpy(model(images, training=False))
if keras.backend.backend() == "jax":  # compiles a whole network sooner than all its operations
    say = lambda model, images: model.predict(images, verbose=0)
answers = {path.stem: say(keras.saving.load_model(path), images) for path in folder.glob("*.keras")}
imported = [name for name in sys.modules if name.startswith("keras_resnet")]

sys.path.insert(0, sys.argv[2])
import dataclasses
import keras_resnet as kr
small = np.load(folder / "small.npy")
row = kr.weights.find("ResNet50V2", "keras")
fields = {**row.fields, "depths": depths}
row = dataclasses.replace(row, notop=str(folder / "keras.h5"), notop_hash="", fields=fields)
bare = {"include_top": False, "pooling": "avg", "input_shape": (32, 32, 3)}
answers["of keras.applications"] = say(kr.ResNet50V2(weights=row, **bare), small)
answers["of torch"] = say(kr.ResNet18(weights=folder / "torch.safetensors", **bare), small)

keras.initializers.VarianceScaling.__call__ = draw
model = kr.ResNet((1, 1), filters=(8, 16), input_shape=(32, 32, 3), classes=10)
assert model.predict(small, verbose=0).shape == (2, 10)
model.compile("sgd", "sparse_categorical_crossentropy")
loss = float(model.train_on_batch(small, np.array([1, 2])))
np.savez(folder / f"{keras.backend.backend()}.npz", **answers)
print(json.dumps({"imported": imported, "loss": loss}))
"""
CONVERTED = ("of keras.applications", "of torch")
OTHERS = [pytest.param(name, marks=needs.package(name)) for name in ("jax", "torch")]


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A folder with all nets, two files of others' weights, and what the nets said of some images."""
    rng = np.random.default_rng(0)
    folder = tmp_path_factory.mktemp("saved")
    images = rng.uniform(0, 255, (2, 33, 32, 3)).astype("float32")
    np.save(folder / "images.npy", images)
    answers = {}
    for name, make in NETS.items():
        model = make()
        randomise(model, rng)
        answers[name] = np.asarray(model(images, training=False))
        model.save(folder / f"{name}.keras")
    np.save(folder / "small.npy", rng.integers(0, 256, (2, 32, 32, 3)).astype("uint8"))
    theirs = headless(original("ResNet50V2")[0])
    randomise(theirs, rng)
    write_as_keras_2(theirs, folder / "keras.h5")
    resnet = kr.ResNet18(classes=10)
    randomise(resnet, rng)
    write_as_torch(resnet, folder / "torch.safetensors")
    return folder, answers


@pytest.fixture(scope="module")
def read(saved):
    """A function: what a process with another backend said, and its answers by the name of a net."""
    folder, _ = saved

    @functools.cache
    def read(backend):
        # From a folder that has no keras_resnet in it; an installed one would be seen in sys.modules.
        command = ("-c", READER, folder, ROOT, json.dumps(CUT))
        environment = {"KERAS_BACKEND": backend, **processes.UNOPTIMIZED}
        ended = processes.python(*command, environment=environment, cwd=folder)
        said = json.loads(processes.printed(ended).splitlines()[-1])
        return said, dict(np.load(folder / f"{backend}.npz"))

    return read


def close(answer, expected, tolerance):
    np.testing.assert_allclose(answer, expected, rtol=0, atol=tolerance * np.abs(expected).max())


def test_the_nets_have_all_orderings():
    assert set(ORDERINGS) < set(NETS)


@pytest.mark.slow
@pytest.mark.processes
def test_a_saved_model_loads_in_a_process_that_imports_only_keras(saved, read):
    _, expected = saved
    said, answers = read("tensorflow")
    assert said["imported"] == []
    assert set(answers) == {*NETS, *CONVERTED}
    for name in NETS:
        close(answers[name], expected[name], 1e-6)


@pytest.mark.slow
@pytest.mark.processes
@pytest.mark.parametrize("backend", OTHERS)
def test_the_same_model_says_the_same_on_another_backend(saved, read, backend):
    _, expected = saved
    said, answers = read(backend)
    assert said["imported"] == []
    for name in NETS:
        close(answers[name], expected[name], 1e-4)


@pytest.mark.slow
@pytest.mark.processes
@pytest.mark.parametrize("backend", OTHERS)
def test_conversions_hold_on_other_backends(read, backend):
    (_, wanted), (_, got) = read("tensorflow"), read(backend)
    for name in CONVERTED:
        np.testing.assert_allclose(got[name], wanted[name], rtol=1e-3, atol=1e-3 * np.abs(wanted[name]).max())


@pytest.mark.slow
@pytest.mark.processes
@pytest.mark.parametrize("backend", OTHERS)
def test_a_model_is_built_and_trained_on_another_backend(read, backend):
    said, _ = read(backend)
    assert np.isfinite(said["loss"])


OPENER = """
import sys
from pathlib import Path
from keras_resnet.training.run import open_model
assert sys.getrecursionlimit() == 1000
print(len(open_model(Path(sys.argv[1])).layers), sys.getrecursionlimit())
"""


@pytest.mark.slow
@pytest.mark.processes
def test_a_network_as_deep_as_the_deepest_can_be_opened_again(tmp_path):
    """In a process that never built one: Python's recursion limit is still the usual there.

    A chain of 1,200 layers is walked by more calls than that limit, and is made in a tenth of ResNet-1202's time.
    """
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(10_000)
    x = image = keras.Input((1,))
    try:
        for _ in range(1200):
            x = keras.layers.Identity()(x)
        keras.Model(image, x).save(tmp_path / "deep.keras")
    finally:
        sys.setrecursionlimit(limit)
    layers, raised = map(int, processes.printed(processes.python("-c", OPENER, tmp_path / "deep.keras")).split())
    assert layers == 1201
    assert raised >= 500 + 5 * zoo.DEEPEST


@pytest.mark.slow
def test_weights_saved_alone_fit_a_net_built_anew(tmp_path, rng):
    first, second = build((1, 1)), build((1, 1))
    randomise(first, rng)
    first.save_weights(tmp_path / "net.weights.h5")
    second.load_weights(tmp_path / "net.weights.h5")
    images = rng.uniform(0, 255, (2, 33, 32, 3))
    np.testing.assert_array_equal(first(images), second(images))


def test_a_clone_is_the_same_network(rng):
    model = build((1, 1), ordering="full_preactivation", gate=kr.gates.efficient_channel_attention)
    randomise(model, rng)
    clone = keras.models.clone_model(model)
    clone.set_weights(model.get_weights())
    images = rng.uniform(0, 255, (2, 33, 32, 3))
    np.testing.assert_array_equal(clone(images), model(images))
