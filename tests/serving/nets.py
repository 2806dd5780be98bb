"""Two versions of a small network with different answers, and these answers.

An answer is right if it is the one that TensorFlow's C++ loader computes when the version gets no other request. The
server must give the same answer under load, during a swap of versions and among requests that it refuses. That an
export computes the same as its network is tested in tests/export.
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
# The class names of each version.
CLASSES = {1: [f"old {name}" for name in NAMES], 2: [f"new {name}" for name in NAMES]}


class Subjects(NamedTuple):
    """Two exported versions, the inputs of the requests, and the right probabilities.

    Attributes:
        folder: directory of the versions.
        warm: directory of the same versions, with all warm-up requests.
        networks: the network of each version.
        pixels: images (N, 32, 32, 3).
        files: contents of M image files.
        pixel_probabilities: for each version the probabilities of the pixels.
        file_probabilities: for each version the probabilities of the files.
    """

    folder: Path
    warm: Path
    networks: Sequence[keras.Model]
    pixels: np.ndarray
    files: Sequence[bytes]
    pixel_probabilities: Sequence[np.ndarray]
    file_probabilities: Sequence[np.ndarray]


def export_versions(folder: Path, make: Callable[[], keras.Model] = kr.ResNet20) -> Subjects:
    """Exports versions 1 and 2."""
    rng = np.random.default_rng(0)
    pixels, files = rng.uniform(0, 255, (16, SIDE, SIDE, 3)).astype("float32"), list(SOUND.values())
    networks, pixel_probabilities, file_probabilities = [], [], []
    for version in (1, 2):
        network = make()
        network.layers[-1].kernel.assign(rng.normal(0, 1, network.layers[-1].kernel.shape))
        kr.export.saved_model(network, folder, version, CLASSES[version], warmup=pixels[:5], explain=True)
        model = Model(folder / str(version))
        networks.append(network)
        pixel_probabilities.append(_probabilities(model, "serving_default", pixels))
        file_probabilities.append(_probabilities(model, "serving_bytes", files))
    return Subjects(folder, folder, networks, pixels, files, pixel_probabilities, file_probabilities)


@functools.cache
def small() -> Subjects:
    """Exports two versions of a small network, once for all tests of a process. This takes 15 s.

    The versions in `folder` have one warm-up request, for files, because most tests send only files. All warm-up
    requests would take 8 s.
    """
    warm, folder = export_versions(_folder(), functools.partial(kr.CifarResNet, 8)), _folder()
    shutil.copytree(warm.folder, folder)
    for path in folder.glob("*/assets.extra/*"):
        logs = list(tf.data.TFRecordDataset(str(path)).as_numpy_iterator())
        with tf.io.TFRecordWriter(str(path)) as writer:
            for log in logs:
                if PredictionLog.FromString(log).predict_log.request.model_spec.signature_name == "serving_bytes":
                    writer.write(log)
    return warm._replace(folder=folder)


class Strict(NamedTuple):
    """An export that refuses the whole request if one file is not an image. Its class names are numbers."""

    network: keras.Model
    folder: Path


@functools.cache
def strict() -> Strict:
    """Exports such a network, once for all tests of a process."""
    network, folder, rng = kr.CifarResNet(8, classes=3), _folder(), np.random.default_rng(0)
    network.layers[-1].kernel.assign(rng.normal(0, 1, network.layers[-1].kernel.shape))
    kr.export.saved_model(network, folder, on_invalid="raise")
    return Strict(network, folder)


def _folder() -> Path:
    folder = tempfile.TemporaryDirectory()
    atexit.register(folder.cleanup)
    return Path(folder.name) / "net"  # warm-up requests contain this name


def publish(exported: Path, served: Path, version: int) -> None:
    """Adds a version to the served directory: a copy of version 1 or 2, which is odd or even as `version` is.

    Like an export, it writes to another directory and renames that.
    """
    aside = served / f".{version}-aside"
    shutil.copytree(exported / str(2 - version % 2), aside)
    aside.rename(served / str(version))


def _probabilities(model: Model, signature_name: str, inputs: Any) -> np.ndarray:
    signature = model.signatures[signature_name]
    (feed,) = signature.inputs.values()
    return model.run({feed.name: tf.make_tensor_proto(inputs)}, [signature.outputs["probabilities"].name])[0]
