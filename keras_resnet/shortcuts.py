"""Shortcuts: how the input of a block reaches the addition.

A shortcut is a function `(x, filters, stride, name) -> tensor`; pass your own as `shortcut=` of `keras_resnet.ResNet`.

- `x`: the input of the block, a Keras tensor (N, H, W, C).
- `filters`: channels of the block's output.
- `stride`: of the block.
- `name`: prefix of the names of the layers.

A shortcut that `projection` marks is a 1x1 convolution. It gets the input of the branch (in a pre-activation block that
is after norm and activation), and the block adds a batch norm after it if the branch ends in one. The mark is an
attribute of the function, so that shortcuts stay plain functions that can be called, pickled and printed in code.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import keras

from keras_resnet import layers
from keras_resnet.complexity import Sketch, cost_of
from keras_resnet.layers import Tensor

Shortcut = Callable[[Tensor, int, int, str], Tensor]
S = TypeVar("S", bound=Shortcut)

EVERYWHERE = "everywhere"
WHERE_SHAPES_DIFFER = "where shapes differ"
WHERE_CHANNELS_DIFFER = "where channels differ"


def projection(where: str) -> Callable[[S], S]:
    """Marks a shortcut as a projection, and says in which blocks it is used.

    Args:
        where: `EVERYWHERE`; `WHERE_SHAPES_DIFFER`, and the identity in other blocks; or `WHERE_CHANNELS_DIFFER`, and
            `subsample` in other blocks.

    Returns:
        A decorator.
    """

    def mark(shortcut: S) -> S:
        shortcut.projection = where  # type: ignore[attr-defined]
        return shortcut

    return mark


def shapes_agree(channels: int, filters: int, stride: int) -> bool:
    """Whether a tensor with so many channels can be added to a branch with these output channels and this stride."""
    return stride == 1 and channels == filters


def identity(x: Tensor, filters: int, stride: int, name: str) -> Tensor:
    """The input itself.

    Args:
        x: tensor (N, H, W, filters).
        filters: channels of the block's output.
        stride: 1.
        name: of the block, for the error.

    Returns:
        `x`.

    Raises:
        ValueError: the shape of `x` is not that of the block's output.

    Example:
        >>> import keras, keras_resnet as kr
        >>> x = keras.Input((8, 8, 16))
        >>> kr.shortcuts.identity(x, 16, 1, "b") is x
        True
    """
    if not shapes_agree(layers.channels(x), filters, stride):
        raise ValueError(
            f"shortcut: identity needs stride 1 and {filters} input channels. "
            f"Received: stride={stride} and {layers.channels(x)} channels in {name!r}"
        )
    return x


@cost_of("shortcut", identity)
def _identity_cost(x: Sketch, filters: int, stride: int) -> None:
    if not shapes_agree(x.channels, filters, stride):
        raise ValueError(f"shortcut: identity cannot make {filters} channels of {x.channels}")
    x.stride(stride)


@projection(EVERYWHERE)
def project(x: Tensor, filters: int, stride: int, name: str) -> Tensor:
    """A 1x1 convolution in every block: option C of He et al. 2015 (arXiv:1512.03385).

    Option B, a projection only where shapes differ, is what blocks have with `shortcut=None`.

    Args:
        x: tensor (N, H, W, C).
        filters: channels of the result, at least 1.
        stride: at least 1.
        name: prefix of the layer's name.

    Returns:
        A tensor (N, ceil(H / stride), ceil(W / stride), filters).

    Example:
        >>> import keras, keras_resnet as kr
        >>> kr.shortcuts.project(keras.Input((8, 8, 16)), 32, 2, "b_0").shape
        (None, 4, 4, 32)
    """
    return layers.conv(x, filters, 1, stride, name=f"{name}_conv")


@projection(WHERE_SHAPES_DIFFER)
def pool_project(x: Tensor, filters: int, stride: int, name: str) -> Tensor:
    """Average-pool, then a 1x1 convolution, where shapes differ: ResNet-D (He et al. 2018, arXiv:1812.01187).

    The average leaves out the padding, as in timm (`ceil_mode=True, count_include_pad=False`). Where `output_stride`
    replaces the stride by dilation nothing is pooled; timm then averages 2x2 pixels with stride 1.

    Args:
        x, filters, stride, name: as in `project`.

    Returns:
        A tensor (N, ceil(H / stride), ceil(W / stride), filters).

    Example:
        >>> import keras, keras_resnet as kr
        >>> kr.shortcuts.pool_project(keras.Input((9, 9, 16)), 32, 2, "b_0").shape
        (None, 5, 5, 32)
    """
    if stride > 1:
        x = keras.layers.AveragePooling2D(stride, strides=stride, padding="same", name=f"{name}_pool")(x)
    return layers.conv(x, filters, 1, name=f"{name}_conv")


@cost_of("shortcut", project)
@cost_of("shortcut", pool_project)
def _projection_cost(x: Sketch, filters: int, stride: int) -> None:
    x.conv(filters, 1, stride)


@projection(WHERE_CHANNELS_DIFFER)
def subsample_or_project(x: Tensor, filters: int, stride: int, name: str) -> Tensor:
    """A 1x1 convolution with bias; where channels agree every `stride`-th pixel. As in keras.applications' v2.

    Args:
        x, filters, stride, name: as in `project`.

    Returns:
        A tensor (N, ceil(H / stride), ceil(W / stride), filters).

    Example:
        >>> import keras, keras_resnet as kr
        >>> kr.shortcuts.subsample_or_project(keras.Input((8, 8, 16)), 32, 2, "b_0").shape
        (None, 4, 4, 32)
    """
    return layers.biased_conv(x, filters, 1, stride, name=f"{name}_conv")


@cost_of("shortcut", subsample_or_project)
def _biased_projection_cost(x: Sketch, filters: int, stride: int) -> None:
    x.conv(filters, 1, stride, bias=True)


def subsample(x: Tensor, filters: int, stride: int, name: str) -> Tensor:
    """Every `stride`-th pixel of the input.

    Args:
        x: tensor (N, H, W, filters).
        filters: channels of the block's output.
        stride: at least 1.
        name: prefix of the layer's name.

    Returns:
        A tensor (N, ceil(H / stride), ceil(W / stride), filters).

    Raises:
        ValueError: `x` has other channels.

    Example:
        >>> import keras, keras_resnet as kr
        >>> kr.shortcuts.subsample(keras.Input((8, 8, 16)), 16, 2, "b_0").shape
        (None, 4, 4, 16)
    """
    if layers.channels(x) != filters:
        raise ValueError(
            f"shortcut: subsample needs {filters} input channels. Received: {layers.channels(x)} channels in {name!r}"
        )
    return layers.subsample(x, stride, f"{name}_pool") if stride > 1 else x


@cost_of("shortcut", subsample)
def _subsample_cost(x: Sketch, filters: int, stride: int) -> None:
    if x.channels != filters:
        raise ValueError(f"shortcut: subsample cannot make {filters} channels of {x.channels}")
    x.stride(stride)


def zero_pad(x: Tensor, filters: int, stride: int, name: str) -> Tensor:
    """Every `stride`-th pixel, with channels of zeros at the end: option A of He et al. 2015 (arXiv:1512.03385).

    Args:
        x: tensor (N, H, W, C).
        filters: channels of the result, at least C.
        stride: at least 1.
        name: prefix of the names of the layers.

    Returns:
        A tensor (N, ceil(H / stride), ceil(W / stride), filters).

    Raises:
        ValueError: `filters` is less than C.

    Example:
        >>> import keras, keras_resnet as kr
        >>> kr.shortcuts.zero_pad(keras.Input((8, 8, 16)), 32, 2, "b_0").shape
        (None, 4, 4, 32)
    """
    missing = _missing_channels(x, filters, name)
    return _pad_channels(x, 0, missing, stride, name)


def zero_pad_both(x: Tensor, filters: int, stride: int, name: str) -> Tensor:
    """`zero_pad` with half of the zeros before and half after the channels, as in akamaster's CIFAR networks.

    Args:
        x, filters, stride, name: as in `zero_pad`.

    Returns:
        A tensor (N, ceil(H / stride), ceil(W / stride), filters).

    Raises:
        ValueError: `filters` is less than C.

    Example:
        >>> import keras, keras_resnet as kr
        >>> kr.shortcuts.zero_pad_both(keras.Input((8, 8, 16)), 32, 2, "b_0").shape
        (None, 4, 4, 32)
    """
    missing = _missing_channels(x, filters, name)
    return _pad_channels(x, missing // 2, missing - missing // 2, stride, name)


@cost_of("shortcut", zero_pad)
@cost_of("shortcut", zero_pad_both)
def _zero_pad_cost(x: Sketch, filters: int, stride: int) -> None:
    if x.channels > filters:
        raise ValueError(f"shortcut: zero padding cannot make {filters} channels of {x.channels}")
    x.stride(stride)


def _missing_channels(x: Tensor, filters: int, name: str) -> int:
    missing = filters - layers.channels(x)
    if missing < 0:
        raise ValueError(
            f"shortcut: zero_pad cannot remove channels; filters must be at least {layers.channels(x)}. "
            f"Received: filters={filters} in {name!r}"
        )
    return missing


def _pad_channels(x: Tensor, start: int, end: int, stride: int, name: str) -> Tensor:
    if stride > 1:
        x = layers.subsample(x, stride, f"{name}_pool")
    if start == end == 0:
        return x
    # ZeroPadding2D pads two adjacent axes. With the other data format, one of them is the channels' axis.
    last = keras.config.image_data_format() == "channels_last"
    sides = ((0, 0), (start, end)) if last else ((start, end), (0, 0))
    other = "channels_first" if last else "channels_last"
    return keras.layers.ZeroPadding2D(sides, data_format=other, name=f"{name}_pad")(x)
