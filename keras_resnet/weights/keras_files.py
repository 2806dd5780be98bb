"""Opens `.keras` files, which hold a whole model, also those of strangers.

The configuration in a file decides which layers are built and how large they are. So the model is first built without
values of variables. Only if the weights in the file account for its variables, it is built again and gets the weights.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_resnet._internal.keras_graph import (
    class_of,
    deserialized,
    nested_graphs,
    nodes_of,
    variables_without_values,
)
from keras_resnet.weights.readers import hdf5, zips
from keras_resnet.weights.tensors import WeightsError

CONFIG, WEIGHTS, NORMALIZATION = "config.json", "model.weights.h5", "Normalization"
LARGEST_CONFIG = 2**23  # bytes; that of ResNet-1202 has 4.3e6
DEEPEST = 100  # levels of nesting in a configuration; a model in a model adds eight
MOST_OBJECTS = 60_000  # layers, initializers, types and so on; ResNet-1202 has 25,000
LARGEST_TENSOR = 2**28  # numbers in an output of a layer, for one image; as float32 1 GiB
SPARE = 2**20  # bytes of variables that the file need not account for
LARGEST_EXPANSION = 4  # Keras does not compress; weights lose a tenth if another program does
# Layers for sound, text and sequences, and lists of layers: some of them need memory or time that neither their
# variables nor their outputs show. A class that inherits from one of them is refused too: Keras' cells inherit from
# DropoutRNNCell, lookups from IndexLookup.
REFUSED = frozenset(
    (
        *("Bidirectional", "CategoryEncoding", "ConvLSTM1D", "ConvLSTM2D", "ConvLSTM3D", "ConvLSTMCell"),
        *("Discretization", "DropoutRNNCell", "FeatureSpace", "FlaxLayer", "GRU", "GRUCell", "HashedCrossing"),
        *("Hashing", "IndexLookup", "IntegerLookup", "JaxLayer", "LSTM", "LSTMCell", "Lambda", "MelSpectrogram"),
        *("Pipeline", "RNN", "STFTSpectrogram", "SimpleRNN", "SimpleRNNCell", "StackedRNNCells", "StringLookup"),
        *("TFSMLayer", "TextVectorization", "TimeDistributed", "TorchModuleWrapper"),
    )
)


def open_keras_file(path: Path) -> keras.Model:
    """The model in a `.keras` file, not compiled.

    Args:
        path: the file.

    Raises:
        ValueError: the file is damaged, or declares more than its weights account for. A damaged file can raise any
            error in Keras; it becomes a `ValueError`.
    """
    try:
        with zips.open_archive(path) as archive:
            if missing := {CONFIG, WEIGHTS} - set(archive.namelist()):
                raise WeightsError(f"the archive must have {CONFIG} and {WEIGHTS}. Received: no {min(missing)}")
            with archive.open(CONFIG) as file:
                config = _read_config(file.read(LARGEST_CONFIG + 1))
            with zips.unpacked(archive, WEIGHTS, LARGEST_EXPANSION * path.stat().st_size) as weights:
                hdf5.check_hdf5(weights)
                _check_size(config, weights.stat().st_size)
                model = deserialized(config)
                model.load_weights(weights)
    except RecursionError as error:
        raise WeightsError(f"the {CONFIG} must not be nested deeper than {DEEPEST} levels") from error
    except Exception as error:
        reason = str(error).rpartition("Exception encountered: ")[2]  # before it Keras prints the whole configuration
        raise WeightsError(reason[:250] or type(error).__name__) from error
    return model


def _read_config(text: bytes) -> dict[str, Any]:
    """The configuration of a model, without how it was compiled.

    Raises:
        ValueError: it is too long or nested too deep, or has layers that networks for images do not have.
    """
    if len(text) > LARGEST_CONFIG:
        raise WeightsError(f"the {CONFIG} must have at most {LARGEST_CONFIG:,} bytes. Received: more")
    config = json.loads(text)
    if not isinstance(config, dict):
        raise WeightsError(f"the {CONFIG} must describe a model. Received: a {type(config).__name__}")
    level, objects, depth = [config], 0, 0
    while level:
        if (depth := depth + 1) > DEEPEST:
            raise WeightsError(f"the {CONFIG} must not be nested deeper than {DEEPEST} levels")
        for part in level:
            if isinstance(part, dict) and isinstance(part.get("class_name"), str):
                objects += 1
                _check_object(part)
        level = [child for parent in level for child in _children(parent)]
    if objects > MOST_OBJECTS:
        raise WeightsError(f"the {CONFIG} must have at most {MOST_OBJECTS:,} layers and parts. Received: {objects:,}")
    return config


def _children(part: Any) -> list[Any]:
    values = part.values() if isinstance(part, dict) else part
    return [value for value in values if isinstance(value, dict | list)]


def _check_object(part: dict[str, Any]) -> None:
    """Checks the description of an object, and removes what could make Keras build more than it describes."""
    for text in _names(part):
        # Keras looks for a class by f"{module}.{class_name}", but writes no class name that has a part of the module.
        if "." in text:
            raise WeightsError(f"class_name must be a name without dots. Received: {text[:50]!r}")
    kinds = _kinds(part)
    if refused := kinds & REFUSED:
        raise WeightsError(f"a network for images must have no layer of {min(refused)}. Received: {_name(part)!r}")
    part.pop("compile_config", None)  # of a model in the model; metrics and losses can be of any size
    if NORMALIZATION in kinds:
        # Keras would build the layer for any shape in here. It is built when it is called.
        part.pop("build_config", None)
        axis = part["config"].get("axis", -1)
        if isinstance(axis, list) and len(axis) > 1:
            raise WeightsError(f"{NORMALIZATION} must have one axis. Received: {len(axis)} in {_name(part)!r}")


def _names(part: dict[str, Any]) -> list[str]:
    """The names of the class that a description has: a function is described by its name in place of a `config`."""
    return [name for name in (part.get("class_name"), part.get("config")) if isinstance(name, str)]


def _kinds(part: dict[str, Any]) -> set[str]:
    """The names of the class that Keras finds for a description and of the classes that it inherits from."""
    inherited = {kind.__name__ for kind in getattr(class_of(part), "__mro__", ())}
    return inherited | {name.rpartition(">")[2] for name in _names(part)}


def _name(part: dict[str, Any]) -> str:
    config = part.get("config")
    return str(config.get("name") if isinstance(config, dict) else config)[:50]


def _check_size(config: dict[str, Any], available: int) -> None:
    """Raises an error unless a model needs at most `available` bytes of variables, and has outputs of a usual size.

    The model is built without values of variables.
    """
    # `Normalization` is the one layer that computes values when it is built: it broadcasts mean and variance.
    normalizations = set()

    def without_normalization(part: dict[str, Any]) -> dict[str, Any]:
        if NORMALIZATION not in _kinds(part):
            return part
        normalizations.add(name := part["config"]["name"])
        as_rescaling = {"module": "keras.layers", "class_name": "Rescaling", "registered_name": None}
        return {**part, **as_rescaling, "config": {"name": name, "scale": 1.0, "offset": 0.0}}

    sketch = json.loads(json.dumps(config), object_hook=without_normalization)
    with variables_without_values() as variables:
        model = deserialized(sketch)
        needed = sum(math.prod(variable.shape) * np.dtype(variable.dtype).itemsize for variable in variables)
        for graph in nested_graphs(model):
            for node in nodes_of(graph):
                for tensor in node.outputs:
                    sides = [1 if side is None else side for side in tensor.shape]
                    if not 0 <= math.prod(sides) <= LARGEST_TENSOR:
                        raise WeightsError(
                            f"each layer must have an output of at most {LARGEST_TENSOR:,} numbers. Received: "
                            f"{tensor.shape} of {node.operation.name!r:.50}"
                        )
                    if node.operation.name in normalizations:
                        needed += 3 * 4 * max(sides)  # mean, variance and count in float32
    if needed > available + SPARE:
        raise WeightsError(
            f"{WEIGHTS} must have the values of all variables, {needed:,} bytes. Received: {available:,} bytes"
        )
