"""The words that residual networks are made of: convolution, normalisation, activation, pooling.

Everything here returns plain Keras layers, so a saved model loads without this package.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import keras

Tensor: TypeAlias = keras.KerasTensor
Norm = Callable[..., Tensor]  # (x, name, gamma="ones") -> tensor
Activation = Callable[[Tensor, str], Tensor]  # (x, name) -> tensor
Convolution = Callable[..., Tensor]  # (x, filters, kernel, stride, dilation, groups, *, name) -> tensor


def channel_axis() -> int:
    """The axis of the channels in a batch of images, after `keras.config.image_data_format()`."""
    return 1 if keras.config.image_data_format() == "channels_first" else -1


def channels(x: Tensor) -> int:
    """How many channels `x` has."""
    return x.shape[channel_axis()]


def batch_norm(x: Tensor, name: str, gamma: str = "ones", *, momentum: float = 0.9, epsilon: float = 1e-5) -> Tensor:
    """Batch normalisation with the constants of torchvision and timm (`momentum` 0.9 is their 0.1).

    Args:
        x: tensor (N, H, W, C).
        name: name of the layer.
        gamma: initializer of the scale.
        momentum: of the moving statistics, in [0, 1].
        epsilon: added to the variance; bind another with `functools.partial(batch_norm, epsilon=...)`.

    Returns:
        A tensor of the shape of `x`.
    """
    return keras.layers.BatchNormalization(
        axis=channel_axis(), momentum=momentum, epsilon=epsilon, gamma_initializer=gamma, name=name
    )(x)


def relu(x: Tensor, name: str) -> Tensor:
    """Rectified linear unit."""
    return keras.layers.Activation("relu", name=name)(x)


class Words(NamedTuple):
    """What "bn" and "relu" mean in a network."""

    norm: Norm
    activation: Activation

    def __call__(self, spec: str, x: Tensor, name: str, gamma: str = "ones") -> Tensor:
        """Applies `spec` ("", "bn", "relu" or "bn relu") from left to right; layers `{name}_bn`, `{name}_relu`."""
        for word in spec.split():
            x = self.norm(x, f"{name}_bn", gamma) if word == "bn" else self.activation(x, f"{name}_relu")
        return x


def conv(
    x: Tensor, filters: int, kernel: int, stride: int = 1, dilation: int = 1, groups: int = 1, *, name: str
) -> Tensor:
    """Convolution without bias, padded by the same amount on all sides as torch does.

    Where the stride is 1 that is what "same" means. A strided "same" would pad an even input by one more
    on the right than on the left, so there the padding is a layer of its own, `{name}` with `_pad` for `_conv`.
    """
    return _conv(x, filters, kernel, stride, dilation, groups, False, name)


def biased_conv(
    x: Tensor, filters: int, kernel: int, stride: int = 1, dilation: int = 1, groups: int = 1, *, name: str
) -> Tensor:
    """`conv` with a bias: where no batch norm follows that would take it away again (keras.applications' v2)."""
    return _conv(x, filters, kernel, stride, dilation, groups, True, name)


def _conv(
    x: Tensor, filters: int, kernel: int, stride: int, dilation: int, groups: int, bias: bool, name: str
) -> Tensor:
    padding = "same"
    if stride > 1 and kernel > 1:
        x = keras.layers.ZeroPadding2D(dilation * (kernel // 2), name=name.removesuffix("_conv") + "_pad")(x)
        padding = "valid"
    return keras.layers.Conv2D(
        filters,
        kernel,
        # A strided and dilated convolution has no equal in TensorFlow; blocks never ask for one (see `first_dilation`).
        strides=stride,
        dilation_rate=dilation,
        groups=groups,
        padding=padding,
        use_bias=bias,
        # He et al. 2015 (arXiv:1502.01852), on the fan-out as torchvision and timm draw it.
        kernel_initializer=keras.initializers.VarianceScaling(2.0, "fan_out", "untruncated_normal"),
        name=name,
    )(x)


def subsample(x: Tensor, stride: int, name: str) -> Tensor:
    """Every `stride`-th pixel: a 1x1 max-pool."""
    return keras.layers.MaxPooling2D(1, strides=stride, name=name)(x)


def max_pool(x: Tensor, name: str) -> Tensor:
    """The 3x3 max-pool of stride 2 of the ImageNet stem, padded by one with minus infinity on all sides as in torch.

    Keras pads with minus infinity only in "same", which at stride 2 is lopsided, and its `ZeroPadding2D` is wrong
    where values are negative (v2 stems). Pooling at stride 1 and then taking every second pixel is exact,
    and costs 0.1 to 0.6 ms of a ResNet-50's 25 to 200 ms.
    """
    x = keras.layers.MaxPooling2D(3, strides=1, padding="same", name=f"{name}_max")(x)
    return subsample(x, 2, f"{name}_pool")


def zero_padded_max_pool(x: Tensor, name: str) -> Tensor:
    """The same pool padded with zeros, as keras.applications has it: another result where values are negative."""
    x = keras.layers.ZeroPadding2D(1, name=f"{name}_pad")(x)
    return keras.layers.MaxPooling2D(3, strides=2, name=f"{name}_pool")(x)


def float32_or_wider() -> str:
    """The type of a network's two ends under any mixed-precision policy: float32, or float64 under float64."""
    return "float64" if keras.config.dtype_policy().compute_dtype == "float64" else "float32"


def as_keras_tensor(x: Any, argument: str) -> Tensor:
    """`x` itself, or a `TypeError` naming `argument` if it is no Keras tensor of rank 4."""
    if not isinstance(x, keras.KerasTensor) or len(x.shape) != 4:
        raise TypeError(
            f"{argument} must be a Keras tensor of rank 4, such as keras.Input((224, 224, 3)) gives. Received: {x!r}"
        )
    return x
