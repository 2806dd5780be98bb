"""Gates: channel attention at the end of a branch.

A gate is a function `(x, name) -> tensor` that keeps the shape; pass your own as `gate=` of `keras_resnet.ResNet`.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import keras

from keras_resnet import layers
from keras_resnet.complexity import Sketch, cost_of
from keras_resnet.layers import Tensor

Gate = Callable[[Tensor, str], Tensor]


def squeeze_excite(x: Tensor, name: str, *, ratio: float = 1 / 16, divisor: int = 8) -> Tensor:
    """Squeeze-and-excitation: pool, reduce, expand, scale (Hu et al. 2017, arXiv:1709.01507).

    Args:
        x: tensor (N, H, W, C).
        name: prefix of the names of the layers.
        ratio: channels of the reduced layer over C, above 0; ResNet-RS has 0.25.
        divisor: the number of reduced channels is rounded to a multiple of it, at least once (as in timm).

    Returns:
        A tensor (N, H, W, C): `x` with each channel scaled.

    Example:
        >>> import functools, keras_resnet as kr
        >>> model = kr.ResNet((1,), filters=(16,), gate=functools.partial(kr.gates.squeeze_excite, ratio=0.25))
        >>> model.get_layer("conv2_block1_se_reduce").filters
        16
    """
    width = layers.channels(x)
    reduced = _reduced_channels(width, ratio, divisor)
    y = keras.layers.GlobalAveragePooling2D(keepdims=True, name=f"{name}_se_pool")(x)
    y = keras.layers.Conv2D(reduced, 1, activation="relu", name=f"{name}_se_reduce")(y)
    y = keras.layers.Conv2D(width, 1, activation="sigmoid", name=f"{name}_se_expand")(y)
    return keras.layers.Multiply(name=f"{name}_se_scale")([x, y])


def _reduced_channels(width: int, ratio: float = 1 / 16, divisor: int = 8) -> int:
    return max(divisor, int(width * ratio + divisor / 2) // divisor * divisor)


@cost_of("gate", squeeze_excite)
def _squeeze_excite_cost(x: Sketch, ratio: float = 1 / 16, divisor: int = 8) -> None:
    reduced = _reduced_channels(x.channels, ratio, divisor)
    x.parameters += 2 * x.channels * reduced + reduced + x.channels
    x.macs += 2 * x.channels * reduced


def efficient_channel_attention(x: Tensor, name: str, *, gamma: float = 2, beta: float = 1) -> Tensor:
    """Efficient channel attention: a short 1D convolution over the channels (Wang et al. 2019, arXiv:1910.03151).

    Args:
        x: tensor (N, H, W, C).
        name: prefix of the names of the layers.
        gamma, beta: the kernel size is the odd number next to `(log2(C) + beta) / gamma`, at least 3 (equation 12 of
            the paper).

    Returns:
        A tensor (N, H, W, C): `x` with each channel scaled.

    Example:
        >>> import keras_resnet as kr
        >>> model = kr.ResNet((1,), filters=(128,), gate=kr.gates.efficient_channel_attention)
        >>> model.get_layer("conv2_block1_eca_conv").kernel_size
        (5,)
    """
    width = layers.channels(x)
    kernel = _kernel_size(width, gamma, beta)
    y = keras.layers.GlobalAveragePooling2D(name=f"{name}_eca_pool")(x)
    last = keras.config.image_data_format() == "channels_last"
    # The channels are the one spatial axis of the convolution, and each has one feature.
    y = keras.layers.Reshape((width, 1) if last else (1, width), name=f"{name}_eca_row")(y)
    y = keras.layers.Conv1D(1, kernel, padding="same", use_bias=False, activation="sigmoid", name=f"{name}_eca_conv")(y)
    y = keras.layers.Reshape((1, 1, width) if last else (width, 1, 1), name=f"{name}_eca_column")(y)
    return keras.layers.Multiply(name=f"{name}_eca_scale")([x, y])


def _kernel_size(width: int, gamma: float = 2, beta: float = 1) -> int:
    size = int(abs(math.log2(width) + beta) / gamma)
    return max(size if size % 2 else size + 1, 3)


@cost_of("gate", efficient_channel_attention)
def _efficient_channel_attention_cost(x: Sketch, gamma: float = 2, beta: float = 1) -> None:
    kernel = _kernel_size(x.channels, gamma, beta)
    x.parameters += kernel
    x.macs += kernel * x.channels
