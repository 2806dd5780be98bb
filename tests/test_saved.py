"""A saved model is plain Keras: it loads without this package, and on another backend."""

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

# Each option of a network is in one of them.
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

# The program of the other process. It loads the saved models before it imports keras_resnet.
READER = """
import json, sys
from pathlib import Path
import keras, numpy as np
folder, depths = Path(sys.argv[1]), json.loads(sys.argv[3])
images = np.load(folder / "images.npy")
draw = keras.initializers.VarianceScaling.__call__
# Loading replaces the initial weights, and JAX takes a second to compile their initialiser for each new shape.
keras.initializers.VarianceScaling.__call__ = lambda self, shape, dtype=None: keras.ops.zeros(shape, dtype)
predict = lambda model, images: keras.ops.convert_to_numpy(model(images, training=False))
if keras.backend.backend() == "jax":  # compiles a whole network faster than its single operations
    predict = lambda model, images: model.predict(images, verbose=0)
answers = {path.stem: predict(keras.saving.load_model(path), images) for path in folder.glob("*.keras")}
imported = [name for name in sys.modules if name.startswith("keras_resnet")]

sys.path.insert(0, sys.argv[2])
import dataclasses
import keras_resnet as kr
small = np.load(folder / "small.npy")
row = kr.weights.find("ResNet50V2", "keras")
fields = {**row.fields, "depths": depths}
row = dataclasses.replace(row, notop=str(folder / "keras.h5"), notop_hash="", fields=fields)
bare = {"include_top": False, "pooling": "avg", "input_shape": (32, 32, 3)}
answers["of keras.applications"] = predict(kr.ResNet50V2(weights=row, **bare), small)
answers["of torch"] = predict(kr.ResNet18(weights=folder / "torch.safetensors", **bare), small)

keras.initializers.VarianceScaling.__call__ = draw
model = kr.ResNet((1, 1), filters=(8, 16), input_shape=(32, 32, 3), classes=10)
assert model.predict(small, verbose=0).shape == (2, 10)
model.compile("sgd", "sparse_categorical_crossentropy")
loss = float(model.train_on_batch(small, np.array([1, 2])))
np.savez(folder / f"{keras.backend.backend()}.npz", **answers)
print(json.dumps({"imported": imported, "loss": loss}))
"""
CONVERTED = ("of keras.applications", "of torch")
OTHER_BACKENDS = [pytest.param(name, marks=needs.package(name)) for name in ("jax", "torch")]


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A folder with all networks, two weight files of other libraries and some images; the networks' outputs."""
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
    application = headless(original("ResNet50V2")[0])
    randomise(application, rng)
    write_as_keras_2(application, folder / "keras.h5")
    resnet = kr.ResNet18(classes=10)
    randomise(resnet, rng)
    write_as_torch(resnet, folder / "torch.safetensors")
    return folder, answers


@pytest.fixture(scope="module")
def read(saved):
    """A function that runs `READER` on a backend: returns its report, and the outputs by the name of the network."""
    folder, _ = saved

    @functools.cache
    def read(backend):
        # The working directory has no keras_resnet. An installed one would appear in sys.modules.
        command = ("-c", READER, folder, ROOT, json.dumps(CUT))
        environment = {"KERAS_BACKEND": backend, **processes.UNOPTIMIZED}
        ended = processes.python(*command, environment=environment, cwd=folder)
        report = json.loads(processes.printed(ended).splitlines()[-1])
        return report, dict(np.load(folder / f"{backend}.npz"))

    return read


def close(answer, expected, tolerance):
    np.testing.assert_allclose(answer, expected, rtol=0, atol=tolerance * np.abs(expected).max())


def test_the_nets_have_all_orderings():
    assert set(ORDERINGS) < set(NETS)


@pytest.mark.slow
@pytest.mark.processes
def test_a_saved_model_loads_in_a_process_that_imports_only_keras(saved, read):
    _, expected = saved
    report, answers = read("tensorflow")
    assert report["imported"] == []
    assert set(answers) == {*NETS, *CONVERTED}
    for name in NETS:
        close(answers[name], expected[name], 1e-6)


@pytest.mark.slow
@pytest.mark.processes
@pytest.mark.parametrize("backend", OTHER_BACKENDS)
def test_the_same_model_says_the_same_on_another_backend(saved, read, backend):
    _, expected = saved
    report, answers = read(backend)
    assert report["imported"] == []
    for name in NETS:
        close(answers[name], expected[name], 1e-4)


@pytest.mark.slow
@pytest.mark.processes
@pytest.mark.parametrize("backend", OTHER_BACKENDS)
def test_conversions_hold_on_other_backends(read, backend):
    (_, expected), (_, answers) = read("tensorflow"), read(backend)
    for name in CONVERTED:
        np.testing.assert_allclose(answers[name], expected[name], rtol=1e-3, atol=1e-3 * np.abs(expected[name]).max())


@pytest.mark.slow
@pytest.mark.processes
@pytest.mark.parametrize("backend", OTHER_BACKENDS)
def test_a_model_is_built_and_trained_on_another_backend(read, backend):
    report, _ = read(backend)
    assert np.isfinite(report["loss"])


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
    """Opens it in a process that has built no deep network, so that Python's recursion limit is the default.

    The network is a chain of 1,200 layers. It needs more recursive calls than the default limit, and is built in a
    tenth of the time of ResNet-1202.
    """
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(10_000)
    x = image = keras.Input((1, 1, 1))
    try:
        for _ in range(1200):
            x = keras.layers.Identity()(x)
        keras.Model(image, keras.layers.Flatten()(x)).save(tmp_path / "deep.keras")
    finally:
        sys.setrecursionlimit(limit)
    layers, raised_limit = map(int, processes.printed(processes.python("-c", OPENER, tmp_path / "deep.keras")).split())
    assert layers == 1202
    assert raised_limit >= 500 + 5 * zoo.DEEPEST


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
