"""Two versions of a small network that answer differently, and what they answer.

Right is what TensorFlow's C++ loader computes of a version that nobody else asks: under load, in mid-swap and among
requests that are refused the same has to come. That an export says what its network says is for test_export.
"""

from __future__ import annotations

import atexit
import functools
import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf
from tensorflow_serving.apis.prediction_log_pb2 import PredictionLog

import keras_resnet as kr
from tests.export.test_images import SOUND
from tests.serving.c_api import Model

SIDE = 32
NAMES = ("aeroplane", "car", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "löwe")
# As each version calls them.
CLASSES = {1: [f"old {name}" for name in NAMES], 2: [f"new {name}" for name in NAMES]}


class Subjects(NamedTuple):
    """The versions, and what clients ask about: pixels (N, 32, 32, 3) or files (M); and each one's probabilities."""

    folder: Path
    warm: Path  # the same versions, with all requests for a server to warm up
    networks: Sequence[keras.Model]
    pixels: np.ndarray
    files: Sequence[bytes]
    of_pixels: Sequence[np.ndarray]
    of_files: Sequence[np.ndarray]


def write(folder: Path, make: Callable[[], keras.Model] = kr.ResNet20) -> Subjects:
    """Exports versions 1 and 2."""
    rng = np.random.default_rng(0)
    pixels, files = rng.uniform(0, 255, (16, SIDE, SIDE, 3)).astype("float32"), list(SOUND.values())
    networks, of_pixels, of_files = [], [], []
    for version in (1, 2):
        network = make()
        network.layers[-1].kernel.assign(rng.normal(0, 1, network.layers[-1].kernel.shape))
        kr.export.saved_model(network, folder, version, CLASSES[version], warmup=pixels[:5])
        model = Model(folder / str(version))
        networks.append(network)
        of_pixels.append(_probabilities(model, "serving_default", pixels))
        of_files.append(_probabilities(model, "serving_bytes", files))
    return Subjects(folder, folder, networks, pixels, files, of_pixels, of_files)


@functools.cache
def small() -> Subjects:
    """The same of a small network, exported once for all tests of a process, which takes 15 s.

    Its versions are warmed up with one request, for files: all that most tests ask, and all requests take 8 s.
    """
    warm, folder = write(_folder(), functools.partial(kr.CifarResNet, 8)), _folder()
    shutil.copytree(warm.folder, folder)
    for path in folder.glob("*/assets.extra/*"):
        logs = list(tf.data.TFRecordDataset(str(path)).as_numpy_iterator())
        with tf.io.TFRecordWriter(str(path)) as writer:
            for log in logs:
                if PredictionLog.FromString(log).predict_log.request.model_spec.signature_name == "serving_bytes":
                    writer.write(log)
    return warm._replace(folder=folder)


class Strict(NamedTuple):
    """An export that fails a request in which a file is no image; with class numbers for names."""

    network: keras.Model
    folder: Path


@functools.cache
def strict() -> Strict:
    """Exported once for all tests too."""
    network, folder, rng = kr.CifarResNet(8, classes=3), _folder(), np.random.default_rng(0)
    network.layers[-1].kernel.assign(rng.normal(0, 1, network.layers[-1].kernel.shape))
    kr.export.saved_model(network, folder, on_invalid="raise")
    return Strict(network, folder)


def _folder() -> Path:
    folder = tempfile.TemporaryDirectory()
    atexit.register(folder.cleanup)
    return Path(folder.name) / "net"  # the name that warm-up requests ask for


def put(made: Path, served: Path, version: int) -> None:
    """One of the two, the odd or the even, becomes a version of what is served, as an export does: by renaming."""
    aside = served / f".{version}-aside"
    shutil.copytree(made / str(2 - version % 2), aside)
    aside.rename(served / str(version))


def _probabilities(model: Model, name: str, given: Any) -> np.ndarray:
    signature = model.signatures[name]
    (feed,) = signature.inputs.values()
    return model.run({feed.name: tf.make_tensor_proto(given)}, [signature.outputs["probabilities"].name])[0]
