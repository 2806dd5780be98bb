"""From the argument `weights` of a constructor to a checkpoint, and to the arguments of the network that it fits."""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from keras_resnet import layers
from keras_resnet.weights import readers
from keras_resnet.weights.fetch import parse_source
from keras_resnet.weights.load import SPARE
from keras_resnet.weights.matching import HEAD
from keras_resnet.weights.table import MOST_CLASSES, Checkpoint, checkpoints_of, find
from keras_resnet.weights.tensors import WeightsError
from keras_resnet.weights.torch_names import in_keras_terms

# Arguments of `ResNet` that may have any value with a checkpoint. All other arguments must be those of the network that
# the checkpoint was trained with.
INDEPENDENT_ARGUMENTS = frozenset(
    {
        "include_top",
        "weights",
        "input_tensor",
        "input_shape",
        "pooling",
        "classes",
        "classifier_activation",
        "name",
        "include_preprocessing",
        "default_size",
        "output_stride",
        "drop_rate",
        "stochastic_depth",
        "last_gamma",
        "norm",  # its epsilon is compared when the weights are loaded
    }
)
SUFFIXES = (".h5", ".keras", ".safetensors", ".npz", ".pt", ".pth", ".th", ".bin", ".ckpt", ".tar")


def resolve(model: str, weights: str | os.PathLike[str] | Checkpoint) -> Checkpoint | Path:
    """The checkpoint or file that the argument `weights` of a constructor means.

    Args:
        model: name of the constructor.
        weights: a tag, "hf://owner/repository", the path of a file, or a checkpoint.

    Returns:
        A checkpoint, or the path of a file if nothing else is known about it.

    Raises:
        ValueError: there is no such tag or file.
        TypeError: `weights` has another type.
    """
    if isinstance(weights, Checkpoint):
        return weights
    if isinstance(weights, str) and weights in {tag for row in checkpoints_of(model) for tag in (row.tag, row.data)}:
        return find(model, weights)  # for a file with the name of a tag, write ./name
    source = parse_source(weights)
    text = os.fspath(weights)
    if isinstance(source, Checkpoint) or source.is_file():
        return source
    if not isinstance(weights, str) or os.sep in text or source.suffix in SUFFIXES:
        return source  # a path: the reader raises the error that there is no such file
    if not checkpoints_of(model):
        raise ValueError(
            f"weights of {model} must be None, the path of a file, or hf://owner/repository; no weights are published "
            f"for it. Received: weights={weights!r}"
        )
    return find(model, text)


def classes_in(path: Path) -> int | None:
    """Number of classes of the classifier in a file; None if it has no classifier or cannot be read."""
    try:
        with readers.open_tensors(path, SPARE) as tensors:
            kernel = in_keras_terms(tensors).get(HEAD[0])
    except WeightsError:
        return None  # `load_weights` raises the error later, with more details
    classes = kernel.shape[-1] if kernel and len(kernel.shape) == 2 else 0
    return classes if 0 < classes <= MOST_CLASSES else None


def constructor_arguments(
    model: str,
    checkpoint: Checkpoint,
    row: Mapping[str, Any],
    explicit: Mapping[str, Any],
    defaults: Mapping[str, Any],
) -> dict[str, Any]:
    """The arguments of `ResNet` that build the network which a checkpoint fits.

    Args:
        model: name of the constructor.
        checkpoint: the checkpoint that is loaded into the network.
        row: the arguments of `ResNet` in the zoo's row of this model.
        explicit: the arguments that the caller passed.
        defaults: the default arguments of `ResNet`.

    Returns:
        Arguments that replace those of `row`; none that the caller passed.

    Raises:
        ValueError: the checkpoint needs other arguments than the row or the caller has.
    """
    # A model whose name is not in the zoo may take any checkpoint.
    if checkpoint.model not in ("", model) and checkpoints_of(model):
        raise ValueError(f"weights of {model} must not be those of {checkpoint.model}. Received: {checkpoint.tag!r}")
    # A checkpoint of the table has only the arguments that differ from the zoo's row. A checkpoint of the hub has all
    # arguments, and they may describe another network than the row.
    needed = {**defaults, **(row if checkpoint.model else {}), **checkpoint.fields}
    given = explicit if checkpoint.model else {**defaults, **row, **explicit}
    needed |= {"mean": tuple(checkpoint.mean), "std": tuple(checkpoint.std)}
    differing = [
        f"{name}={_shown(needed[name])}, not {_shown(given[name])}"
        for name in needed
        if name in given and name not in INDEPENDENT_ARGUMENTS and not _same(given[name], needed[name])
        if name not in ("mean", "std") or (name in explicit and len(explicit[name]) == len(needed[name]))
    ]
    if differing:
        raise ValueError(
            f"weights={checkpoint.tag!r} do not fit {model} with these arguments; they need " + "; ".join(differing)
        )
    changes = {**checkpoint.fields, "mean": checkpoint.mean, "std": checkpoint.std}
    path = Path(checkpoint.source)
    if classes := checkpoint.classes or (classes_in(path) if path.is_file() else None):
        changes["classes"] = classes
    if checkpoint.channels != 3 and "input_tensor" not in explicit:
        side = checkpoint.size if explicit.get("include_top", True) else None
        shape = (side, side, checkpoint.channels)
        changes["input_shape"] = shape if layers.channel_axis() == -1 else (shape[-1], *shape[:2])
    return {name: value for name, value in changes.items() if name not in explicit}


def same_network(fields: Mapping[str, Any], other: Mapping[str, Any], defaults: Mapping[str, Any]) -> bool:
    """Whether `ResNet` builds the same network with two sets of arguments; missing arguments have their defaults."""
    return all(
        _same(fields.get(name, default), other.get(name, default))
        for name, default in defaults.items()
        if name not in INDEPENDENT_ARGUMENTS
    )


def _same(value: Any, other: Any) -> bool:
    """Whether two arguments are equal; two partial functions are equal if function and bound arguments are."""
    if isinstance(value, functools.partial) and isinstance(other, functools.partial):
        return (value.func, value.args, value.keywords) == (other.func, other.args, other.keywords)
    value, other = (array.tolist() if isinstance(array, np.ndarray) else array for array in (value, other))
    if isinstance(value, list | tuple) and isinstance(other, list | tuple):
        return len(value) == len(other) and all(map(_same, value, other))
    return bool(value == other)


def _shown(value: Any) -> str:
    """An argument as an error shows it: a function by its name, a partial function with its bound arguments."""
    if isinstance(value, functools.partial):
        bound = ", ".join(f"{name}={_shown(argument)}" for name, argument in value.keywords.items())
        return f"{_shown(value.func)}({bound})"
    return getattr(value, "__name__", repr(value))
