"""The two residual blocks: a Keras tensor in, a Keras tensor out. Both are lists of convolutions for `_residual`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import keras

from keras_resnet import layers, shortcuts
from keras_resnet._internal.validation import function_or_none, integer, number, one_of
from keras_resnet.complexity import Sketch, cost_function, cost_of
from keras_resnet.gates import Gate
from keras_resnet.layers import Activation, Convolution, Norm, NormAct, Tensor, batch_norm, conv, relu
from keras_resnet.orderings import Operations, Ordering, ordering_of
from keras_resnet.shortcuts import Shortcut

# A block for `ResNet`: a function with the arguments of `residual_block`. `functools.partial` binds further ones.
Block = Callable[..., Tensor]

# Blocks in each stage by the depth in the name of a network: He et al. 2015 (arXiv:1512.03385), table 1; timm for 10,
# 14, 26 and 269; Bello et al. 2021 (arXiv:2103.07579), table 7, for ResNet-RS, whose 50 to 200 are as the others.
BASIC_DEPTHS: dict[int, tuple[int, ...]] = {10: (1, 1, 1, 1), 18: (2, 2, 2, 2), 34: (3, 4, 6, 3)}
BOTTLENECK_DEPTHS: dict[int, tuple[int, ...]] = {
    14: (1, 1, 1, 1),
    26: (2, 2, 2, 2),
    50: (3, 4, 6, 3),
    101: (3, 4, 23, 3),
    152: (3, 8, 36, 3),
    200: (3, 24, 36, 3),
    269: (3, 30, 48, 8),
}
RS_DEPTHS: dict[int, tuple[int, ...]] = {
    **BOTTLENECK_DEPTHS,
    270: (4, 29, 53, 4),
    350: (4, 36, 72, 4),
    420: (4, 44, 87, 4),
}


class Conv(NamedTuple):
    """One convolution of a branch."""

    filters: int
    kernel: int
    stride: int = 1
    dilation: int = 1
    groups: int = 1
    conv: Convolution = conv
    argument: str = "conv"  # of the block, that has `conv`


def residual_block(
    x: Tensor,
    filters: int,
    *,
    stride: int = 1,
    dilation: int = 1,
    first_dilation: int | None = None,
    shortcut: Shortcut | None = None,
    ordering: str = "original",
    groups: int = 1,
    base_width: int = 64,
    gate: Gate | None = None,
    stochastic_depth: float = 0.0,
    last_gamma: str = "zeros",
    norm: Norm = batch_norm,
    activation: Activation = relu,
    conv: Convolution = conv,
    name: str | None = None,
) -> Tensor:
    """Two 3x3 convolutions and a shortcut, the "basic block" (He et al. 2015, arXiv:1512.03385).

    Args:
        x: Keras tensor (N, H, W, C), or (N, C, H, W) with channels_first.
        filters: channels of the result, at least 1.
        stride: of the first 3x3 convolution and of the shortcut, at least 1.
        dilation: of the 3x3 convolutions, at least 1.
        first_dilation: dilation of the 3x3 convolution that has the stride; None: `dilation`, or 1 if `stride` > 1.
            In a stage that dilates instead of strides, the first block has the dilation of the stage before here.
        shortcut: None: identity where shapes agree, otherwise a projection (option B); or a function of
            `keras_resnet.shortcuts`; or your own function `(x, filters, stride, name) -> tensor`.
        ordering: "original" (v1), "bn_after_addition", "relu_before_addition", "relu_only_preactivation" or
            "full_preactivation" (v2); see He et al. 2016 (arXiv:1603.05027).
        groups: groups of the 3x3 convolutions (cardinality); must divide their channels.
        base_width: the first convolution has `filters * base_width / 64 * groups` channels.
        gate: None or a function of `keras_resnet.gates`, `(x, name) -> tensor`, at the end of the branch.
        stochastic_depth: probability in [0, 1) that the branch of an image is dropped in training (arXiv:1603.09382).
        last_gamma: initializer of the scale of the batch norm before the addition. With "zeros" the block starts as
            the identity (Goyal et al. 2017, arXiv:1706.02677, section 5.1). Only "original" and
            "relu_only_preactivation" have such a batch norm; before a ReLU a scale of zero would get no gradient.
        norm: a function `(x, name, gamma) -> tensor`, for example
            `functools.partial(keras_resnet.layers.batch_norm, epsilon=1e-3)`.
        activation: a function `(x, name) -> tensor`.
        conv: makes the 3x3 convolutions: `keras_resnet.layers.conv`, which pads as torch, or `conv_same`, which pads as
            TensorFlow.
        name: prefix of the names of the layers; None: a new one.

    Returns:
        Keras tensor (N, ceil(H/stride), ceil(W/stride), filters).

    Raises:
        ValueError: an argument is outside its range, or the shortcut does not fit the branch.
        TypeError: `x` is not a Keras tensor of rank 4.

    Example:
        >>> import keras, keras_resnet as kr
        >>> x = keras.Input((32, 32, 16))
        >>> kr.residual_block(x, 32, stride=2).shape
        (None, 16, 16, 32)
    """
    convs = _basic_convs(filters, stride, groups, base_width, conv, dilation, first_dilation)
    name = name or f"residual_block_{keras.backend.get_uid('residual_block')}"
    norm_act = NormAct(norm, activation)
    return _residual(x, convs, stride, ordering, shortcut, gate, stochastic_depth, last_gamma, norm_act, name)


def _basic_convs(
    filters: int,
    stride: int,
    groups: int,
    base_width: int,
    conv: Convolution,
    dilation: int = 1,
    first_dilation: int | None = None,
) -> tuple[Conv, ...]:
    width = inner_width(filters, groups, base_width)
    first = _conv3x3(width, stride, dilation, first_dilation, groups, conv)
    return first, Conv(filters, 3, 1, dilation, groups, conv)


@cost_of("block", residual_block)
def _residual_block_cost(
    x: Sketch,
    filters: int,
    stride: int,
    groups: int,
    base_width: int,
    order: Ordering,
    shortcut: Shortcut | None,
    gate: Gate | None,
    conv: Convolution = conv,
) -> None:
    _residual_cost(x, _basic_convs(filters, stride, groups, base_width, conv), stride, order, shortcut, gate)


def bottleneck_block(
    x: Tensor,
    filters: int,
    *,
    stride: int = 1,
    dilation: int = 1,
    first_dilation: int | None = None,
    shortcut: Shortcut | None = None,
    ordering: str = "original",
    groups: int = 1,
    base_width: int = 64,
    expansion: int = 4,
    stride_in: str = "3x3",
    last_conv: Convolution = conv,
    gate: Gate | None = None,
    stochastic_depth: float = 0.0,
    last_gamma: str = "zeros",
    norm: Norm = batch_norm,
    activation: Activation = relu,
    conv: Convolution = conv,
    name: str | None = None,
) -> Tensor:
    """1x1, 3x3 and 1x1 convolutions and a shortcut (He et al. 2015, arXiv:1512.03385).

    Args:
        x: Keras tensor (N, H, W, C), or (N, C, H, W) with channels_first.
        filters: width of the block; the result has `expansion * filters` channels.
        groups: groups of the 3x3 convolution: 32 with `base_width=4` is ResNeXt-32x4d (arXiv:1611.05431).
        base_width: the 3x3 convolution has `filters * base_width / 64 * groups` channels;
            128 is Wide ResNet-50-2 (arXiv:1605.07146).
        expansion: channels of the result over `filters`, at least 1.
        stride_in: which convolution has the stride: "3x3" ("v1.5", as in torchvision and timm), or "1x1", the first one
            (as in the paper and keras.applications).
        last_conv: makes the last convolution, for example `keras_resnet.layers.biased_conv`.
        conv: makes the other convolutions, as in `residual_block`.
        stride, dilation, first_dilation, shortcut, ordering, gate, stochastic_depth, last_gamma, norm, activation,
            name: as in `residual_block`.

    Returns:
        Keras tensor (N, ceil(H/stride), ceil(W/stride), expansion * filters).

    Raises:
        ValueError: an argument is outside its range, or the shortcut does not fit the branch.
        TypeError: `x` is not a Keras tensor of rank 4.

    Example:
        >>> import keras, keras_resnet as kr
        >>> x = keras.Input((56, 56, 64))
        >>> kr.bottleneck_block(x, 64, groups=32, base_width=4).shape
        (None, 56, 56, 256)
    """
    convs = _bottleneck_convs(
        filters, stride, groups, base_width, dilation, first_dilation, expansion, stride_in, last_conv, conv
    )
    name = name or f"bottleneck_block_{keras.backend.get_uid('bottleneck_block')}"
    norm_act = NormAct(norm, activation)
    return _residual(x, convs, stride, ordering, shortcut, gate, stochastic_depth, last_gamma, norm_act, name)


def _bottleneck_convs(
    filters: int,
    stride: int,
    groups: int,
    base_width: int,
    dilation: int = 1,
    first_dilation: int | None = None,
    expansion: int = 4,
    stride_in: str = "3x3",
    last_conv: Convolution = conv,
    conv: Convolution = conv,
) -> tuple[Conv, ...]:
    width = inner_width(filters, groups, base_width)
    last = Conv(filters * integer("expansion", expansion), 1, conv=last_conv, argument="last_conv")
    if one_of("stride_in", stride_in, ("1x1", "3x3")) == "1x1":
        # The 3x3 convolution is after the stride, so it has the dilation of the blocks after this one.
        first = Conv(width, 1, integer("stride", stride), conv=conv)
        return first, _conv3x3(width, 1, dilation, dilation, groups, conv), last
    return Conv(width, 1, conv=conv), _conv3x3(width, stride, dilation, first_dilation, groups, conv), last


@cost_of("block", bottleneck_block)
def _bottleneck_block_cost(
    x: Sketch,
    filters: int,
    stride: int,
    groups: int,
    base_width: int,
    order: Ordering,
    shortcut: Shortcut | None,
    gate: Gate | None,
    expansion: int = 4,
    stride_in: str = "3x3",
    last_conv: Convolution = conv,
    conv: Convolution = conv,
) -> None:
    convs = _bottleneck_convs(filters, stride, groups, base_width, 1, None, expansion, stride_in, last_conv, conv)
    _residual_cost(x, convs, stride, order, shortcut, gate)


def _residual(
    x: Tensor,
    convs: Sequence[Conv],
    stride: int,
    ordering: str,
    shortcut: Shortcut | None,
    gate: Gate | None,
    stochastic_depth: float,
    last_gamma: str,
    norm_act: NormAct,
    name: str,
) -> Tensor:
    """`joined(shortcut(x) + branch(x))`, with norm and activation where the ordering has them."""
    order = ordering_of(ordering)
    layers.as_keras_tensor(x, "x")
    function_or_none("gate", gate)
    function_or_none("shortcut", shortcut)
    pre = norm_act(order.before, x, f"{name}_preact")
    skip = _skip(x, pre, convs[-1].filters, stride, shortcut, _skip_norm(order), norm_act, f"{name}_0")

    y = pre
    for i, row in enumerate(convs, start=1):
        if i > 1:
            y = norm_act(order.before, y, f"{name}_{i - 1}")
        y = row.conv(y, *row[:-2], name=f"{name}_{i}_conv")
        if i < len(convs):
            y = norm_act(order.after, y, f"{name}_{i}")
    y = norm_act(order.last, y, f"{name}_{len(convs)}", last_gamma if order.last == ("bn",) else "ones")

    if gate is not None:
        y = gate(y, name)
    if number("stochastic_depth", stochastic_depth, "[0, 1)"):
        # Dropout draws one number for each image and scales up what is kept. So no layer of our own has to be saved.
        y = keras.layers.Dropout(stochastic_depth, noise_shape=(None, 1, 1, 1), name=f"{name}_drop")(y)
    if skip.shape != y.shape:
        raise ValueError(
            f"shortcut must return the shape of the branch, {y.shape}. Received: {skip.shape} from {shortcut!r}"
        )
    return _join(skip, y, order.joined, norm_act, name)


def _residual_cost(
    x: Sketch, convs: Sequence[Conv], stride: int, order: Ordering, shortcut: Shortcut | None, gate: Gate | None
) -> None:
    skip = Sketch(x.sides, x.channels)
    x.norm(order.before)
    for i, row in enumerate(convs, start=1):
        if i > 1:
            x.norm(order.before)
        x.conv(row.filters, row.kernel, row.stride, row.groups, bias=layers.has_bias(row.argument, row.conv))
        if i < len(convs):
            x.norm(order.after)
    x.norm(order.last)
    if gate is not None:
        cost_function("gate", gate)(x)
    _skip_cost(skip, x.channels, stride, shortcut, _skip_norm(order))
    x.norm(order.joined)
    x.parameters, x.macs = x.parameters + skip.parameters, x.macs + skip.macs


def _skip_norm(order: Ordering) -> Operations:
    """What follows the projection of a shortcut: a batch norm if the branch ends in one."""
    return ("bn",) if "bn" in order.last else ()


def _skip(
    x: Tensor,
    pre: Tensor,
    filters: int,
    stride: int,
    shortcut: Shortcut | None,
    norm: Operations,
    norm_act: NormAct,
    name: str,
) -> Tensor:
    shortcut, projects = _shortcut_here(layers.channels(x), filters, stride, shortcut)
    if projects:
        return norm_act(norm, shortcut(pre, filters, stride, name), name)
    return shortcut(x, filters, stride, name)


def _skip_cost(x: Sketch, filters: int, stride: int, shortcut: Shortcut | None, norm: Operations) -> None:
    cost_function("shortcut", shortcut or shortcuts.identity)  # an unknown one is refused in every block
    shortcut, projects = _shortcut_here(x.channels, filters, stride, shortcut)
    cost_function("shortcut", shortcut)(x, filters, stride)
    if projects:
        x.norm(norm)


def _shortcut_here(channels: int, filters: int, stride: int, shortcut: Shortcut | None) -> tuple[Shortcut, bool]:
    """The shortcut of a block with so many input channels, and whether it is a projection."""
    agree = shortcuts.shapes_agree(channels, filters, stride)
    if shortcut is None:
        shortcut = shortcuts.identity if agree else shortcuts.project
    where = getattr(shortcut, "projection", None)
    if where == shortcuts.WHERE_SHAPES_DIFFER and agree:
        return shortcuts.identity, False
    if where == shortcuts.WHERE_CHANNELS_DIFFER and channels == filters:
        return shortcuts.subsample, False
    return shortcut, where is not None


def _join(skip: Tensor, branch: Tensor, joined: Operations, norm_act: NormAct, name: str) -> Tensor:
    """Adds both, and calls the last layer of the block `{name}_out`, as in keras.applications.

    The shortcut is the first input of the addition: Keras walks graphs along first inputs (see
    `resnet.let_keras_recurse`).
    """
    if not joined:
        return keras.layers.Add(name=f"{name}_out")([skip, branch])
    y = keras.layers.Add(name=f"{name}_add")([skip, branch])
    y = norm_act(joined[:-1], y, name)
    return norm_act.activation(y, f"{name}_out")


def inner_width(filters: int, groups: int, base_width: int) -> int:
    """Channels of the 3x3 convolution, rounded down as in torchvision and timm."""
    integer("base_width", base_width)
    width = integer("filters", filters) * base_width // 64 * integer("groups", groups)
    if width == 0:
        raise ValueError(
            f"base_width must be at least {-(-64 // filters)} for filters={filters}. Received: base_width={base_width}"
        )
    return width


def _conv3x3(
    filters: int, stride: int, dilation: int, first_dilation: int | None, groups: int, conv: Convolution
) -> Conv:
    """The 3x3 convolution that has the stride of the block."""
    integer("stride", stride)
    integer("dilation", dilation)
    if first_dilation is None:
        first_dilation = dilation if stride == 1 else 1
    if integer("first_dilation", first_dilation) > 1 and stride > 1:
        raise ValueError(
            f"first_dilation must be 1 if stride is above 1. Received: first_dilation={first_dilation}, stride={stride}"
        )
    return Conv(filters, 3, stride, first_dilation, groups, conv)
