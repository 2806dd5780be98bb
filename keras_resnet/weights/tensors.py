"""Tensors of a weights file: shape and type are checked first, values are read only if both fit the model."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

FLOATS = ("float16", "bfloat16", "float32", "float64")
# Limits for what an untrusted file may declare before it is read. A network of 1,202 layers has 7,000 tensors; a
# directory or header needs half a million bytes for them, a pickle 0.8 million.
MOST_TENSORS = 20_000
LARGEST_INDEX = 2**22  # bytes
LONGEST_NAME = 200
MOST_AXES = 32
LONGEST_MESSAGE = 480


class WeightsError(ValueError):
    """A weights file, or something in it, cannot be used; the message is for the user.

    The message becomes one printable line, whatever names the file contains.
    """

    def __init__(self, message: str) -> None:
        words = " ".join(message[:LONGEST_MESSAGE].split())
        line = "".join(character if character.isprintable() else "?" for character in words)
        super().__init__(line + " ..." if len(message) > LONGEST_MESSAGE else line)


class Tensor(NamedTuple):
    """A tensor in a file.

    Attributes:
        shape: the shape that the file declares.
        dtype: NumPy's name of the type that the file declares; the file's own name if the type is not supported.
        read: a function that reads the values.
    """

    shape: tuple[int, ...]
    dtype: str
    read: Callable[[], np.ndarray]


def transposed(tensor: Tensor, axes: tuple[int, ...]) -> Tensor:
    """`tensor` with its axes in the order `axes`."""
    return tensor._replace(shape=tuple(tensor.shape[axis] for axis in axes), read=lambda: tensor.read().transpose(axes))


def reshaped(tensor: Tensor, shape: tuple[int, ...]) -> Tensor:
    """`tensor` with another shape, which has the same number of elements."""
    return tensor._replace(shape=shape, read=lambda: tensor.read().reshape(shape))


def changed(tensor: Tensor, change: Callable[[np.ndarray], np.ndarray], shape: tuple[int, ...] | None = None) -> Tensor:
    """`tensor` with the function `change` applied to its values when they are read.

    `shape` is the shape of the result; None: the shape stays.
    """
    return tensor._replace(shape=tensor.shape if shape is None else shape, read=lambda: change(tensor.read()))
