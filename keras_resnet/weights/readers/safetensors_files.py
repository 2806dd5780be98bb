"""safetensors: what the hubs hold."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import safetensors

from keras_resnet.weights.tensors import LARGEST_INDEX, Tensor, WeightsError

DTYPES = {"F16": "float16", "BF16": "bfloat16", "F32": "float32", "F64": "float64"}


@contextlib.contextmanager
def opened(path: Path, limit: int) -> Iterator[dict[str, Tensor]]:
    """The tensors of a safetensors file."""
    with path.open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
        if size > LARGEST_INDEX:
            raise WeightsError(f"a header must have at most {LARGEST_INDEX:,} bytes. Received: {size:,}")
        json.loads(file.read(size), object_pairs_hook=_check_once)
    with safetensors.safe_open(path, framework="numpy") as file:
        yield {name: _tensor(file, name) for name in file.keys()}  # noqa: SIM118  (it is no dict)


def _check_once(pairs: list[tuple[str, Any]]) -> None:
    """The format forbids to say a thing twice; the library takes what is said last."""
    if len({name for name, _ in pairs}) < len(pairs):
        raise WeightsError("a header must name each thing once. Received: a name twice")


def _tensor(file: safetensors.safe_open, name: str) -> Tensor:
    declared = file.get_slice(name)
    dtype = declared.get_dtype()
    return Tensor(tuple(declared.get_shape()), DTYPES.get(dtype, dtype), lambda: file.get_tensor(name))
