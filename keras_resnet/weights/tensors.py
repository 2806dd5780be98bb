"""A tensor in a file: known by what it declares, and read only once that fits."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

FLOATS = ("float16", "bfloat16", "float32", "float64")
# What a file may say of its tensors, of which nothing can be known before it is read. A network of 1,202 layers has
# 7,000 tensors; of them a directory or header says half a million bytes, a pickle 0.8 million.
MOST_TENSORS = 20_000
LARGEST_INDEX = 2**22  # bytes
LONGEST_NAME = 200
MOST_AXES = 32
LONGEST_MESSAGE = 480


class WeightsError(ValueError):
    """A file or what is in it cannot be used; the message is for the user.

    It is one printable line, whatever a file has for names.
    """

    def __init__(self, message: str) -> None:
        line = "".join(c if c.isprintable() else "?" for c in " ".join(message[:LONGEST_MESSAGE].split()))
        super().__init__(line + " ..." if len(message) > LONGEST_MESSAGE else line)


class Tensor(NamedTuple):
    """What a file declares of a tensor, and how to read it."""

    shape: tuple[int, ...]
    dtype: str
    read: Callable[[], np.ndarray]


def transposed(tensor: Tensor, axes: tuple[int, ...]) -> Tensor:
    """`tensor` with its axes in another order."""
    return tensor._replace(shape=tuple(tensor.shape[axis] for axis in axes), read=lambda: tensor.read().transpose(axes))


def reshaped(tensor: Tensor, shape: tuple[int, ...]) -> Tensor:
    """`tensor` in another shape of as many elements."""
    return tensor._replace(shape=shape, read=lambda: tensor.read().reshape(shape))


def changed(tensor: Tensor, change: Callable[[np.ndarray], np.ndarray], shape: tuple[int, ...] | None = None) -> Tensor:
    """`tensor` after a function of its values; `shape` is the result's, if it is another."""
    return tensor._replace(shape=tensor.shape if shape is None else shape, read=lambda: change(tensor.read()))
