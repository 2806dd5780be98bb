"""Conversions: from the weights of a published network to weights with which our network gives the same outputs.

A conversion takes the tensors of a file by `layer/variable`, in Keras' layouts, and returns the converted tensors. It
reads no values: they are read and converted later, after all shapes were found to fit the model.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

import numpy as np

from keras_resnet.stages import CLASSIFIER, block_name, parse_block
from keras_resnet.weights.tensors import FLOATS, Tensor, WeightsError, changed

Tensors = dict[str, Tensor]
Conversion = Callable[[Tensors], Tensors]

CONV_OR_NORM = re.compile(r"conv\d+_block\d+_\d_(conv/kernel|bn/\w+)")
STEMS = ("conv1_1_conv/kernel", "conv1_conv/kernel")  # the first of these names that exists is the first kernel


def stem_of(names: Mapping[str, object]) -> str:
    """The name of the kernel that reads the image; "" if there is none."""
    return next((name for name in STEMS if name in names), "")


def bgr_to_rgb(tensors: Tensors) -> Tensors:
    """Reverses the input channels of the first kernel.

    A network that was trained on blue, green, red then reads red, green, blue.
    """
    stem = stem_of(tensors)
    return {**tensors, stem: changed(tensors[stem], lambda values: values[:, :, ::-1])} if stem else tensors


def fold_biases(tensors: Tensors) -> Tensors:
    """Subtracts the bias of a convolution from the moving mean of the batch norm after it.

    The network computes exactly the same outputs with one addition less.
    """
    folded = dict(tensors)
    for name in [name for name in tensors if name.endswith("_conv/bias")]:
        mean = name.replace("_conv/bias", "_bn/moving_mean")
        fits = mean in folded and folded[mean].shape == folded[name].shape and folded[name].dtype in FLOATS
        if fits:
            bias = folded.pop(name)
            folded[mean] = changed(folded[mean], lambda values, bias=bias: values - bias.read())  # type: ignore[misc]
    return folded


def depthwise_to_grouped(tensors: Tensors) -> Tensors:
    """Converts the depthwise kernels of keras-applications' ResNeXt to kernels of grouped convolutions.

    That ResNeXt computes a depthwise convolution and sums its result over each group.
    """
    return {
        name.replace("depthwise_", ""): _grouped_kernel(tensor) if name.endswith("/depthwise_kernel") else tensor
        for name, tensor in tensors.items()
    }


def _grouped_kernel(kernel: Tensor) -> Tensor:
    """Converts a depthwise kernel (k, k, channels, c) with c channels in each group.

    The weight from channel j of a group to output m of the group is at [..., group * c + j, m]. A grouped convolution
    has it at [..., j, group * c + m].
    """
    if len(kernel.shape) != 4:
        return kernel
    height, width, channels, per_group = kernel.shape

    def regroup(values: np.ndarray) -> np.ndarray:
        values = values.reshape(height, width, -1, per_group, per_group)  # ..., group, j, m
        return values.transpose(0, 1, 3, 2, 4).reshape(height, width, per_group, channels)

    return changed(kernel, regroup, (height, width, per_group, channels))


def move_zero_padding_to_end(tensors: Tensors) -> Tensors:
    """Converts option A with zeros on both sides of the channels, as in akamaster's networks, to `shortcuts.zero_pad`.

    The channels between the blocks get another order. The kernels and batch norms that write these channels are
    permuted, and so are the kernels that read them; the outputs of the network stay the same.

    Raises:
        WeightsError: a block has more than convolutions and the batch norms after them.
    """
    if others := [name for name in tensors if parse_block(name) and not CONV_OR_NORM.fullmatch(name)]:
        raise WeightsError(
            "zeros on both sides cannot be moved to the end in blocks with other layers; build the network with "
            "shortcut=keras_resnet.shortcuts.zero_pad_both, or if the file has its zeros at the end, load "
            f'weights.like(model, "zoo", file), or type --like zoo. Received: {others[0]:.60}'
        )
    order: np.ndarray | None = None  # of the channels that a block reads: our channel i is their channel order[i]
    result = dict(tensors)
    for stage, block in sorted({parsed[:2] for name in tensors if (parsed := parse_block(name))}):
        kernel = re.compile(block_name(stage, block) + r"_[1-9]_conv/kernel")
        convs = sorted(name for name in tensors if kernel.fullmatch(name))
        if not convs:
            return tensors
        first, last = tensors[convs[0]], tensors[convs[-1]]
        if len(first.shape) != 4 or len(last.shape) != 4:
            return tensors  # not a network of this package: `match_tensors` raises the error
        channels_in, channels_out = first.shape[2], last.shape[3]
        order = np.arange(channels_in) if order is None else order
        result[convs[0]] = _reordered(result[convs[0]], order, 2)
        if channels_out != channels_in:
            zeros_in_front = (channels_out - channels_in) // 2
            kept = zeros_in_front + order
            order = np.concatenate([kept, np.setdiff1d(np.arange(channels_out), kept)])
        result[convs[-1]] = _reordered(result[convs[-1]], order, 3)
        for name in tensors:
            if name.startswith(convs[-1].replace("_conv/kernel", "_bn/")):
                result[name] = _reordered(tensors[name], order, 0)
    head = f"{CLASSIFIER}/kernel"
    if order is not None and head in tensors:
        result[head] = _reordered(tensors[head], order, 0)
    return result


def _reordered(tensor: Tensor, order: np.ndarray, axis: int) -> Tensor:
    return changed(tensor, lambda values: np.take(values, order, axis))
