"""Saves the weights of a model in each format that `load_weights` reads; a file is written completely or not at all."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
from safetensors.numpy import save

from keras_resnet._internal.atomic_files import atomic_write, writing
from keras_resnet._internal.keras_graph import keras_file, weights_file
from keras_resnet._internal.validation import one_of
from keras_resnet.weights.kinds import kind_of
from keras_resnet.weights.load import variables_of
from keras_resnet.weights.metadata import is_zoo_network, metadata_of, write_metadata
from keras_resnet.weights.table import Checkpoint
from keras_resnet.weights.tensors import WeightsError


def save_weights(
    model: keras.Model, path: str | os.PathLike[str], checkpoint: Checkpoint, name: str, dtype: str = "float32"
) -> None:
    """Writes a zoo model, a detector or their weights to a file; the ending of the path chooses the format.

    Args:
        model: a model with the weights of `checkpoint`.
        path: the file. `.keras` (the whole model, for plain Keras) and `.safetensors` files get metadata, from which
            `keras_resnet` builds the same network again. `.weights.h5` and `.npz` files have no metadata, so only the
            zoo's plain networks can be saved in them. The file is written under a temporary name and renamed.
        checkpoint: the checkpoint that the model was built for.
        name: the name of the model in the zoo, or of the detector.
        dtype: "float32", or "float16" for half the size in `.safetensors` and `.npz` files. Float16 values are
            converted to the type of the model when they are loaded.

    Raises:
        ValueError: the ending or type is not supported, or the network needs metadata and the format has none.
        OSError: the file cannot be written, for example on a full disk; a file that was there before stays.
    """
    path, ending = Path(path), check_path(path, checkpoint)
    one_of("dtype", dtype, DTYPES if ending in (".safetensors", ".npz") else DTYPES[:1])
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as temporary:
        WRITERS[ending](model, temporary, metadata_of(checkpoint, name, _classes(model)), dtype)


def check_path(path: str | os.PathLike[str], checkpoint: Checkpoint) -> str:
    """The ending of a path, if `save_weights` can write the weights of `checkpoint` there.

    Raises:
        ValueError: the ending is not supported or the path is a directory.
    """
    name = Path(path).name
    ending = next((ending for ending in WRITERS if name.endswith(ending)), None)
    if ending is None:
        raise WeightsError(f"out must end in one of {', '.join(WRITERS)}. Received: {name!r}")
    if Path(path).is_dir():
        raise WeightsError(f"out must be a file. Received: {str(path)!r}, a directory")
    if ending not in WITH_CARD and not is_zoo_network(checkpoint):
        raise WeightsError(
            f"out must end in one of {', '.join(WITH_CARD)} for weights {checkpoint.tag!r}: their network or "
            f"preprocessing differs from the zoo's, and other formats cannot store that. Received: {name!r}"
        )
    return ending


def _classes(model: keras.Model) -> int:
    variables = variables_of(model)
    kind = kind_of(variables)
    head = variables.get(kind.head[0])
    return (model.output if head is None else head).shape[-1] - kind.background


def _arrays(model: keras.Model, dtype: str) -> dict[str, np.ndarray]:
    variables = variables_of(model)
    return {name: keras.ops.convert_to_numpy(variable).astype(dtype) for name, variable in variables.items()}


def _safetensors(model: keras.Model, path: Path, metadata: dict[str, str], dtype: str) -> None:
    # `save_file` is not used: its files can be read by their owner only.
    path.write_bytes(save(_arrays(model, dtype), metadata))


def _npz(model: keras.Model, path: Path, metadata: dict[str, str], dtype: str) -> None:
    np.savez(path, **_arrays(model, dtype))  # type: ignore[arg-type]  # no layer has the name allow_pickle


def _keras(model: keras.Model, path: Path, metadata: dict[str, str], dtype: str) -> None:
    path.write_bytes(keras_file(model))
    write_metadata(path, metadata)


def _weights_h5(model: keras.Model, path: Path, metadata: dict[str, str], dtype: str) -> None:
    path.write_bytes(weights_file(model))


Writer = Callable[[keras.Model, Path, dict[str, str], str], None]
WRITERS: dict[str, Writer] = {".keras": _keras, ".safetensors": _safetensors, ".weights.h5": _weights_h5, ".npz": _npz}
DTYPES = ("float32", "float16")
WITH_CARD = (".keras", ".safetensors")
