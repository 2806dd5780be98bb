"""The same training on TensorFlow, JAX and torch, with the same initial weights and the same batches."""

import json

import numpy as np
import pytest

import keras_resnet as kr
from tests import needs, processes

pytestmark = [pytest.mark.slow, pytest.mark.processes]
BUSY = {"epochs": 2, "ema_decay": 0.9, "flip": True, "mixup": 0.4, "remat": True, "distillation_weight": 0.5}
RECIPES = {
    "float32": BUSY,
    "float16": {**BUSY, "precision": "float16", "sam": 0.2},
    # Each of the three epochs trains one stage more.
    "unfreezing": {
        **{"epochs": 3, "unfreeze_epochs": 1, "layer_decay": 0.5, "ema_decay": 0.9, "clip_norm": 1.0, "sam": 0.2},
        **{"optimizer": "adam", "learning_rate": 0.01, "gradient_accumulation_steps": 2},
    },
}
TOLERANCES = {name: 2e-2 if options.get("precision") == "float16" else 2e-4 for name, options in RECIPES.items()}
STEPS = """
import json, sys, numpy as np, keras, keras_resnet as kr
weights, out, recipes = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
rng = np.random.default_rng(0)
labels = np.arange(64) % 2
pixels = (labels[:, None, None, None] * 90 + rng.integers(0, 160, (64, 8, 8, 1))).astype("uint8")
split = kr.data.from_arrays(pixels, labels, ("dark", "bright"))
model = kr.ResNet((1,), kr.residual_block, filters=(8,), stem=kr.stems.cifar, input_shape=(8, 8, 1), classes=2)
teacher = keras.models.clone_model(model)
for name, options in recipes.items():
    with np.load(weights) as arrays:
        model.set_weights([arrays[name] for name in arrays.files])
        teacher.set_weights([1 - arrays[name] for name in arrays.files])
    recipe = kr.training.Recipe(batch_size=16, **options)
    teaches = teacher if "distillation_weight" in options else None
    result = kr.training.fit(model, recipe, split, split, directory=f"{out}_{name}", teacher=teaches)
    history = {"loss": result.history["loss"], "rate": result.history["learning_rate"]}
    np.savez(f"{out}_{name}/end.npz", *model.get_weights(), **history)
"""


@pytest.fixture(scope="module")
def train(tmp_path_factory):
    """A function that trains on a backend by each recipe; returns final weights and history by the recipe's name."""
    directory = tmp_path_factory.mktemp("backends")
    model = kr.ResNet((1,), kr.residual_block, filters=(8,), stem=kr.stems.cifar, input_shape=(8, 8, 1), classes=2)
    np.savez(directory / "start.npz", *model.get_weights())

    def train_on(backend):
        arguments = [directory / "start.npz", directory / backend, json.dumps(RECIPES)]
        processes.printed(
            processes.python("-c", STEPS, *arguments, environment={"KERAS_BACKEND": backend, **processes.UNOPTIMIZED})
        )
        return {name: read(directory / f"{backend}_{name}" / "end.npz") for name in RECIPES}

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
    for recipe, tolerance in TOLERANCES.items():
        assert set(results[recipe]) == set(expected[recipe])
        for name, value in results[recipe].items():
            np.testing.assert_allclose(
                value, expected[recipe][name], rtol=tolerance, atol=tolerance, err_msg=f"{recipe}, {name}"
            )
