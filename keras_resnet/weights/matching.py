"""Matches the tensors of a file with the variables of a model by name, shape and type, before any value is read."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import numpy as np

from keras_resnet.stages import CLASSIFIER
from keras_resnet.weights.conversion import stem_of
from keras_resnet.weights.sets import is_head
from keras_resnet.weights.tensors import FLOATS, Tensor, WeightsError, changed

Shape = tuple[int, ...]

HEAD = (f"{CLASSIFIER}/kernel", f"{CLASSIFIER}/bias")
KERAS_HUB = re.compile(r"(v\d_)?stack_?\d+_block_?\d+_")
SHOWN = 4
MOST_CHANNELS = 32  # of an image; a first kernel with more input channels is not adapted


def match_tensors(
    tensors: Mapping[str, Tensor], shapes: Mapping[str, Shape], head: Sequence[str] = HEAD
) -> dict[str, Tensor]:
    """The tensor of a file for each variable of a model.

    Args:
        tensors: the tensors of the file by `layer/variable`, in Keras' layouts.
        shapes: the shapes of the model's variables by the same names.
        head: names of the variables whose shapes follow from the number of classes. The first one is a kernel.

    Returns:
        A tensor of the right shape for each name in `shapes`. The head is left out if the file has none of these
        names, or one for another number of classes.

    Raises:
        ValueError: names, shapes or types do not fit; the message lists the first ones.
    """
    available = {name: tensor for name, tensor in tensors.items() if name in shapes or not is_head(name)}
    stem = stem_of(shapes)
    if stem in available:
        available[stem] = _with_channels(available[stem], shapes[stem])
    needed = dict(shapes)
    if _has_other_classes(available, shapes, head[0]) or not any(name in available for name in head):
        needed = {name: shape for name, shape in needed.items() if name not in head}
        available = {name: tensor for name, tensor in available.items() if name not in head}
    _check(available, needed)
    return {name: available[name] for name in needed}


def _with_channels(kernel: Tensor, shape: Shape) -> Tensor:
    """The first kernel, adapted to the number of input channels of the model; see `channels_adapted`."""
    if len(kernel.shape) != 4 or kernel.shape[2] == shape[2] or kernel.shape[2] > MOST_CHANNELS:
        return kernel
    channels = shape[2]
    return changed(
        kernel,
        lambda values: channels_adapted(values, channels),
        (*kernel.shape[:2], channels, kernel.shape[3]),
    )


def channels_adapted(kernel: np.ndarray, channels: int) -> np.ndarray:
    """Adapts a first kernel to another number of input channels, as timm does.

    One channel gets the sum of all channels. More channels get the old ones in turn, scaled so that their sum stays
    about the same. Both are a start for training and do not give the same outputs as before: mean and std become
    averages too (`inputs.statistics`).

    Args:
        kernel: array (k, k, C, filters).
        channels: the new number of input channels, at least 1.

    Returns:
        An array (k, k, channels, filters).
    """
    old = kernel.shape[2]
    if channels == 1:
        return kernel.sum(axis=2, keepdims=True)
    return np.take(kernel, np.arange(channels) % old, axis=2) * np.asarray(old / channels, kernel.dtype)


def _has_other_classes(tensors: Mapping[str, Tensor], shapes: Mapping[str, Shape], kernel: str) -> bool:
    """Whether the classifiers of file and model have the same number of features, but different numbers of classes."""
    in_file, in_model = tensors.get(kernel), shapes.get(kernel)
    return bool(in_file and in_model and in_file.shape[:-1] == in_model[:-1] and in_file.shape != in_model)


def _check(tensors: Mapping[str, Tensor], shapes: Mapping[str, Shape]) -> None:
    reasons = [
        _listed(
            "",
            [
                f"{name} is {tensors[name].shape} in the file and {shape} in the model"
                for name, shape in shapes.items()
                if name in tensors and tensors[name].shape != shape
            ],
        ),
        _listed("not in the file: ", [name for name in shapes if name not in tensors]),
        _listed("not in the model: ", [name for name in tensors if name not in shapes]),
        _listed("not floating point: ", [name for name in tensors if tensors[name].dtype not in FLOATS]),
    ]
    if any(KERAS_HUB.match(name) for name in tensors):
        reasons.insert(0, "KerasHub's networks have other layers; its published ResNets are timm's: hf://timm/<model>")
    if any(reasons):
        raise WeightsError("; ".join(filter(None, reasons)))


def _listed(title: str, names: Sequence[str]) -> str:
    if not names:
        return ""
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return title + ", ".join(names[:SHOWN]) + more
