"""Choice: from `weights=...` of a constructor to the checkpoint that is meant and the network that it fits."""

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

# The arguments of `ResNet` that may be what they like beside a checkpoint; all others make up the network it fits.
FREE = frozenset(
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
    """What `weights` stands for in the constructor of a model.

    Args:
        model: name of the constructor.
        weights: a tag, "hf://owner/repository", the path of a file, or a checkpoint.

    Returns:
        A checkpoint, or the path of a file of which nothing else is known.

    Raises:
        ValueError: there is no such tag or file.
    """
    if isinstance(weights, Checkpoint):
        return weights
    if isinstance(weights, str) and weights in {tag for row in checkpoints_of(model) for tag in (row.tag, row.data)}:
        return find(model, weights)  # a file of this name is ./name
    found = parse_source(weights)
    text = os.fspath(weights)
    if isinstance(found, Checkpoint) or found.is_file():
        return found
    if not isinstance(weights, str) or os.sep in text or found.suffix in SUFFIXES:
        return found  # the reader will say that it is not there
    if not checkpoints_of(model):
        raise ValueError(
            f"weights of {model} must be None, the path of a file, or hf://owner/repository; none are published for "
            f"it. Received: weights={weights!r}"
        )
    return find(model, text)


def classes_in(path: Path) -> int | None:
    """How many classes the head in a file tells apart; None where there is none, or the file cannot be read."""
    try:
        with readers.open_tensors(path, SPARE) as tensors:
            kernel = in_keras_terms(tensors).get(HEAD[0])
    except WeightsError:
        return None  # loading will say it better
    classes = kernel.shape[-1] if kernel and len(kernel.shape) == 2 else 0
    return classes if 0 < classes <= MOST_CLASSES else None


def arguments(
    model: str,
    checkpoint: Checkpoint,
    row: Mapping[str, Any],
    explicit: Mapping[str, Any],
    defaults: Mapping[str, Any],
) -> dict[str, Any]:
    """The arguments of `ResNet` that build the network which a checkpoint fits.

    Args:
        model: name of the constructor.
        checkpoint: to be loaded.
        row: the fields of the constructor.
        explicit: what the caller asked for.
        defaults: of `ResNet`.

    Returns:
        What to pass instead of `row`, where the caller did not say it.

    Raises:
        ValueError: the checkpoint is of another network than the row or the caller says.
    """
    if checkpoint.model not in ("", model) and checkpoints_of(model):  # a model of no name in the zoo may be any
        raise ValueError(f"weights of {model} must not be those of {checkpoint.model}. Received: {checkpoint.tag!r}")
    # A row of the table says in what its network differs from the zoo's; a repository of the hub describes it whole,
    # and may describe another.
    wanted = {**defaults, **(row if checkpoint.model else {}), **checkpoint.fields}
    given = explicit if checkpoint.model else {**defaults, **row, **explicit}
    wanted |= {"mean": tuple(checkpoint.mean), "std": tuple(checkpoint.std)}
    differing = [
        f"{name}={_word(wanted[name])}, not {_word(given[name])}"
        for name in wanted
        if name in given and name not in FREE and not _same(given[name], wanted[name])
        if name not in ("mean", "std") or (name in explicit and len(explicit[name]) == len(wanted[name]))
    ]
    if differing:
        raise ValueError(
            f"weights={checkpoint.tag!r} are of another network than {model} as asked for: of one with "
            + "; ".join(differing)
        )
    changes = {**checkpoint.fields, "mean": checkpoint.mean, "std": checkpoint.std}
    local = Path(checkpoint.source)
    if classes := checkpoint.classes or (classes_in(local) if local.is_file() else None):
        changes["classes"] = classes
    if checkpoint.channels != 3 and "input_tensor" not in explicit:
        side = checkpoint.size if explicit.get("include_top", True) else None
        shape = (side, side, checkpoint.channels)
        changes["input_shape"] = shape if layers.channel_axis() == -1 else (shape[-1], *shape[:2])
    return {name: value for name, value in changes.items() if name not in explicit}


def same_network(fields: Mapping[str, Any], other: Mapping[str, Any], defaults: Mapping[str, Any]) -> bool:
    """Whether two sets of arguments of `ResNet` make the same network."""
    return all(
        _same(fields.get(name, default), other.get(name, default))
        for name, default in defaults.items()
        if name not in FREE
    )


def _same(value: Any, other: Any) -> bool:
    """Whether two arguments are equal; two functions with the same arguments bound to them are."""
    if isinstance(value, functools.partial) and isinstance(other, functools.partial):
        return (value.func, value.args, value.keywords) == (other.func, other.args, other.keywords)
    value, other = (v.tolist() if isinstance(v, np.ndarray) else v for v in (value, other))
    if isinstance(value, list | tuple) and isinstance(other, list | tuple):
        return len(value) == len(other) and all(map(_same, value, other))
    return bool(value == other)


def _word(value: Any) -> str:
    if isinstance(value, functools.partial):
        return f"{_word(value.func)}({', '.join(f'{k}={_word(v)}' for k, v in value.keywords.items())})"
    return getattr(value, "__name__", repr(value))
