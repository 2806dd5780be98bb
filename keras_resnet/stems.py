"""Stems: the layers from the pixels to the first stage.

A stem is a function `(x, filters, norm_act, after) -> tensor`; pass your own as `stem=` of `keras_resnet.ResNet`.

- `x`: prepared pixels, a Keras tensor (N, H, W, C).
- `filters`: channels of the result.
- `norm_act`: applies batch norm and activation, see `keras_resnet.layers.NormAct`.
- `after`: the operations that the ordering has after the last convolution of the stem, for `norm_act`.
"""

from __future__ import annotations

from collections.abc import Callable

from keras_resnet.complexity import Sketch, cost_of
from keras_resnet.layers import (
    Convolution,
    NormAct,
    Tensor,
    biased_conv,
    conv,
    has_bias,
    max_pool,
    zero_padded_max_pool,
)
from keras_resnet.orderings import Operations

Stem = Callable[[Tensor, int, NormAct, Operations], Tensor]

BN_RELU = ("bn", "relu")


def imagenet(
    x: Tensor,
    filters: int,
    norm_act: NormAct,
    after: Operations,
    *,
    conv: Convolution = conv,
    pool: Callable[[Tensor, str], Tensor] = max_pool,
) -> Tensor:
    """7x7 convolution and 3x3 max-pool, with a stride of 4 together (He et al. 2015, arXiv:1512.03385).

    Args:
        x: tensor (N, H, W, C).
        filters: channels of the result, at least 1.
        norm_act: applies batch norm and activation.
        after: operations after the convolution.
        conv: makes the convolution, for example `keras_resnet.layers.conv_same`.
        pool: a function `(x, name) -> tensor` that makes the max-pool, for example `keras_resnet.layers.max_pool_same`.

    Returns:
        A tensor (N, ceil(H / 4), ceil(W / 4), filters).

    Example:
        >>> import keras, keras_resnet as kr
        >>> norm_act = kr.layers.NormAct(kr.layers.batch_norm, kr.layers.relu)
        >>> kr.stems.imagenet(keras.Input((224, 224, 3)), 64, norm_act, ("bn", "relu")).shape
        (None, 56, 56, 64)
    """
    x = conv(x, filters, 7, 2, name="conv1_conv")
    return pool(norm_act(after, x, "conv1"), "pool1")


@cost_of("stem", imagenet)
def _imagenet_cost(x: Sketch, filters: int, after: Operations, conv: Convolution = conv) -> None:
    x.conv(filters, 7, 2, bias=has_bias("conv", conv))
    x.norm(after)
    x.stride(2)


def imagenet_zero_padded(x: Tensor, filters: int, norm_act: NormAct, after: Operations) -> Tensor:
    """`imagenet` as in keras.applications' v2: the convolution has a bias, and the max-pool is padded with zeros.

    Args:
        x, filters, norm_act, after: as in `imagenet`.

    Returns:
        A tensor (N, ceil(H / 4), ceil(W / 4), filters).

    Example:
        >>> import keras, keras_resnet as kr
        >>> norm_act = kr.layers.NormAct(kr.layers.batch_norm, kr.layers.relu)
        >>> kr.stems.imagenet_zero_padded(keras.Input((224, 224, 3)), 64, norm_act, ("bn", "relu")).shape
        (None, 56, 56, 64)
    """
    x = biased_conv(x, filters, 7, 2, name="conv1_conv")
    return zero_padded_max_pool(norm_act(after, x, "conv1"), "pool1")


@cost_of("stem", imagenet_zero_padded)
def _imagenet_zero_padded_cost(x: Sketch, filters: int, after: Operations) -> None:
    x.conv(filters, 7, 2, bias=True)
    x.norm(after)
    x.stride(2)


def deep(x: Tensor, filters: int, norm_act: NormAct, after: Operations) -> Tensor:
    """Three 3x3 convolutions and a 3x3 max-pool, with a stride of 4: ResNet-C and -D (arXiv:1812.01187).

    Args:
        x, filters, norm_act, after: as in `imagenet`. The first two convolutions have `filters // 2` channels.

    Returns:
        A tensor (N, ceil(H / 4), ceil(W / 4), filters).

    Example:
        >>> import keras, keras_resnet as kr
        >>> norm_act = kr.layers.NormAct(kr.layers.batch_norm, kr.layers.relu)
        >>> kr.stems.deep(keras.Input((224, 224, 3)), 64, norm_act, ("bn", "relu")).shape
        (None, 56, 56, 64)
    """
    return max_pool(_three_convs(x, filters // 2, filters, norm_act, after), "pool1")


@cost_of("stem", deep)
def _deep_cost(x: Sketch, filters: int, after: Operations) -> None:
    _three_convs_cost(x, filters // 2, filters, after)
    x.stride(2)


def deep_tiered(x: Tensor, filters: int, norm_act: NormAct, after: Operations) -> Tensor:
    """`deep` with a narrower first convolution, 24, 32 and 64 channels: timm's ResNet-T.

    Args:
        x, filters, norm_act, after: as in `imagenet`. The first convolution has `3 * filters // 8` channels.

    Returns:
        A tensor (N, ceil(H / 4), ceil(W / 4), filters).

    Example:
        >>> import keras, keras_resnet as kr
        >>> norm_act = kr.layers.NormAct(kr.layers.batch_norm, kr.layers.relu)
        >>> kr.stems.deep_tiered(keras.Input((224, 224, 3)), 64, norm_act, ("bn", "relu")).shape
        (None, 56, 56, 64)
    """
    return max_pool(_three_convs(x, 3 * filters // 8, filters, norm_act, after), "pool1")


@cost_of("stem", deep_tiered)
def _deep_tiered_cost(x: Sketch, filters: int, after: Operations) -> None:
    _three_convs_cost(x, 3 * filters // 8, filters, after)
    x.stride(2)


def deep_strided(x: Tensor, filters: int, norm_act: NormAct, after: Operations) -> Tensor:
    """Four 3x3 convolutions, the last one in place of the max-pool, with a stride of 4: ResNet-RS (arXiv:2103.07579).

    Args:
        x, filters, norm_act, after: as in `imagenet`. The first two convolutions have `filters // 2` channels.

    Returns:
        A tensor (N, ceil(H / 4), ceil(W / 4), filters).

    Example:
        >>> import keras, keras_resnet as kr
        >>> norm_act = kr.layers.NormAct(kr.layers.batch_norm, kr.layers.relu)
        >>> kr.stems.deep_strided(keras.Input((224, 224, 3)), 64, norm_act, ("bn", "relu")).shape
        (None, 56, 56, 64)
    """
    x = _three_convs(x, filters // 2, filters, norm_act, BN_RELU)
    x = conv(x, filters, 3, 2, name="pool1_conv")
    return norm_act(after, x, "pool1")


@cost_of("stem", deep_strided)
def _deep_strided_cost(x: Sketch, filters: int, after: Operations) -> None:
    _three_convs_cost(x, filters // 2, filters, BN_RELU)
    x.conv(filters, 3, 2)
    x.norm(after)


def cifar(x: Tensor, filters: int, norm_act: NormAct, after: Operations) -> Tensor:
    """One 3x3 convolution without stride, for small images (He et al. 2015, arXiv:1512.03385, section 4.2).

    Args:
        x, filters, norm_act, after: as in `imagenet`.

    Returns:
        A tensor (N, H, W, filters).

    Example:
        >>> import keras, keras_resnet as kr
        >>> norm_act = kr.layers.NormAct(kr.layers.batch_norm, kr.layers.relu)
        >>> kr.stems.cifar(keras.Input((32, 32, 3)), 64, norm_act, ("bn", "relu")).shape
        (None, 32, 32, 64)
    """
    return norm_act(after, conv(x, filters, 3, name="conv1_conv"), "conv1")


@cost_of("stem", cifar)
def _cifar_cost(x: Sketch, filters: int, after: Operations) -> None:
    x.conv(filters, 3)
    x.norm(after)


def _three_convs(x: Tensor, first: int, filters: int, norm_act: NormAct, after: Operations) -> Tensor:
    """Convolutions of `first`, `filters // 2` and `filters` channels; the last one is `conv1_conv`, as in all stems."""
    x = norm_act(BN_RELU, conv(x, first, 3, 2, name="conv1_1_conv"), "conv1_1")
    x = norm_act(BN_RELU, conv(x, filters // 2, 3, name="conv1_2_conv"), "conv1_2")
    return norm_act(after, conv(x, filters, 3, name="conv1_conv"), "conv1")


def _three_convs_cost(x: Sketch, first: int, filters: int, after: Operations) -> None:
    for width, stride, operations in ((first, 2, BN_RELU), (filters // 2, 1, BN_RELU), (filters, 1, after)):
        x.conv(width, 3, stride)
        x.norm(operations)
