"""The same training on TensorFlow, JAX and torch, from the same weights on the same batches."""

import importlib.util

import numpy as np
import pytest

from tests.conftest import run_python

STEPS = """
import sys, numpy as np, keras, keras_resnet as kr
weights, precision = sys.argv[1:3]
rng = np.random.default_rng(0)
labels = np.arange(64) % 2
pixels = (labels[:, None, None, None] * 90 + rng.integers(0, 160, (64, 8, 8, 1))).astype("uint8")
split = kr.data.from_arrays(pixels, labels, ("dark", "bright"))
model = kr.ResNet((1, 1), kr.residual_block, filters=(8, 8), stem=kr.stems.cifar, input_shape=(8, 8, 1), classes=2)
with np.load(weights) as arrays:
    model.set_weights([arrays[name] for name in arrays.files])
recipe = kr.training.Recipe(epochs=3, batch_size=16, ema=0.9, flip=True, mixup=0.4, precision=precision, remat=True)
result = kr.training.fit(model, recipe, split, split, directory=sys.argv[4])
np.savez(sys.argv[3], *model.get_weights(), loss=result.history["loss"], rate=result.history["learning_rate"])
"""


@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_backends_train_alike(precision, tmp_path, rng):
    import keras_resnet as kr

    model = kr.ResNet((1, 1), kr.residual_block, filters=(8, 8), stem=kr.stems.cifar, input_shape=(8, 8, 1), classes=2)
    np.savez(tmp_path / "start.npz", *model.get_weights())
    outcomes = {}
    for backend in ("tensorflow", "jax", "torch"):
        if importlib.util.find_spec(backend) is None:
            continue
        arguments = [str(tmp_path / name) for name in ("start.npz", f"{backend}.npz", backend)]
        run_python(STEPS, arguments[0], precision, *arguments[1:], backend=backend)
        with np.load(arguments[1]) as arrays:
            outcomes[backend] = {name: arrays[name] for name in arrays.files}
    assert "jax" in outcomes
    expected = outcomes.pop("tensorflow")
    tolerance = 2e-4 if precision == "float32" else 2e-2
    for outcome in outcomes.values():
        for name, value in outcome.items():
            np.testing.assert_allclose(value, expected[name], rtol=tolerance, atol=tolerance, err_msg=name)
