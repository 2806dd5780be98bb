"""Gates: channel attention at the end of a branch. A gate is a function `(x, name) -> tensor` of the same shape."""

from __future__ import annotations

import math
from collections.abc import Callable

import keras

from keras_resnet import layers
from keras_resnet.layers import Tensor

Gate = Callable[[Tensor, str], Tensor]


def squeeze_excite(x: Tensor, name: str, *, ratio: float = 1 / 16, divisor: int = 8) -> Tensor:
    """Squeeze-and-excitation: pool, reduce, expand, scale (Hu et al. 2017, arXiv:1709.01507).

    Args:
        x: tensor (N, H, W, C).
        name: prefix of the layers' names.
        ratio: width of the reduced layer over `C`; ResNet-RS takes 0.25.
        divisor: the reduced width is rounded to a multiple of it, at least one (timm's rule).

    Returns:
        `x`, scaled channel by channel.
    """
    width = layers.channels(x)
    reduced = reduced_width(width, ratio, divisor)
    y = keras.layers.GlobalAveragePooling2D(keepdims=True, name=f"{name}_se_pool")(x)
    y = keras.layers.Conv2D(reduced, 1, activation="relu", name=f"{name}_se_reduce")(y)
    y = keras.layers.Conv2D(width, 1, activation="sigmoid", name=f"{name}_se_expand")(y)
    return keras.layers.Multiply(name=f"{name}_se_scale")([x, y])


def efficient_channel_attention(x: Tensor, name: str, *, gamma: float = 2, beta: float = 1) -> Tensor:
    """Efficient channel attention: a short 1D convolution across channels (Wang et al. 2019, arXiv:1910.03151).

    Args:
        x: tensor (N, H, W, C).
        name: prefix of the layers' names.
        gamma, beta: the kernel is the odd size next to `(log2(C) + beta) / gamma`, at least 3 (the paper's eq. 12).

    Returns:
        `x`, scaled channel by channel.
    """
    width = layers.channels(x)
    kernel = kernel_size(width, gamma, beta)
    y = keras.layers.GlobalAveragePooling2D(name=f"{name}_eca_pool")(x)
    last = keras.config.image_data_format() == "channels_last"
    # The convolution runs along the channels, which are its one "spatial" axis; it sees one feature per step.
    y = keras.layers.Reshape((width, 1) if last else (1, width), name=f"{name}_eca_row")(y)
    y = keras.layers.Conv1D(1, kernel, padding="same", use_bias=False, activation="sigmoid", name=f"{name}_eca_conv")(y)
    y = keras.layers.Reshape((1, 1, width) if last else (width, 1, 1), name=f"{name}_eca_column")(y)
    return keras.layers.Multiply(name=f"{name}_eca_scale")([x, y])


def reduced_width(width: int, ratio: float = 1 / 16, divisor: int = 8) -> int:
    """Channels between the two layers of `squeeze_excite`, for `width` channels around it."""
    return max(divisor, int(width * ratio + divisor / 2) // divisor * divisor)


def kernel_size(width: int, gamma: float = 2, beta: float = 1) -> int:
    """Length of the kernel of `efficient_channel_attention`, for `width` channels."""
    size = int(abs(math.log2(width) + beta) / gamma)
    return max(size if size % 2 else size + 1, 3)
