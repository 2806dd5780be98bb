"""The input of a network: its shape, checks of it, and the preprocessing of raw pixels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from keras_resnet import layers
from keras_resnet._internal.keras_graph import functional_graph
from keras_resnet._internal.validation import integer
from keras_resnet.layers import Tensor

# Mean and standard deviation of ImageNet's pixels / 255 for red, green and blue. torchvision and nearly all models of
# timm normalize with them.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
MOST_CHANNELS = 16  # a shape such as (3, 224, 224) has its channels first; no image has 224 of them


def image_input(input_tensor: Any, input_shape: Sequence[int | None] | None, default: tuple[int | None, ...]) -> Tensor:
    """The input tensor of a network: `input_tensor` itself, or a new `keras.Input`.

    Args:
        input_tensor: a Keras tensor of rank 4, or None for a new input.
        input_shape: shape of an image in the data format of Keras, without the batch; height and width may be None.
            None: `default`.
        default: (height, width, channels), in this order for both data formats.

    Returns:
        A Keras tensor of rank 4.

    Raises:
        ValueError: `input_shape` is not the shape of an image, or differs from the shape of `input_tensor`.
        TypeError: `input_tensor` is not a Keras tensor of rank 4.
    """
    if input_shape is None:
        height, width, depth = default
        input_shape = (height, width, depth) if layers.channel_axis() == -1 else (depth, height, width)
        required = None
    else:
        required = input_shape = _checked_shape(input_shape)
    if input_tensor is None:
        return keras.Input(input_shape, dtype=layers.float32_or_wider())
    x = layers.as_keras_tensor(input_tensor, "input_tensor")
    if required is not None and tuple(x.shape[1:]) != required:
        raise ValueError(
            f"input_shape must be the shape of input_tensor, {tuple(x.shape[1:])}. Received: input_shape={required}"
        )
    _checked_shape(x.shape[1:])
    return x


def preprocess_input(x: Any, data_format: str | None = None) -> Any:
    """Returns `x`: the models take raw pixels, 0 to 255, and normalize them themselves.

    It is here for programs that were written for keras.applications. It checks that the pixels of NumPy arrays are not
    scaled already.

    Args:
        x: images, raw pixels from 0 to 255: an array, or a tensor of any backend, whose values are not checked.
        data_format: not used; it is there because the functions of keras.applications have it.

    Returns:
        `x`, unchanged.

    Raises:
        ValueError: all pixels are in [-1, 1], as after a division by 255 or 127.5.

    Example:
        >>> import numpy as np, keras_resnet as kr
        >>> kr.preprocess_input(np.array([0, 128, 255])).tolist()
        [0, 128, 255]
    """
    if not isinstance(x, np.ndarray):
        return x  # symbolic tensors have no values, and those of a device would be copied
    if x.dtype.kind == "f" and x.size and (scaled := np.abs(x).max()) <= 1 and scaled > 0:
        raise ValueError(
            "x must be raw pixels from 0 to 255; the models normalize them themselves. "
            f"Received: pixels from {x.min():.3g} to {x.max():.3g}; leave out the scaling"
        )
    return x


def _checked_shape(shape: Sequence[int | None]) -> tuple[int | None, ...]:
    expected = "(height, width, channels)" if layers.channel_axis() == -1 else "(channels, height, width)"
    try:
        shape = tuple(shape)
    except TypeError:
        raise TypeError(f"input_shape must be {expected}. Received: input_shape={shape!r}") from None
    if len(shape) != 3 or shape[layers.channel_axis() % 4 - 1] is None:
        raise ValueError(
            f"input_shape must be {expected}; only height and width may be None. Received: input_shape={shape}"
        )
    first, second, third = shape
    channels_first = first in (1, 3) and second == third and third is not None and third > MOST_CHANNELS
    if layers.channel_axis() == -1 and channels_first:
        raise ValueError(
            f"input_shape must be {expected}. "
            f"Received: input_shape={shape}, with the channels first; type input_shape={(second, third, first)}"
        )
    return tuple(side if side is None else integer("input_shape", side) for side in shape)


def sides(x: Tensor) -> tuple[int | None, int | None]:
    """Height and width of `x`."""
    return x.shape[1:3] if layers.channel_axis() == -1 else x.shape[2:4]


def square_side(model: keras.Model) -> int:
    """The side of the square images (N, H, W, C) that `model` takes.

    Raises:
        ValueError: the model takes images that are not square, or of any size, or no images.
        TypeError: the model is neither functional nor sequential, or its input is not known.
    """
    shape, *others = (tensor.shape for tensor in functional_graph(model).inputs)
    if others or len(shape) != 4 or shape[1] is None or shape[1] != shape[2]:
        received = f"{len(others) + 1} inputs, {[shape, *others]}" if others else shape
        raise ValueError(f"model must take square images (N, H, W, C) of a fixed size. Received: {received}")
    return shape[1]


def gray_or_color(model: keras.Model) -> int:
    """The number of channels, 1 or 3, of the images (N, H, W, C) that `model` takes.

    Raises:
        ValueError: the model takes images with another number of channels.
        TypeError: the model is neither functional nor sequential, or its input is not known.
    """
    shape = functional_graph(model).inputs[0].shape
    if shape[-1] not in (1, 3):
        raise ValueError(f"model must take images with 1 or 3 channels. Received: a model with the input shape {shape}")
    return shape[-1]


def check_sides(x: Tensor, smallest: int) -> None:
    """Raises a `ValueError` if height or width is below `smallest`, the total stride of the network."""
    if any(side is not None and side < smallest for side in sides(x)):
        raise ValueError(
            f"input_shape must have sides of at least {smallest}, the total stride of the network. "
            f"Received: {' x '.join(map(str, sides(x)))}"
        )


def check_float(x: Tensor) -> None:
    """Raises a `ValueError` if `x` has an integer type, which convolutions cannot take."""
    if "float" not in x.dtype:
        raise ValueError(
            f"input_tensor must be floating point if include_preprocessing is False. Received: dtype {x.dtype}"
        )


def check_data_format() -> None:
    """Raises a `ValueError` if the backend cannot convolve the data format of Keras.

    TensorFlow cannot convolve "channels_first" on some CPUs.
    """
    if layers.channel_axis() == -1:
        return
    pixel = np.zeros((1, 1, 1, 1), "float32")
    try:  # No other test is right on every backend, device and build.
        keras.ops.conv(pixel, pixel, data_format="channels_first")
    except Exception as error:
        raise ValueError(
            "keras.config.image_data_format() must be 'channels_last' here: "
            f"the {keras.backend.backend()} backend cannot convolve 'channels_first' on this device; call "
            "keras.config.set_image_data_format('channels_last') first"
        ) from error


def statistics(mean: Sequence[float], std: Sequence[float], channels: int) -> tuple[list[float], list[float]]:
    """Mean and standard deviation for a number of channels.

    Args:
        mean, std: one entry for each channel of usual images; the same length, each `std` above 0.
        channels: number of channels of the images.

    Returns:
        `mean` and `std` with `channels` entries. If `channels` is larger than their length, the average of all entries
        is appended; if it is smaller, every entry is the average.

    Raises:
        ValueError: `mean` and `std` have different lengths, or an entry of `std` is not above 0.
    """
    if len(mean) != len(std) or min(std, default=0) <= 0:
        raise ValueError(
            f"mean and std must have the same length, and each std must be above 0. Received: mean={mean}, std={std}"
        )
    kept = len(mean) if channels >= len(mean) else 0
    return tuple(list(v[:kept]) + [float(np.mean(v))] * (channels - kept) for v in (mean, std))  # type: ignore[return-value]


def preprocess(x: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """Normalizes raw pixels: `(x / 255 - mean) / std`, in float32 under any mixed precision policy.

    Args:
        x: images with pixels from 0 to 255, a tensor of rank 4. The number of channels may differ from the length of
            `mean`, see `statistics`.
        mean, std: mean and standard deviation of the pixels / 255, one entry for each channel.

    Returns:
        A tensor of the shape of `x`.

    Raises:
        ValueError: `mean` and `std` have different lengths, or an entry of `std` is not above 0.
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
