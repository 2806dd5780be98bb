"""safetensors: what the hubs hold."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import safetensors

from keras_resnet.weights.tensors import Tensor, WeightsError

LARGEST_HEADER = 2**23  # bytes; a network of 1,202 layers takes half a million
DTYPES = {"F16": "float16", "BF16": "bfloat16", "F32": "float32", "F64": "float64"}


@contextlib.contextmanager
def opened(path: Path, limit: int) -> Iterator[dict[str, Tensor]]:
    """The tensors of a safetensors file."""
    with path.open("rb") as file:
        header = int.from_bytes(file.read(8), "little")
    if header > LARGEST_HEADER:
        raise WeightsError(f"weights: {path} must have a header of at most 8 MiB. Received: {header:,} bytes")
    with safetensors.safe_open(path, framework="numpy") as file:
        yield {name: _tensor(file, name) for name in file.keys()}  # noqa: SIM118  (it is no dict)


def _tensor(file: safetensors.safe_open, name: str) -> Tensor:
    declared = file.get_slice(name)
    dtype = declared.get_dtype()
    return Tensor(tuple(declared.get_shape()), DTYPES.get(dtype, dtype), lambda: file.get_tensor(name))
