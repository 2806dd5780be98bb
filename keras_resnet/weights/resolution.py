"""From the argument `weights` of a constructor to a checkpoint, and to the arguments of the network that it fits."""

from __future__ import annotations

import functools
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from keras_resnet import layers
from keras_resnet._internal.validation import printable
from keras_resnet.weights import readers
from keras_resnet.weights.fetch import parse_source
from keras_resnet.weights.kinds import CLASSIFIER, Kind
from keras_resnet.weights.load import SPARE
from keras_resnet.weights.readers.hdf5 import UNNAMED
from keras_resnet.weights.recognition import example_of, form_of, is_torch
from keras_resnet.weights.table import MOST_CLASSES, Checkpoint, checkpoints_of, find
from keras_resnet.weights.tensors import WeightsError

LOGGER = logging.getLogger("keras_resnet.weights")

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
# Arguments that shapes show. They are not compared for a file on this machine, whose shapes are.
SHOWN_BY_SHAPES = frozenset({"depths", "filters", "stem_filters", "groups", "base_width", "gate"})
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
    if isinstance(source, Checkpoint) or source.exists():  # the reader says what a directory is
        return source
    if not isinstance(weights, str) or os.sep in text or source.suffix in SUFFIXES:
        return source  # a path: the reader raises the error that there is no such file
    if not checkpoints_of(model):
        raise ValueError(
            f"weights of {model} must be None, the path of a file, or hf://owner/repository; no weights are published "
            f"for it. Received: weights={weights!r}"
        )
    return find(model, text)


class Contents(NamedTuple):
    """What the names and shapes in a file show.

    Attributes:
        form: name of the variant that the file can only be of; "" if any.
        has_classifier: whether it has a classifier of one layer.
        classes: number of its outputs; None if that is not a number that a classifier can have.
    """

    form: str
    has_classifier: bool
    classes: int | None


def contents(path: str | os.PathLike[str], state: str = "") -> Contents | None:
    """What a file shows of its network, a classifier; None if it cannot be read.

    Args:
        path: the file.
        state: name of the set of weights, if the file has several; "": the usual one.
    """
    try:
        return read_contents(Path(path), state)
    except WeightsError:
        return None  # `load_weights` raises the error later, with more details


def read_contents(path: Path, state: str = "", kind: Kind = CLASSIFIER) -> Contents:
    """What a file shows of its network, which is of a kind.

    Raises:
        ValueError: the file cannot be read.
    """
    with readers.open_tensors(path, SPARE, state, lambda text: None, kind.first_layers) as tensors:
        named = kind.in_keras_terms(tensors)
        form = "" if is_torch(tensors) else form_of(named)
    kernel = named.get(kind.head[0])
    classes = kernel.shape[-1] - kind.background if kernel and len(kernel.shape) == 2 else 0
    # Files of the first versions of Keras 3 have numbers in place of the names of layers.
    unnamed = any(name.startswith(UNNAMED) for name in tensors)
    return Contents(form, unnamed or kernel is not None, classes if 0 < classes <= MOST_CLASSES else None)


def recognized(model: str, path: Path, found: Contents | None) -> str:
    """The tag of the checkpoint of keras.applications whose form alone a file can have; "" if names do not show it.

    A warning says what is assumed.

    Args:
        model: name of the constructor.
        path: the file.
        found: what the file shows.
    """
    example = example_of(found.form, model) if found else None
    if example is None:
        return ""
    LOGGER.warning(
        "weights: %s has layers that only keras.applications' %s has. The network gets its strides, epsilon and "
        "preprocessing, as from weights.like(%r, %r, file).",
        printable(path),
        model,
        model,
        example.tag,
    )
    return example.tag


def classes_of(checkpoint: Checkpoint, path: Path) -> int:
    """Number of classes of a checkpoint whose file is at `path`; 0 if it is not known.

    Raises:
        ValueError: the classifier in the file has another number of classes than the checkpoint describes.
    """
    found = contents(path, checkpoint.state)
    stored = (found.classes if found else None) or checkpoint.classes
    if checkpoint.classes and stored != checkpoint.classes:
        raise WeightsError(
            f"weights: {checkpoint.tag} must have the {checkpoint.classes:,} classes of its description. Received: "
            f"{path.name} with a classifier of {stored:,} classes"
        )
    return stored


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
    path = Path(checkpoint.source).expanduser()
    not_compared = INDEPENDENT_ARGUMENTS | (SHOWN_BY_SHAPES if path.is_file() else set())
    differing = [
        f"{name}={_shown(needed[name])}, not {_shown(given[name])}"
        for name in needed
        if name in given and name not in not_compared and not _same(given[name], needed[name])
        if name not in ("mean", "std") or (name in explicit and len(explicit[name]) == len(needed[name]))
    ]
    if differing:
        raise ValueError(
            f"weights={checkpoint.tag!r} do not fit {model} with these arguments; they need " + "; ".join(differing)
        )
    changes = {**checkpoint.fields, "mean": checkpoint.mean, "std": checkpoint.std}
    if "classes" not in explicit:
        classes = classes_of(checkpoint, path) if path.is_file() else checkpoint.classes
        changes |= {"classes": classes} if classes else {}
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
