"""The two residual blocks, from one implementation: Keras tensor in, Keras tensor out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import keras

from keras_resnet import layers, shortcuts
from keras_resnet.arguments import function_or_none, integer, one_of, rate
from keras_resnet.gates import Gate
from keras_resnet.layers import Activation, Convolution, Norm, Tensor, Words, batch_norm, conv, relu
from keras_resnet.orderings import ordering_of
from keras_resnet.shortcuts import Shortcut


class Block(Protocol):
    """What `ResNet` asks of a block; `functools.partial` binds what else a block of your own takes."""

    def __call__(
        self,
        x: Tensor,
        filters: int,
        *,
        stride: int,
        dilation: int,
        first_dilation: int,
        shortcut: Shortcut | None,
        ordering: str,
        groups: int,
        base_width: int,
        gate: Gate | None,
        stochastic_depth: float,
        last_gamma: str,
        norm: Norm,
        activation: Activation,
        name: str,
    ) -> Tensor: ...


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
    name: str | None = None,
) -> Tensor:
    """Two 3x3 convolutions and a shortcut, the "basic block" (He et al. 2015, arXiv:1512.03385).

    Args:
        x: Keras tensor (N, H, W, C); (N, C, H, W) under channels_first.
        filters: channels that come out, at least 1.
        stride: of the first 3x3 convolution and of the shortcut, at least 1.
        dilation: of the 3x3 convolutions, at least 1.
        first_dilation: of the 3x3 convolution that carries the stride; None: `dilation`, or 1 where `stride` > 1.
            The first block of a stage that is dilated instead of strided takes the dilation of the stage before it.
        shortcut: None: identity where shapes agree, else a projection (option B); or a function of
            `keras_resnet.shortcuts`; or a callable of your own `(x, filters, stride, name) -> tensor`.
        ordering: "original" (v1), "bn_after_addition", "relu_before_addition", "relu_only_preactivation",
            "full_preactivation" (v2); see He et al. 2016 (arXiv:1603.05027).
        groups: groups of the 3x3 convolutions (cardinality); must divide their channels.
        base_width: the inner width is `filters * base_width / 64 * groups`.
        gate: None or a function of `keras_resnet.gates`, `(x, name) -> tensor`, at the end of the branch.
        stochastic_depth: probability in [0, 1) that training drops the branch of an image (arXiv:1603.09382).
        last_gamma: initializer of the scale of the batch norm next to the addition; "zeros" makes the block start
            as the identity (Goyal et al. 2017, arXiv:1706.02677, section 5.1). Only "original" and
            "relu_only_preactivation" have one there; before a ReLU a zero gamma would never see a gradient.
        norm: `(x, name, gamma) -> tensor`; `functools.partial(keras_resnet.layers.batch_norm, epsilon=...)`, say.
        activation: `(x, name) -> tensor`.
        name: prefix of the layers' names; None: a fresh one.

    Returns:
        Keras tensor (N, ceil(H/stride), ceil(W/stride), filters).

    Raises:
        ValueError: an argument is out of its range, or the shortcut does not fit the branch.
        TypeError: `x` is not a Keras tensor of rank 4.

    Example:
        >>> import keras, keras_resnet as kr
        >>> x = keras.Input((32, 32, 16))
        >>> kr.residual_block(x, 32, stride=2).shape
        (None, 16, 16, 32)
    """
    width = inner_width(filters, groups, base_width)
    convs = (
        _strided(width, stride, dilation, first_dilation, groups),
        Conv(filters, 3, 1, dilation, groups),
    )
    words = Words(norm, activation)
    name = name or f"residual_block_{keras.backend.get_uid('residual_block')}"
    return _residual(x, convs, stride, ordering, shortcut, gate, stochastic_depth, last_gamma, words, name)


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
    strided: int = 2,
    last_conv: Convolution = conv,
    gate: Gate | None = None,
    stochastic_depth: float = 0.0,
    last_gamma: str = "zeros",
    norm: Norm = batch_norm,
    activation: Activation = relu,
    name: str | None = None,
) -> Tensor:
    """1x1, 3x3 and 1x1 convolutions and a shortcut (He et al. 2015, arXiv:1512.03385).

    Args:
        x: Keras tensor (N, H, W, C); (N, C, H, W) under channels_first.
        filters: width of the block; `expansion * filters` channels come out.
        groups: groups of the 3x3 convolution: 32 with `base_width=4` is ResNeXt-32x4d (arXiv:1611.05431).
        base_width: the 3x3 convolution has `filters * base_width / 64 * groups` channels;
            128 is Wide ResNet-50-2 (arXiv:1605.07146).
        expansion: channels out over `filters`.
        strided: which convolution carries the stride: 2, the 3x3 ("v1.5", as torchvision and timm have it), or 1,
            the first 1x1 (as the paper and keras.applications have it).
        last_conv: makes the last convolution; `keras_resnet.layers.biased_conv`, say.
        stride, dilation, first_dilation, shortcut, ordering, gate, stochastic_depth, last_gamma, norm, activation,
            name: as in `residual_block`.

    Returns:
        Keras tensor (N, ceil(H/stride), ceil(W/stride), expansion * filters).

    Raises:
        ValueError: an argument is out of its range, or the shortcut does not fit the branch.
        TypeError: `x` is not a Keras tensor of rank 4.

    Example:
        >>> import keras, keras_resnet as kr
        >>> x = keras.Input((56, 56, 64))
        >>> kr.bottleneck_block(x, 64, groups=32, base_width=4).shape
        (None, 56, 56, 256)
    """
    width = inner_width(filters, groups, base_width)
    out = Conv(filters * integer("expansion", expansion), 1, conv=last_conv)
    if one_of("strided", strided, (1, 2)) == 1:
        # The 3x3 stands behind the stride already, so it takes the dilation that a stride would have spared it.
        convs = (Conv(width, 1, integer("stride", stride)), _strided(width, 1, dilation, dilation, groups), out)
    else:
        convs = (Conv(width, 1), _strided(width, stride, dilation, first_dilation, groups), out)
    words = Words(norm, activation)
    name = name or f"bottleneck_block_{keras.backend.get_uid('bottleneck_block')}"
    return _residual(x, convs, stride, ordering, shortcut, gate, stochastic_depth, last_gamma, words, name)


class Conv(NamedTuple):
    """One convolution of a branch."""

    filters: int
    kernel: int
    stride: int = 1
    dilation: int = 1
    groups: int = 1
    conv: Convolution = conv


def _residual(
    x: Tensor,
    convs: Sequence[Conv],
    stride: int,
    ordering: str,
    shortcut: Shortcut | None,
    gate: Gate | None,
    stochastic_depth: float,
    last_gamma: str,
    words: Words,
    name: str,
) -> Tensor:
    """`joined(shortcut(x) + branch(x))`, with norm and activation where the ordering puts them."""
    order = ordering_of(ordering)
    layers.as_keras_tensor(x, "x")
    function_or_none("gate", gate)
    function_or_none("shortcut", shortcut)
    pre = words(order.before, x, f"{name}_preact")
    skip = _skip(x, pre, convs[-1].filters, stride, shortcut, "bn" if "bn" in order.last else "", words, f"{name}_0")

    y = pre
    for i, row in enumerate(convs, start=1):
        if i > 1:
            y = words(order.before, y, f"{name}_{i - 1}")
        y = _conv(y, row, f"{name}_{i}_conv")
        if i < len(convs):
            y = words(order.after, y, f"{name}_{i}")
    y = words(order.last, y, f"{name}_{len(convs)}", last_gamma if order.last == "bn" else "ones")

    if gate is not None:
        y = gate(y, name)
    if rate("stochastic_depth", stochastic_depth):
        # One draw an image, and the survivors scaled up: a Dropout, so nothing of our own has to be saved.
        y = keras.layers.Dropout(stochastic_depth, noise_shape=(None, 1, 1, 1), name=f"{name}_drop")(y)
    if skip.shape != y.shape:
        raise ValueError(
            f"shortcut must return the shape of the branch, {y.shape}. Received: {skip.shape} from {shortcut!r}"
        )
    return _join(skip, y, order.joined, words, name)


def _conv(x: Tensor, row: Conv, name: str) -> Tensor:
    if layers.channels(x) % row.groups or row.filters % row.groups:
        raise ValueError(
            f"groups must divide the {layers.channels(x)} channels that go into {name!r} "
            f"and the {row.filters} that come out. Received: groups={row.groups}"
        )
    return row.conv(x, *row[:-1], name=name)


def _skip(
    x: Tensor, pre: Tensor, filters: int, stride: int, shortcut: Shortcut | None, norm: str, words: Words, name: str
) -> Tensor:
    agree = shortcuts.shapes_agree(x, filters, stride)
    if shortcut is None:
        shortcut = shortcuts.identity if agree else shortcuts.project
    where = getattr(shortcut, "projection", None)
    if where is None:
        return shortcut(x, filters, stride, name)
    if where == shortcuts.WHERE_SHAPES_DIFFER and agree:
        return x
    if where == shortcuts.WHERE_CHANNELS_DIFFER and layers.channels(x) == filters:
        return shortcuts.subsample(x, filters, stride, name)
    return words(norm, shortcut(pre, filters, stride, name), name)


def _join(skip: Tensor, branch: Tensor, joined: str, words: Words, name: str) -> Tensor:
    """Adds, and calls the block's last layer `{name}_out` as keras.applications does, whichever layer that is.

    The shortcut is the first summand: Keras walks graphs along first inputs (see `resnet.let_keras_recurse`).
    """
    if not joined:
        return keras.layers.Add(name=f"{name}_out")([skip, branch])
    y = keras.layers.Add(name=f"{name}_add")([skip, branch])
    y = words(joined.removesuffix("relu"), y, name)
    return words.activation(y, f"{name}_out")


def inner_width(filters: int, groups: int, base_width: int) -> int:
    """Channels of the 3x3 convolution, rounded down as torchvision and timm do."""
    integer("base_width", base_width)
    width = integer("filters", filters) * base_width // 64 * integer("groups", groups)
    if width == 0:
        raise ValueError(
            f"base_width must be at least {-(-64 // filters)} for filters={filters}. Received: base_width={base_width}"
        )
    return width


def _strided(filters: int, stride: int, dilation: int, first_dilation: int | None, groups: int) -> Conv:
    """The 3x3 convolution that carries the block's stride."""
    integer("stride", stride)
    integer("dilation", dilation)
    if first_dilation is None:
        first_dilation = dilation if stride == 1 else 1
    if integer("first_dilation", first_dilation) > 1 and stride > 1:
        raise ValueError(
            f"first_dilation must be 1 where stride is above 1. "
            f"Received: first_dilation={first_dilation}, stride={stride}"
        )
    return Conv(filters, 3, stride, first_dilation, groups)
