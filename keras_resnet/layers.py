"""The layers that residual networks consist of: convolution, normalisation, activation, pooling.

They are plain Keras layers, so that a saved model can be loaded without this package.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import keras

from keras_resnet.complexity import check_cost_known
from keras_resnet.orderings import Operations

Tensor: TypeAlias = keras.KerasTensor
Norm = Callable[..., Tensor]  # (x, name, gamma="ones") -> tensor
Activation = Callable[[Tensor, str], Tensor]  # (x, name) -> tensor
Convolution = Callable[..., Tensor]  # (x, filters, kernel, stride, dilation, groups, *, name) -> tensor


def channel_axis() -> int:
    """The axis of the channels in a batch of images, as `keras.config.image_data_format()` says."""
    return 1 if keras.config.image_data_format() == "channels_first" else -1


def channels(x: Tensor) -> int:
    """The number of channels of `x`."""
    return x.shape[channel_axis()]


def batch_norm(x: Tensor, name: str, gamma: str = "ones", *, momentum: float = 0.9, epsilon: float = 1e-5) -> Tensor:
    """Batch normalisation with the constants of torchvision and timm (`momentum` 0.9 is their 0.1).

    Args:
        x: tensor (N, H, W, C).
        name: name of the layer.
        gamma: initializer of the scale.
        momentum: of the moving statistics, in [0, 1].
        epsilon: added to the variance; 0 only if no variance is 0. For a network with another value pass
            `norm=functools.partial(kr.layers.batch_norm, epsilon=...)`.

    Returns:
        A tensor with the shape of `x`.

    Example:
        >>> import functools, keras_resnet as kr
        >>> model = kr.ResNet((1,), filters=(16,), norm=functools.partial(kr.layers.batch_norm, epsilon=1e-3))
        >>> model.get_layer("conv1_bn").epsilon
        0.001
    """
    return keras.layers.BatchNormalization(
        axis=channel_axis(), momentum=momentum, epsilon=epsilon, gamma_initializer=gamma, name=name
    )(x)


def relu(x: Tensor, name: str) -> Tensor:
    """Rectified linear unit, as a layer called `name`; the result has the shape of `x`."""
    return keras.layers.Activation("relu", name=name)(x)


class NormAct(NamedTuple):
    """The batch norm and the activation of a network.

    Attributes:
        norm: a function `(x, name, gamma) -> tensor`.
        activation: a function `(x, name) -> tensor`.
    """

    norm: Norm
    activation: Activation

    def __call__(self, operations: Operations, x: Tensor, name: str, gamma: str = "ones") -> Tensor:
        """Applies operations, "bn" and "relu", in their order; the layers are called `{name}_bn` and `{name}_relu`."""
        if isinstance(operations, str) or not set(operations) <= {"bn", "relu"}:
            raise ValueError(f'operations must be a tuple of "bn" and "relu". Received: operations={operations!r}')
        for operation in operations:
            x = self.norm(x, f"{name}_bn", gamma) if operation == "bn" else self.activation(x, f"{name}_relu")
        return x


def conv(
    x: Tensor,
    filters: int,
    kernel: int,
    stride: int = 1,
    dilation: int = 1,
    groups: int = 1,
    *,
    name: str,
    bias: str | None = None,
) -> Tensor:
    """A 2D convolution, padded by the same amount on all sides as in torch.

    With a stride of 1 that is Keras' "same" padding. With a larger stride "same" would pad an even side by one more at
    its end than at its start. So the padding is a layer of its own then, `{name}` with `_pad` instead of `_conv`.

    Args:
        x: tensor (N, H, W, C).
        filters: channels of the result, at least 1.
        kernel: size of the square kernel, odd.
        stride: at least 1.
        dilation: at least 1, and 1 if `stride` is above 1.
        groups: number of groups; it divides C and `filters`.
        name: name of the layer.
        bias: initializer of a bias; None: no bias.

    Returns:
        A tensor (N, ceil(H / stride), ceil(W / stride), filters).

    Raises:
        ValueError: `groups` does not divide the channels.

    Example:
        >>> import keras, keras_resnet as kr
        >>> kr.layers.conv(keras.Input((32, 32, 16)), 24, kernel=3, stride=2, groups=8, name="a_conv").shape
        (None, 16, 16, 24)
    """
    options = _checked_options(x, filters, dilation, groups, bias, name)
    padding = "same"
    if stride > 1 and kernel > 1:
        x = keras.layers.ZeroPadding2D(dilation * (kernel // 2), name=name.removesuffix("_conv") + "_pad")(x)
        padding = "valid"
    return keras.layers.Conv2D(filters, kernel, strides=stride, padding=padding, **options)(x)


def conv_same(
    x: Tensor,
    filters: int,
    kernel: int,
    stride: int = 1,
    dilation: int = 1,
    groups: int = 1,
    *,
    name: str,
    bias: str | None = None,
) -> Tensor:
    """`conv` with Keras' "same" padding, as in keras.io's examples and TensorFlow's Model Garden.

    With a stride of 2, "same" pads an even side by one more at its end than at its start. Weights that were trained
    with one padding give other outputs with the other.

    Args:
        x, filters, kernel, stride, dilation, groups, name, bias: as in `conv`.

    Returns:
        A tensor (N, ceil(H / stride), ceil(W / stride), filters).

    Raises:
        ValueError: `groups` does not divide the channels.

    Example:
        >>> import functools, keras_resnet as kr
        >>> block = functools.partial(kr.residual_block, conv=kr.layers.conv_same)
        >>> model = kr.ResNet20(block=block)
        >>> model.get_layer("conv3_block1_1_conv").padding
        'same'
    """
    options = _checked_options(x, filters, dilation, groups, bias, name)
    return keras.layers.Conv2D(filters, kernel, strides=stride, padding="same", **options)(x)


def _checked_options(
    x: Tensor, filters: int, dilation: int, groups: int, bias: str | None, name: str
) -> dict[str, Any]:
    """The arguments of Keras' convolution that both kinds of padding share."""
    if channels(x) % groups or filters % groups:
        raise ValueError(
            f"groups must divide the {channels(x)} input channels and the {filters} output channels of {name!r}. "
            f"Received: groups={groups}"
        )
    return {
        # TensorFlow has no convolution with both stride and dilation. Blocks never need one (see `first_dilation`).
        "dilation_rate": dilation,
        "groups": groups,
        "use_bias": bias is not None,
        # He et al. 2015 (arXiv:1502.01852), with the fan-out as in torchvision and timm.
        "kernel_initializer": keras.initializers.VarianceScaling(2.0, "fan_out", "untruncated_normal"),
        "bias_initializer": bias or "zeros",
        "name": name,
    }


def biased_conv(
    x: Tensor, filters: int, kernel: int, stride: int = 1, dilation: int = 1, groups: int = 1, *, name: str
) -> Tensor:
    """`conv` with a bias, which keras.applications' v2 has where no batch norm follows.

    Args:
        x, filters, kernel, stride, dilation, groups, name: as in `conv`.

    Returns:
        A tensor (N, ceil(H / stride), ceil(W / stride), filters).

    Raises:
        ValueError: `groups` does not divide the channels.

    Example:
        >>> import keras, keras_resnet as kr
        >>> kr.layers.biased_conv(keras.Input((32, 32, 16)), 24, kernel=1, name="a_conv").shape
        (None, 32, 32, 24)
    """
    return conv(x, filters, kernel, stride, dilation, groups, name=name, bias="zeros")


def has_bias(argument: str, convolution: Convolution) -> bool:
    """Whether a convolution of this file has a bias, for the cost of a network.

    Args:
        argument: name of the argument that has the convolution, for the error.
        convolution: the convolution.

    Raises:
        ValueError: the cost of the convolution is not known.
    """
    check_cost_known(argument, convolution, (conv, biased_conv, conv_same))
    if isinstance(convolution, functools.partial):
        return convolution.func is biased_conv or convolution.keywords.get("bias") is not None
    return convolution is biased_conv


def subsample(x: Tensor, stride: int, name: str) -> Tensor:
    """Every `stride`-th pixel, by a 1x1 max-pool.

    Args:
        x: tensor (N, H, W, C).
        stride: at least 1.
        name: name of the layer.

    Returns:
        A tensor (N, ceil(H / stride), ceil(W / stride), C).

    Example:
        >>> import keras, keras_resnet as kr
        >>> kr.layers.subsample(keras.Input((31, 31, 16)), 2, "a_pool").shape
        (None, 16, 16, 16)
    """
    return keras.layers.MaxPooling2D(1, strides=stride, name=name)(x)


def max_pool(x: Tensor, name: str) -> Tensor:
    """The 3x3 max-pool with stride 2 of the ImageNet stem, padded with minus infinity on all sides as in torch.

    Keras pads with minus infinity only in "same" padding, which with stride 2 is not the same on all sides. Its
    `ZeroPadding2D` is wrong for negative values (v2 stems). Pooling with stride 1 and then taking every second pixel is
    exact. It takes 0.1 to 0.6 ms of the 25 to 200 ms of a ResNet-50.

    Args:
        x: tensor (N, H, W, C).
        name: prefix of the names of the two layers, `{name}_max` and `{name}_pool`.

    Returns:
        A tensor (N, ceil(H / 2), ceil(W / 2), C).

    Example:
        >>> import keras, keras_resnet as kr
        >>> kr.layers.max_pool(keras.Input((112, 112, 64)), "pool1").shape
        (None, 56, 56, 64)
    """
    x = keras.layers.MaxPooling2D(3, strides=1, padding="same", name=f"{name}_max")(x)
    return subsample(x, 2, f"{name}_pool")


def max_pool_same(x: Tensor, name: str) -> Tensor:
    """The 3x3 max-pool with stride 2 and Keras' "same" padding, as in TensorFlow's Model Garden.

    Args:
        x: tensor (N, H, W, C).
        name: prefix of the name of the layer, `{name}_pool`.

    Returns:
        A tensor (N, ceil(H / 2), ceil(W / 2), C).

    Example:
        >>> import keras, keras_resnet as kr
        >>> kr.layers.max_pool_same(keras.Input((112, 112, 64)), "pool1").shape
        (None, 56, 56, 64)
    """
    return keras.layers.MaxPooling2D(3, strides=2, padding="same", name=f"{name}_pool")(x)


def zero_padded_max_pool(x: Tensor, name: str) -> Tensor:
    """The 3x3 max-pool with stride 2, padded with zeros as in keras.applications.

    For negative values the result differs from that of `max_pool`.

    Args:
        x: tensor (N, H, W, C).
        name: prefix of the names of the two layers, `{name}_pad` and `{name}_pool`.

    Returns:
        A tensor (N, ceil(H / 2), ceil(W / 2), C).

    Example:
        >>> import keras, keras_resnet as kr
        >>> kr.layers.zero_padded_max_pool(keras.Input((112, 112, 64)), "pool1").shape
        (None, 56, 56, 64)
    """
    x = keras.layers.ZeroPadding2D(1, name=f"{name}_pad")(x)
    return keras.layers.MaxPooling2D(3, strides=2, name=f"{name}_pool")(x)


def float32_or_wider() -> str:
    """The type of both ends of a network under any mixed-precision policy: float32, or float64 under float64."""
    return "float64" if keras.config.dtype_policy().compute_dtype == "float64" else "float32"


def as_keras_tensor(x: Any, argument: str) -> Tensor:
    """`x` itself, or a `TypeError` that names `argument` if `x` is not a Keras tensor of rank 4."""
    if not isinstance(x, keras.KerasTensor) or len(x.shape) != 4:
        raise TypeError(
            f"{argument} must be a Keras tensor of rank 4, such as keras.Input((224, 224, 3)) gives. Received: {x!r}"
        )
    return x
