"""Two versions of a small network that answer differently, and what they answer.

Right is what TensorFlow's C++ loader computes of a version that nobody else asks: under load, in mid-swap and among
requests that are refused the same has to come. That an export says what its network says is for test_export.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

import keras_resnet as kr
from tests.serving.c_api import Model
from tests.test_export_images import SOUND

SIDE = 32


class Subjects(NamedTuple):
    """What clients ask about: pixels (N, 32, 32, 3) or files (M); and each version's probabilities for them."""

    pixels: np.ndarray
    files: Sequence[bytes]
    of_pixels: Sequence[np.ndarray]
    of_files: Sequence[np.ndarray]


def write(folder: Path) -> Subjects:
    """Exports versions 1 and 2."""
    rng = np.random.default_rng(0)
    pixels, files = rng.uniform(0, 255, (16, SIDE, SIDE, 3)).astype("float32"), list(SOUND.values())
    of_pixels, of_files = [], []
    for version in (1, 2):
        network = kr.ResNet20()
        network.layers[-1].kernel.assign(rng.normal(0, 1, network.layers[-1].kernel.shape))
        kr.export.saved_model(network, folder, version, warmup=pixels[:2])
        model = Model(folder / str(version))
        of_pixels.append(_probabilities(model, "serving_default", pixels))
        of_files.append(_probabilities(model, "serving_bytes", files))
    return Subjects(pixels, files, of_pixels, of_files)


def put(made: Path, served: Path, version: int) -> None:
    """One of the two, the odd or the even, becomes a version of what is served, as an export does: by renaming."""
    aside = served / f".{version}-aside"
    shutil.copytree(made / str(2 - version % 2), aside)
    aside.rename(served / str(version))


def _probabilities(model: Model, name: str, given: Any) -> np.ndarray:
    signature = model.signatures[name]
    (feed,) = signature.inputs.values()
    return model.run({feed.name: tf.make_tensor_proto(given)}, [signature.outputs["probabilities"].name])[0]
