"""Shortcuts: how a block's input reaches the addition.

A shortcut is a function `(x, filters, stride, name) -> tensor`; any callable of that form will do. It gets the
block's raw input. A shortcut marked with `projection` gets the input as the branch sees it (in a pre-activation block
after norm and activation), and the block normalises what it returns where it normalises the end of the branch.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import keras

from keras_resnet import layers
from keras_resnet.layers import Tensor

Shortcut = Callable[[Tensor, int, int, str], Tensor]
S = TypeVar("S", bound=Shortcut)

EVERYWHERE = "everywhere"
WHERE_SHAPES_DIFFER = "where shapes differ"
WHERE_CHANNELS_DIFFER = "where channels differ"


def projection(where: str) -> Callable[[S], S]:
    """Marks a shortcut that projects, and says where.

    `EVERYWHERE`; `WHERE_SHAPES_DIFFER`, identity elsewhere; or `WHERE_CHANNELS_DIFFER`, `subsample` elsewhere.
    """

    def mark(shortcut: S) -> S:
        shortcut.projection = where  # type: ignore[attr-defined]
        return shortcut

    return mark


def shapes_agree(x: Tensor, filters: int, stride: int) -> bool:
    """Whether `x` can be added as it is to a branch of `filters` channels and this stride."""
    return stride == 1 and layers.channels(x) == filters


def identity(x: Tensor, filters: int, stride: int, name: str) -> Tensor:
    """The input itself; its shape must be that of the branch."""
    if not shapes_agree(x, filters, stride):
        raise ValueError(
            f"shortcut: identity needs stride 1 and {filters} input channels. "
            f"Received: stride={stride} and {layers.channels(x)} channels in {name!r}"
        )
    return x


@projection(EVERYWHERE)
def project(x: Tensor, filters: int, stride: int, name: str) -> Tensor:
    """A 1x1 convolution: option C of He et al. 2015 (arXiv:1512.03385) when passed to every block.

    Option B, a projection only where shapes differ, is what a block does when `shortcut` is None.
    """
    return layers.conv(x, filters, 1, stride, name=f"{name}_conv")


@projection(WHERE_SHAPES_DIFFER)
def pool_project(x: Tensor, filters: int, stride: int, name: str) -> Tensor:
    """Average-pool, then a 1x1 convolution: ResNet-D (He et al. 2018, arXiv:1812.01187); identity where shapes agree.

    "same" leaves the padding out of the average, as timm does (`ceil_mode=True, count_include_pad=False`). Where
    `output_stride` has turned the stride into dilation nothing is pooled; timm then averages 2x2 at stride 1.
    """
    if stride > 1:
        x = keras.layers.AveragePooling2D(stride, strides=stride, padding="same", name=f"{name}_pool")(x)
    return layers.conv(x, filters, 1, name=f"{name}_conv")


@projection(WHERE_CHANNELS_DIFFER)
def subsample_or_project(x: Tensor, filters: int, stride: int, name: str) -> Tensor:
    """A 1x1 convolution with bias; where channels agree every `stride`-th pixel: keras.applications' v2."""
    return layers.biased_conv(x, filters, 1, stride, name=f"{name}_conv")


def subsample(x: Tensor, filters: int, stride: int, name: str) -> Tensor:
    """Every `stride`-th pixel of the input; the channels must agree."""
    if layers.channels(x) != filters:
        raise ValueError(
            f"shortcut: subsample needs {filters} input channels. Received: {layers.channels(x)} channels in {name!r}"
        )
    return layers.subsample(x, stride, f"{name}_pool") if stride > 1 else x


def zero_pad(x: Tensor, filters: int, stride: int, name: str) -> Tensor:
    """Every `stride`-th pixel, with channels of zeros at the end: option A of He et al. 2015 (arXiv:1512.03385)."""
    missing = _missing(x, filters, name)
    return _pad_channels(x, 0, missing, stride, name)


def zero_pad_both(x: Tensor, filters: int, stride: int, name: str) -> Tensor:
    """Option A with the zeros on both sides of the channels, as akamaster's CIFAR nets have it."""
    missing = _missing(x, filters, name)
    return _pad_channels(x, missing // 2, missing - missing // 2, stride, name)


def _missing(x: Tensor, filters: int, name: str) -> int:
    missing = filters - layers.channels(x)
    if missing < 0:
        raise ValueError(
            f"shortcut: zero_pad cannot take channels away; filters must be at least {layers.channels(x)}. "
            f"Received: filters={filters} in {name!r}"
        )
    return missing


def _pad_channels(x: Tensor, front: int, end: int, stride: int, name: str) -> Tensor:
    if stride > 1:
        x = layers.subsample(x, stride, f"{name}_pool")
    if front == end == 0:
        return x
    # ZeroPadding2D pads two neighbouring axes. Told of the other data format, one of the two is the channels'.
    last = keras.config.image_data_format() == "channels_last"
    sides = ((0, 0), (front, end)) if last else ((front, end), (0, 0))
    other = "channels_first" if last else "channels_last"
    return keras.layers.ZeroPadding2D(sides, data_format=other, name=f"{name}_pad")(x)
