"""What goes into a network: the input's shape and its checks, and the preprocessing of raw pixels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from keras_resnet import layers
from keras_resnet._internal.validation import integer
from keras_resnet.layers import Tensor

# Of ImageNet's pixels over 255, red green blue; what torchvision and nearly all of timm normalise with.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def image_input(input_tensor: Any, input_shape: Sequence[int | None] | None, default: tuple[int | None, ...]) -> Tensor:
    """The tensor that a network starts from: `input_tensor`, or a new input.

    Args:
        input_tensor: a Keras tensor of rank 4, or None.
        input_shape: without the batch; sides may be None; or None for `default`.
        default: (height, width, channels), whatever the data format.

    Returns:
        Keras tensor of rank 4.

    Raises:
        ValueError: the shape is not one of an image, or contradicts `input_tensor`.
        TypeError: `input_tensor` is not a Keras tensor of rank 4.
    """
    if input_shape is None:
        height, width, depth = default
        input_shape = (height, width, depth) if layers.channel_axis() == -1 else (depth, height, width)
        given = None
    else:
        given = input_shape = _checked(input_shape)
    if input_tensor is None:
        return keras.Input(input_shape, dtype=layers.float32_or_wider())
    x = layers.as_keras_tensor(input_tensor, "input_tensor")
    if given is not None and tuple(x.shape[1:]) != given:
        raise ValueError(
            f"input_shape must agree with input_tensor, {tuple(x.shape[1:])}. Received: input_shape={given}"
        )
    _checked(x.shape[1:])
    return x


def _checked(shape: Sequence[int | None]) -> tuple[int | None, ...]:
    form = "(height, width, channels)" if layers.channel_axis() == -1 else "(channels, height, width)"
    try:
        shape = tuple(shape)
    except TypeError:
        raise TypeError(f"input_shape must be {form}. Received: input_shape={shape!r}") from None
    if len(shape) != 3 or shape[layers.channel_axis() % 4 - 1] is None:
        raise ValueError(f"input_shape must be {form}; only the sides may be None. Received: input_shape={shape}")
    return tuple(side if side is None else integer("input_shape", side) for side in shape)


def sides(x: Tensor) -> tuple[int | None, int | None]:
    """Height and width of `x`."""
    return x.shape[1:3] if layers.channel_axis() == -1 else x.shape[2:4]


def square_side(model: keras.Model) -> int:
    """The side of the square images (N, H, W, C) that `model` takes; a `ValueError` if it takes others."""
    _, height, width, _ = model.inputs[0].shape
    if height is None or height != width:
        raise ValueError(f"model must take square images of a fixed size. Received: {model.inputs[0].shape}")
    return height


def check_sides(x: Tensor, smallest: int) -> None:
    """Raises a `ValueError` if an image's side is below `smallest`, the network's total stride."""
    if any(side is not None and side < smallest for side in sides(x)):
        raise ValueError(
            f"input_shape must have sides of at least {smallest}, the network's stride. "
            f"Received: {' x '.join(map(str, sides(x)))}"
        )


def check_float(x: Tensor) -> None:
    """Raises a `ValueError` if the network would have to convolve integers."""
    if "float" not in x.dtype:
        raise ValueError(f"input_tensor must be floating point without preprocessing. Received: {x.dtype}")


def check_data_format() -> None:
    """Raises a `ValueError` under channels_first where the backend cannot convolve so (TensorFlow on some CPUs)."""
    if layers.channel_axis() == -1:
        return
    pixel = np.zeros((1, 1, 1, 1), "float32")
    try:  # Trying is the one test that is right on every backend, device and build.
        keras.ops.conv(pixel, pixel, data_format="channels_first")
    except Exception as error:
        raise ValueError(
            "keras.config.image_data_format() must be 'channels_last' here: "
            f"the {keras.backend.backend()} backend cannot convolve 'channels_first' on this device"
        ) from error


def statistics(mean: Sequence[float], std: Sequence[float], channels: int) -> tuple[list[float], list[float]]:
    """`mean` and `std` for this many channels: more get the average of what there is, fewer nothing else."""
    if len(mean) != len(std) or min(std, default=0) <= 0:
        raise ValueError(f"mean and std must be of one length, std positive. Received: mean={mean}, std={std}")
    kept = len(mean) if channels >= len(mean) else 0
    return tuple(list(v[:kept]) + [float(np.mean(v))] * (channels - kept) for v in (mean, std))  # type: ignore[return-value]


def preprocess(x: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """Raw pixels, 0..255, to `(x / 255 - mean) / std`; in float32 under any mixed policy.

    Args:
        x: images; their channels need not be as many as `mean` has, see `statistics`.
        mean, std: of the pixels over 255, one entry a channel.
    """
    mean, std = statistics(mean, std, layers.channels(x))
    layer = keras.layers.Normalization(
        axis=layers.channel_axis(),
        mean=[255 * m for m in mean],
        variance=[(255 * s) ** 2 for s in std],  # Keras takes the variance, not the standard deviation.
        dtype=layers.float32_or_wider(),
        name="preprocessing",
    )
    layer.build(x.shape)  # On JAX the layer has to be built before it is called.
    return layer(x)
