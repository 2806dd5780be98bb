"""safetensors: what the hubs hold.

Read without its library, which maps the whole file into memory, and of a name that is said twice takes what is said
last (seen in safetensors 0.8).
"""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import ml_dtypes
import numpy as np

from keras_resnet.weights.tensors import LARGEST_INDEX, MOST_AXES, MOST_TENSORS, Tensor, WeightsError

DTYPES: Mapping[str, np.dtype[Any]] = {
    "F16": np.dtype("<f2"),
    "BF16": np.dtype(ml_dtypes.bfloat16),
    "F32": np.dtype("<f4"),
    "F64": np.dtype("<f8"),
}


@contextlib.contextmanager
def open_safetensors(path: Path, limit: int) -> Iterator[dict[str, Tensor]]:
    """The tensors of a safetensors file: the length of a header, the header in JSON, and numbers without a gap."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if length > LARGEST_INDEX:
            raise WeightsError(f"a header must have at most {LARGEST_INDEX:,} bytes. Received: {length:,}")
        header = json.loads(file.read(length), object_pairs_hook=_once)
        header.pop("__metadata__", None)
        if len(header) > MOST_TENSORS:
            raise WeightsError(f"there must be at most {MOST_TENSORS:,} tensors. Received: {len(header):,}")
        for name, declared in header.items():
            _check(name, declared)
        tensors, end = {}, 0
        for name, declared in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
            start, stop = declared["data_offsets"]
            if start != end or stop < start:
                raise WeightsError(f"{name!r} must begin where the one before it ends, at {end:,}. Received: {start:,}")
            tensors[name] = _tensor(file, name, declared, 8 + length + start, stop - start)
            end = stop
        if 8 + length + end != path.stat().st_size:
            raise WeightsError(f"there must be {8 + length + end:,} bytes. Received: {path.stat().st_size:,}")
        yield tensors


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(found := dict(pairs)) < len(pairs):
        raise WeightsError("a header must name each thing once. Received: a name twice")
    return found


def _check(name: str, declared: Any) -> None:
    match declared:
        case {"dtype": str(), "shape": [*shape], "data_offsets": [start, stop]} if len(shape) <= MOST_AXES:
            if all(type(number) is int and 0 <= number < 2**63 for number in (*shape, start, stop)):
                return
    raise WeightsError(f"{name!r} must have a dtype, a shape and two offsets. Received: something else")


def _tensor(file: BinaryIO, name: str, declared: Mapping[str, Any], start: int, size: int) -> Tensor:
    shape, dtype = tuple(declared["shape"]), DTYPES.get(declared["dtype"])
    if dtype is None:
        return Tensor(shape, declared["dtype"], lambda: np.empty(0))  # it will be told of
    if math.prod(shape) * dtype.itemsize != size:
        raise WeightsError(f"{name!r} must have as many bytes as its shape {shape} takes. Received: {size:,}")

    def read() -> np.ndarray:
        file.seek(start)
        return np.fromfile(file, dtype, math.prod(shape)).reshape(shape)

    return Tensor(shape, dtype.name, read)
