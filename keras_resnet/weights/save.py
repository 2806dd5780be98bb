"""Saving a model's weights in any of the formats that are read, whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
from safetensors.numpy import save

from keras_resnet._internal.atomic_files import atomic_write
from keras_resnet._internal.validation import one_of
from keras_resnet.weights.load import variables_of
from keras_resnet.weights.metadata import is_zoo_network, metadata_of, write_metadata
from keras_resnet.weights.table import Checkpoint
from keras_resnet.weights.tensors import WeightsError


def save_weights(
    model: keras.Model, path: str | os.PathLike[str], checkpoint: Checkpoint, name: str, dtype: str = "float32"
) -> None:
    """Writes a zoo model, or its weights, to a file of the kind that its name says.

    Args:
        model: with the weights of `checkpoint`.
        path: ends in `.keras` (the whole model, for plain Keras) or `.safetensors`, both with a card,
            which `keras_resnet` reads, or `.weights.h5` or `.npz`, for networks that need no card. It is written beside
            and renamed.
        checkpoint: what the model was built for.
        name: the model's in the zoo.
        dtype: "float32", or "float16" for half the size, in `.safetensors` and `.npz`; they load as float32.

    Raises:
        ValueError: another ending or type, or a network that needs a card in a file that cannot have one.
    """
    path, ending = Path(path), check_path(path, checkpoint)
    one_of("dtype", dtype, DTYPES if ending in (".safetensors", ".npz") else DTYPES[:1])
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as aside:
        WRITERS[ending](model, aside, metadata_of(checkpoint, name, model.output.shape[-1]), dtype)


def check_path(path: str | os.PathLike[str], checkpoint: Checkpoint) -> str:
    """The ending of a path to save these weights at; a `ValueError` if it is none that will do."""
    name = Path(path).name
    ending = next((ending for ending in WRITERS if name.endswith(ending)), None)
    if ending is None:
        raise WeightsError(f"out must end in one of {', '.join(WRITERS)}. Received: {name!r}")
    if Path(path).is_dir():
        raise WeightsError(f"out must be a file. Received: {str(path)!r}, a directory")
    if ending not in WITH_CARD and not is_zoo_network(checkpoint):
        raise WeightsError(
            f"out must end in one of {', '.join(WITH_CARD)} for weights {checkpoint.tag!r}: their network or its "
            f"preprocessing is not the zoo's plain one, and other files cannot say so. Received: {name!r}"
        )
    return ending


def _arrays(model: keras.Model, dtype: str) -> dict[str, np.ndarray]:
    variables = variables_of(model)
    return {name: keras.ops.convert_to_numpy(variable).astype(dtype) for name, variable in variables.items()}


def _safetensors(model: keras.Model, path: Path, card: dict[str, str], dtype: str) -> None:
    # Not `save_file`, whose files only their owner can read.
    path.write_bytes(save(_arrays(model, dtype), card))


def _npz(model: keras.Model, path: Path, card: dict[str, str], dtype: str) -> None:
    np.savez(path, **_arrays(model, dtype))  # type: ignore[arg-type]  # no layer is called allow_pickle


def _keras(model: keras.Model, path: Path, card: dict[str, str], dtype: str) -> None:
    model.save(path)
    write_metadata(path, card)


def _weights_h5(model: keras.Model, path: Path, card: dict[str, str], dtype: str) -> None:
    model.save_weights(path)


Writer = Callable[[keras.Model, Path, dict[str, str], str], None]
WRITERS: dict[str, Writer] = {".keras": _keras, ".safetensors": _safetensors, ".weights.h5": _weights_h5, ".npz": _npz}
DTYPES = ("float32", "float16")
WITH_CARD = (".keras", ".safetensors")
