"""What all tests share."""

import os
import subprocess
import sys
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")  # as the command line has it; off by itself without AVX-512

import keras
import numpy as np
import pytest

ROOT = Path(__file__).parent.parent
SHARED = ROOT.parent / "shared" / "data"
FASHION = Path("/usr/share/datasets/fashion-mnist")  # Debian's package dataset-fashion-mnist
# It makes devices when it is imported, for which it is too late in a process that collects tests.
collect_ignore = ["two_devices.py"]


def run_python(code, *arguments, backend="tensorflow", cwd=ROOT):
    """What a process of its own prints, on another backend of Keras say; the test fails where it does."""
    run = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        env={**os.environ, "KERAS_BACKEND": backend},
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    return run.stdout


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def cheap_weights(monkeypatch):
    """Kernels of zeros, for tests that only count: drawing 200 million normal numbers takes seconds."""
    monkeypatch.setattr(
        keras.initializers.VarianceScaling, "__call__", lambda self, shape, dtype=None: keras.ops.zeros(shape, dtype)
    )


@pytest.fixture
def channels_first():
    keras.config.set_image_data_format("channels_first")
    yield
    keras.config.set_image_data_format("channels_last")


@pytest.fixture(autouse=True)
def _clean_keras():
    """No test sees another's layers or policy."""
    yield
    keras.config.set_dtype_policy("float32")
    keras.backend.clear_session()


def randomise(model, rng):
    """Random weights and batch-norm statistics, so that nothing hides behind a one or a zero."""
    for weight in model.weights:
        low, high = (0.5, 1.5) if weight.name in ("gamma", "moving_variance") else (-0.3, 0.3)
        if weight.name != "count" and weight.dtype == "float32":
            weight.assign(rng.uniform(low, high, weight.shape))


def randomise_evenly(model, rng):
    """As `randomise`, with kernels that keep the scale of what passes, so that the deepest net stays finite."""
    for weight in model.weights:
        if weight.name == "kernel":
            weight.assign(rng.normal(0, np.prod(weight.shape[:-1]) ** -0.5, weight.shape))
        elif weight.name in ("gamma", "moving_variance"):
            weight.assign(rng.uniform(0.5, 1.5, weight.shape))
        else:
            weight.assign(rng.uniform(-0.3, 0.3, weight.shape))


def photographs(count, side):
    """Real images, uint8 (N, side, side, 3), as many as `count`; none where ../shared/data is absent."""
    import tensorflow as tf

    files = sorted((SHARED / "bccd" / "JPEGImages").glob("*.jpg"))[:count]
    images = [tf.image.resize(tf.io.decode_jpeg(file.read_bytes(), channels=3), (side, side)) for file in files]
    return np.array(images, "uint8").reshape(-1, side, side, 3)
