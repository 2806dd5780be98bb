"""The same training on TensorFlow, JAX and torch, with the same initial weights and the same batches."""

import json

import numpy as np
import pytest

import keras_resnet as kr
from tests import needs, processes

pytestmark = [pytest.mark.slow, pytest.mark.processes]
TOLERANCES = {"float32": 2e-4, "float16": 2e-2}
STEPS = """
import json, sys, numpy as np, keras, keras_resnet as kr
weights, out, precisions = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
rng = np.random.default_rng(0)
labels = np.arange(64) % 2
pixels = (labels[:, None, None, None] * 90 + rng.integers(0, 160, (64, 8, 8, 1))).astype("uint8")
split = kr.data.from_arrays(pixels, labels, ("dark", "bright"))
model = kr.ResNet((1,), kr.residual_block, filters=(8,), stem=kr.stems.cifar, input_shape=(8, 8, 1), classes=2)
teacher = keras.models.clone_model(model)
for precision in precisions:
    with np.load(weights) as arrays:
        model.set_weights([arrays[name] for name in arrays.files])
        teacher.set_weights([1 - arrays[name] for name in arrays.files])
    options = {"ema_decay": 0.9, "flip": True, "mixup": 0.4, "precision": precision, "remat": True}
    recipe = kr.training.Recipe(epochs=2, batch_size=16, **options)
    result = kr.training.fit(model, recipe, split, split, directory=f"{out}_{precision}", teacher=teacher)
    history = {"loss": result.history["loss"], "rate": result.history["learning_rate"]}
    np.savez(f"{out}_{precision}/end.npz", *model.get_weights(), **history)
"""


@pytest.fixture(scope="module")
def train(tmp_path_factory):
    """A function that trains on a backend in each precision; returns final weights and history by precision."""
    directory = tmp_path_factory.mktemp("backends")
    model = kr.ResNet((1,), kr.residual_block, filters=(8,), stem=kr.stems.cifar, input_shape=(8, 8, 1), classes=2)
    np.savez(directory / "start.npz", *model.get_weights())

    def train_on(backend):
        arguments = [directory / "start.npz", directory / backend, json.dumps(list(TOLERANCES))]
        processes.printed(
            processes.python("-c", STEPS, *arguments, environment={"KERAS_BACKEND": backend, **processes.UNOPTIMIZED})
        )
        return {precision: read(directory / f"{backend}_{precision}" / "end.npz") for precision in TOLERANCES}

    return train_on


def read(path):
    with np.load(path) as arrays:
        return {name: arrays[name] for name in arrays.files}


@pytest.fixture(scope="module")
def expected(train):
    return train("tensorflow")


@pytest.mark.parametrize("backend", [pytest.param(name, marks=needs.package(name)) for name in ("jax", "torch")])
def test_backends_train_alike(backend, train, expected):
    results = train(backend)
    for precision, tolerance in TOLERANCES.items():
        assert set(results[precision]) == set(expected[precision])
        for name, value in results[precision].items():
            np.testing.assert_allclose(
                value, expected[precision][name], rtol=tolerance, atol=tolerance, err_msg=f"{precision}, {name}"
            )
