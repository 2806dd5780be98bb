"""Rewrites: from the numbers that a published network has to those that ours needs to say the same.

Each takes the tensors of a file by `layer/variable`, in Keras' layouts, and returns them changed. None reads a value
before all has been found to fit.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

import numpy as np

from keras_resnet.stages import CLASSIFIER, block_name, parse_block
from keras_resnet.weights.tensors import FLOATS, Tensor, changed

Tensors = dict[str, Tensor]
Conversion = Callable[[Tensors], Tensors]

STEMS = ("conv1_1_conv/kernel", "conv1_conv/kernel")  # the first of these that is there sees the image


def stem_of(names: Mapping[str, object]) -> str:
    """The kernel that sees the image; "" where there is none."""
    return next((name for name in STEMS if name in names), "")


def bgr_to_rgb(tensors: Tensors) -> Tensors:
    """A network that was trained on blue, green, red: its first kernel turned round reads red, green, blue."""
    stem = stem_of(tensors)
    return {**tensors, stem: changed(tensors[stem], lambda values: values[:, :, ::-1])} if stem else tensors


def fold_biases(tensors: Tensors) -> Tensors:
    """Biases that a batch norm follows, taken from its mean: exactly the same numbers, one addition less."""
    found = dict(tensors)
    for name in [name for name in tensors if name.endswith("_conv/bias")]:
        mean = name.replace("_conv/bias", "_bn/moving_mean")
        same = mean in found and found[mean].shape == found[name].shape and found[name].dtype in FLOATS
        if same:
            bias = found.pop(name)
            found[mean] = changed(found[mean], lambda values, bias=bias: values - bias.read())  # type: ignore[misc]
    return found


def grouped(tensors: Tensors) -> Tensors:
    """Grouped kernels from those of keras-applications' ResNeXt, which convolves depthwise and sums over each group."""
    return {
        name.replace("depthwise_", ""): _grouped(tensor) if name.endswith("/depthwise_kernel") else tensor
        for name, tensor in tensors.items()
    }


def _grouped(kernel: Tensor) -> Tensor:
    """Of (k, k, channels, c), c channels a group.

    Output m of a group sums channel j of it with [..., j, m], where a grouped convolution has [..., j, group * c + m].
    """
    if len(kernel.shape) != 4:
        return kernel
    height, width, channels, per_group = kernel.shape

    def regroup(values: np.ndarray) -> np.ndarray:
        values = values.reshape(height, width, -1, per_group, per_group)  # ..., group, j, m
        return values.transpose(0, 1, 3, 2, 4).reshape(height, width, per_group, channels)

    return changed(kernel, regroup, (height, width, per_group, channels))


def move_zero_padding_to_end(tensors: Tensors) -> Tensors:
    """Option A with zeros on both sides of the channels, as akamaster's nets have it, to `shortcuts.zero_pad`.

    The stream between the blocks of a stage has its channels in another order, so what writes to it and what reads
    from it is permuted; the numbers stay the same.
    """
    order: np.ndarray | None = None  # of the stream that a block reads; ours[i] is theirs[order[i]]
    result = dict(tensors)
    for stage, block in sorted({found[:2] for name in tensors if (found := parse_block(name))}):
        kernel = re.compile(block_name(stage, block) + r"_[1-9]_conv/kernel")
        convs = sorted(name for name in tensors if kernel.fullmatch(name))
        first, last = tensors[convs[0]], tensors[convs[-1]]
        if len(first.shape) != 4 or len(last.shape) != 4:
            return tensors  # of no network of ours; what is wrong will be said
        come, go = first.shape[2], last.shape[3]
        order = np.arange(come) if order is None else order
        result[convs[0]] = _taken(result[convs[0]], order, 2)
        if go != come:
            front = (go - come) // 2
            kept = front + order
            order = np.concatenate([kept, np.setdiff1d(np.arange(go), kept)])
        result[convs[-1]] = _taken(result[convs[-1]], order, 3)
        for name in tensors:
            if name.startswith(convs[-1].replace("_conv/kernel", "_bn/")):
                result[name] = _taken(tensors[name], order, 0)
    head = f"{CLASSIFIER}/kernel"
    if order is not None and head in tensors:
        result[head] = _taken(tensors[head], order, 0)
    return result


def _taken(tensor: Tensor, order: np.ndarray, axis: int) -> Tensor:
    return changed(tensor, lambda values: np.take(values, order, axis))
