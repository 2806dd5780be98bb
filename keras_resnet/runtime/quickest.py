"""Which precision is the quickest on this machine: rules and words for speeds that training and export measure."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

import keras

REFERENCE = "float32"  # the precision that the others must beat, and whose answers they must keep
MARGIN = 1.05  # two measurements of a second differ by a few percent, and float32 is exact
# Where convolutions take longer by this factor, no network is quicker: its other parts gain at most half of the bytes.
HOPELESS = 3.0


def quickest(rates: Mapping[str, float]) -> str:
    """The name with the highest rate; of two that differ by less than `MARGIN`, the earlier one.

    Example:
        >>> from keras_resnet.runtime.quickest import quickest
        >>> quickest({"float32": 41.0, "bfloat16": 42.0}), quickest({"float32": 41.0, "bfloat16": 80.0})
        ('float32', 'bfloat16')
    """
    best, *others = rates
    for name in others:
        if rates[name] > MARGIN * rates[best]:
            best = name
    return best


def seconds_of(act: Callable[[], object], enough: float) -> float:
    """Seconds for one call of `act`: the mean of as many calls as `enough` seconds allow, at least one.

    Call `act` once before if the first call does more than the others.
    """
    began, count = time.perf_counter(), 0
    while count == 0 or time.perf_counter() - began < enough:
        act()
        count += 1
    return (time.perf_counter() - began) / count


def slowdown(precision: str) -> float:
    """How many times as long as in float32 a convolution takes in a precision, forward, in TensorFlow, JAX or torch."""
    return _convolution_seconds(precision) / _convolution_seconds(REFERENCE)


def _convolution_seconds(precision: str) -> float:
    # One of ResNet-50's convolutions: 0.2 GFLOP.
    image = keras.ops.ones((1, 56, 56, 64), precision)
    kernel = keras.ops.ones((3, 3, 64, 64), precision)

    def convolve() -> None:
        result = keras.ops.conv(image, kernel, padding="same", data_format="channels_last")
        keras.ops.convert_to_numpy(keras.ops.cast(result[0, 0, 0, 0], "float32"))  # waits for the result

    return quickest_seconds(convolve)


def quickest_seconds(act: Callable[[], object]) -> float:
    """Seconds of the quickest of five calls, after a first one that is not counted."""
    act()
    return min(seconds_of(act, 0.0) for _ in range(5))


def not_tried(factor: float) -> str:
    """Why a precision is not tried, in words, if its `slowdown` is above `HOPELESS`."""
    return f"not tried, because a convolution takes {factor:.0f} times as long as in {REFERENCE}"


def rate(images: float) -> str:
    """A speed in words, for example "41 images/s"."""
    return f"{images:.3g} images/s" if images < 100 else f"{images:,.0f} images/s"
