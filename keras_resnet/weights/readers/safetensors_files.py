"""safetensors files, the usual format on hubs.

The safetensors library is not used: it maps the whole file into memory, and if a name is there twice, it takes the last
tensor without an error (seen in safetensors 0.8).
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
    """The tensors of a safetensors file: the length of a header, the header in JSON, and the values without gaps."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if length > LARGEST_INDEX:
            raise WeightsError(f"a safetensors header must have at most {LARGEST_INDEX:,} bytes. Received: {length:,}")
        header = json.loads(file.read(length), object_pairs_hook=_without_duplicates)
        header.pop("__metadata__", None)
        if len(header) > MOST_TENSORS:
            raise WeightsError(f"a file must have at most {MOST_TENSORS:,} tensors. Received: {len(header):,}")
        for name, declared in header.items():
            _check(name, declared)
        tensors, end = {}, 0
        for name, declared in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
            start, stop = declared["data_offsets"]
            if start != end or stop < start:
                raise WeightsError(
                    f"{name!r} must begin at {end:,}, where the tensor before it ends, and not end before that. "
                    f"Received: {start:,} to {stop:,}"
                )
            tensors[name] = _tensor(file, name, declared, 8 + length + start, stop - start)
            end = stop
        if 8 + length + end != path.stat().st_size:
            raise WeightsError(f"the file must have {8 + length + end:,} bytes. Received: {path.stat().st_size:,}")
        yield tensors


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(entries := dict(pairs)) < len(pairs):
        raise WeightsError(
            f"a header must have each name once. Received: {len(pairs):,} entries with {len(entries):,} different names"
        )
    return entries


def _check(name: str, declared: Any) -> None:
    match declared:
        case {"dtype": str(), "shape": [*shape], "data_offsets": [start, stop]} if len(shape) <= MOST_AXES:
            if all(type(number) is int and 0 <= number < 2**63 for number in (*shape, start, stop)):
                return
    raise WeightsError(
        f"{name!r} must have a dtype, a shape of at most {MOST_AXES} integers and two data_offsets. Received: "
        f"{declared!r:.100}"
    )


def _tensor(file: BinaryIO, name: str, declared: Mapping[str, Any], start: int, size: int) -> Tensor:
    shape, dtype = tuple(declared["shape"]), DTYPES.get(declared["dtype"])
    if dtype is None:
        return Tensor(shape, declared["dtype"], lambda: np.empty(0))  # never read: `match_tensors` raises an error
    if math.prod(shape) * dtype.itemsize != size:
        raise WeightsError(f"{name!r} must have as many bytes as its shape {shape} needs. Received: {size:,}")

    def read() -> np.ndarray:
        file.seek(start)
        return np.fromfile(file, dtype, math.prod(shape)).reshape(shape)

    return Tensor(shape, dtype.name, read)
