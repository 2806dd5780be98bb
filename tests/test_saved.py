"""A saved model belongs to plain Keras: it loads where this package is not, and on another backend."""

import functools
import importlib.util
import json

import keras
import numpy as np
import pytest

import keras_resnet as kr
from keras_resnet.orderings import ORDERINGS
from tests.conftest import randomise, run_python

SMALL = {"filters": (8, 16), "input_shape": (33, 32, 3), "classes": 10, "classifier_activation": None}
build = functools.partial(kr.ResNet, (2, 2), **SMALL)

# One net for each thing that a net can have.
NETS = {
    **{ordering: functools.partial(build, ordering=ordering) for ordering in ORDERINGS},
    "basic": functools.partial(build, kr.residual_block),
    "zero_pad": functools.partial(build, kr.residual_block, shortcut=kr.shortcuts.zero_pad),
    "zero_pad_both": functools.partial(build, kr.residual_block, shortcut=kr.shortcuts.zero_pad_both),
    "project": functools.partial(build, shortcut=kr.shortcuts.project),
    "pool_project": functools.partial(build, shortcut=kr.shortcuts.pool_project, stem=kr.stems.deep),
    "rs": functools.partial(build, stem=kr.stems.deep_strided, gate=kr.gates.squeeze_excite),
    "cifar": functools.partial(build, stem=kr.stems.cifar),
    "groups": functools.partial(build, groups=4, base_width=32),
    "squeeze_excite": functools.partial(build, gate=kr.gates.squeeze_excite),
    "channel_attention": functools.partial(build, gate=kr.gates.efficient_channel_attention),
    "stochastic_depth": functools.partial(build, stochastic_depth=0.2, drop_rate=0.1),
    "dilated": functools.partial(build, output_stride=8, block=kr.residual_block),
    "subsample": functools.partial(build, kr.residual_block, filters=(8, 8), shortcut=kr.shortcuts.subsample),
}

# What the other process runs: it has never heard of keras_resnet.
READER = """
import json, sys
from pathlib import Path
import keras, numpy as np
folder = Path(sys.argv[1])
images = np.load(folder / "images.npy")
answers = {path.stem: keras.saving.load_model(path).predict(images, verbose=0) for path in folder.glob("*.keras")}
np.savez(folder / f"{keras.backend.backend()}.npz", **answers)
print(json.dumps([name for name in sys.modules if name.startswith("keras_resnet")]))
"""


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A folder with all nets, and what they said of some images."""
    rng = np.random.default_rng(0)
    folder = tmp_path_factory.mktemp("saved")
    images = rng.uniform(0, 255, (2, 33, 32, 3)).astype("float32")
    np.save(folder / "images.npy", images)
    answers = {}
    for name, make in NETS.items():
        model = make()
        randomise(model, rng)
        answers[name] = model.predict(images, verbose=0)
        model.save(folder / f"{name}.keras")
    return folder, answers


def read(folder, backend):
    # From a folder that has no keras_resnet in it; an installed one would be seen in sys.modules.
    printed = run_python(READER, folder, backend=backend, cwd=folder)
    assert json.loads(printed.splitlines()[-1]) == []
    return np.load(folder / f"{backend}.npz")


def close(answer, expected, tolerance):
    np.testing.assert_allclose(answer, expected, rtol=0, atol=tolerance * np.abs(expected).max())


def test_a_saved_model_loads_in_a_process_that_imports_only_keras(saved):
    folder, expected = saved
    answers = read(folder, "tensorflow")
    assert set(answers) == set(NETS)
    for name in NETS:
        close(answers[name], expected[name], 1e-6)


@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_the_same_model_says_the_same_on_another_backend(saved, backend):
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed")
    folder, expected = saved
    answers = read(folder, backend)
    for name in NETS:
        close(answers[name], expected[name], 1e-4)


BUILDER = """
import sys
import keras, numpy as np
import keras_resnet as kr
model = kr.ResNet18(input_shape=(32, 32, 3), classes=10)
images = np.load(sys.argv[1])
assert model.predict(images, verbose=0).shape == (2, 10)
model.compile("sgd", "sparse_categorical_crossentropy")
print(model.train_on_batch(images, np.array([1, 2])))
"""


@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_a_model_is_built_and_trained_on_another_backend(backend, tmp_path, rng):
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed")
    np.save(tmp_path / "images.npy", rng.uniform(0, 255, (2, 32, 32, 3)))
    printed = run_python(BUILDER, tmp_path / "images.npy", backend=backend)
    assert np.isfinite(float(printed.split()[-1]))


def test_the_deepest_network_can_be_opened_again(tmp_path, cheap_weights):
    """In a process that never built one: Python's recursion limit is still the usual there."""
    kr.ResNet1202().save(tmp_path / "deep.keras")
    code = "import sys; from pathlib import Path; from keras_resnet.training.run import open_model\n"
    code += "assert sys.getrecursionlimit() == 1000; print(len(open_model(Path(sys.argv[1])).layers))"
    assert int(run_python(code, tmp_path / "deep.keras")) > 4000


def test_weights_saved_alone_fit_a_net_built_anew(tmp_path, rng):
    first, second = build(), build()
    randomise(first, rng)
    first.save_weights(tmp_path / "net.weights.h5")
    second.load_weights(tmp_path / "net.weights.h5")
    images = rng.uniform(0, 255, (2, 33, 32, 3))
    np.testing.assert_array_equal(first.predict(images, verbose=0), second.predict(images, verbose=0))


def test_a_clone_is_the_same_network(rng):
    model = build(ordering="full_preactivation", gate=kr.gates.efficient_channel_attention)
    randomise(model, rng)
    clone = keras.models.clone_model(model)
    clone.set_weights(model.get_weights())
    images = rng.uniform(0, 255, (2, 33, 32, 3))
    np.testing.assert_array_equal(clone.predict(images, verbose=0), model.predict(images, verbose=0))
