"""Fitting: the tensors of a file against the variables of a model, by name and shape, before a value is read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from keras_resnet.stages import CLASSIFIER
from keras_resnet.weights.conversion import stem_of
from keras_resnet.weights.tensors import FLOATS, Tensor, WeightsError, changed

Shape = tuple[int, ...]

HEAD = (f"{CLASSIFIER}/kernel", f"{CLASSIFIER}/bias")
SHOWN = 4
MOST_CHANNELS = 32  # of an image; a first kernel of more is not read to be adapted


def match_tensors(tensors: Mapping[str, Tensor], shapes: Mapping[str, Shape]) -> dict[str, Tensor]:
    """The tensors that go into a model's variables, as they have to be read.

    Args:
        tensors: by `layer/variable`, in Keras' layouts.
        shapes: of the model's variables, under the same names.

    Returns:
        A tensor of the right shape for each of `shapes`; those of a head of another number of classes are left out.

    Raises:
        ValueError: names, shapes or types do not fit; says which.
    """
    found = dict(tensors)
    stem = stem_of(shapes)
    if stem in found:
        found[stem] = _of_channels(found[stem], shapes[stem])
    wanted = dict(shapes)
    if _other_head(found, shapes):
        wanted = {name: shape for name, shape in shapes.items() if name not in HEAD}
    if HEAD[0] not in wanted:
        found = {name: tensor for name, tensor in found.items() if name not in HEAD}
    _check(found, wanted)
    return {name: found[name] for name in wanted}


def _of_channels(kernel: Tensor, shape: Shape) -> Tensor:
    """The first kernel, for images of as many channels as the model's; see `channels_adapted`."""
    if len(kernel.shape) != 4 or kernel.shape[2] == shape[2] or kernel.shape[2] > MOST_CHANNELS:
        return kernel
    channels = shape[2]
    return changed(
        kernel,
        lambda values: channels_adapted(values, channels),
        (*kernel.shape[:2], channels, kernel.shape[3]),
    )


def channels_adapted(kernel: np.ndarray, channels: int) -> np.ndarray:
    """A first kernel (k, k, C, filters) for another number of channels, as timm adapts it.

    One channel gets the sum of all. More get the old ones in turn, scaled so that their sum about stays. Either is a
    start for training, not the numbers of before: mean and std become averages too (`inputs.statistics`).
    """
    old = kernel.shape[2]
    if channels == 1:
        return kernel.sum(axis=2, keepdims=True)
    return np.take(kernel, np.arange(channels) % old, axis=2) * np.asarray(old / channels, kernel.dtype)


def _other_head(found: Mapping[str, Tensor], shapes: Mapping[str, Shape]) -> bool:
    """Whether the file's head reads the same features as the model's, but tells other classes apart."""
    theirs, ours = found.get(HEAD[0]), shapes.get(HEAD[0])
    return bool(theirs and ours and theirs.shape[:-1] == ours[:-1] and theirs.shape != ours)


def _check(found: Mapping[str, Tensor], shapes: Mapping[str, Shape]) -> None:
    biased = [name for name in found if name.endswith("_conv/bias") and name not in shapes]
    reasons = [
        _listed(
            "",
            [
                f"{name} is {found[name].shape} in the file and {shape} in the model"
                for name, shape in shapes.items()
                if name in found and found[name].shape != shape
            ],
        ),
        _listed("not in the file: ", [name for name in shapes if name not in found]),
        _listed("not in the model: ", [name for name in found if name not in shapes]),
        _listed("not floating point: ", [name for name in found if found[name].dtype not in FLOATS]),
    ]
    if biased:
        reasons.append('convolutions with biases are of keras.applications: load as weights.like(model, "keras", file)')
    if any(reasons):
        raise WeightsError("; ".join(filter(None, reasons)))


def _listed(title: str, names: Sequence[str]) -> str:
    if not names:
        return ""
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return title + ", ".join(names[:SHOWN]) + more
