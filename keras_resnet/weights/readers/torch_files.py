"""torch checkpoints, read without torch: nothing in the file is run, and a tensor stays in it until it is wanted."""

from __future__ import annotations

import contextlib
import io
import math
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np

from keras_resnet.weights.readers import pickles, zips
from keras_resnet.weights.tensors import LARGEST_INDEX, MOST_AXES, Tensor, WeightsError

WRAPPERS = ("state_dict", "model", "model_state_dict", "net", "model_ema", "state_dict_ema")
PICKLE = "data.pkl"
MAGIC, PROTOCOL = 0x1950A86A20F9469CFC6C, 1001  # torch/serialization.py, before torch 1.6
DTYPES: Mapping[str, np.dtype[Any]] = {
    "Half": np.dtype("float16"),
    "BFloat16": np.dtype(ml_dtypes.bfloat16),
    "Float": np.dtype("float32"),
    "Double": np.dtype("float64"),
    "ComplexFloat": np.dtype("complex64"),
    "ComplexDouble": np.dtype("complex128"),
    "Long": np.dtype("int64"),
    "Int": np.dtype("int32"),
    "Short": np.dtype("int16"),
    "Char": np.dtype("int8"),
    "Byte": np.dtype("uint8"),
    "Bool": np.dtype("bool"),
}


class Storage(NamedTuple):
    """Numbers in a row, of which tensors are views; or a part of one."""

    key: str
    dtype: np.dtype[Any]
    length: int
    start: int = 0

    @property
    def size(self) -> int:
        return self.length * self.dtype.itemsize


class Strided(NamedTuple):
    """A tensor as a pickle declares it; offset and strides are in elements."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


Fetch = Callable[[Storage, int, int], bytes]  # of a storage, from a byte on, so many bytes


def _storage(identifier: Any) -> Storage:
    kind, dtype, key, _, length, view = (*identifier, None)[:6]
    start = view[1] if view else 0
    if kind != "storage" or not isinstance(dtype, np.dtype) or not isinstance(key, str) or not _sizes(length, start):
        raise WeightsError("a storage must have a type, a key and a length. Received: something else")
    return Storage(key, dtype, length, start)


def _strided(storage: Any, offset: Any, shape: Any, strides: Any, *others: Any) -> Strided:
    sound = isinstance(storage, Storage) and len(shape) == len(strides) <= MOST_AXES
    if not sound or not _sizes(offset, *shape, *strides):
        raise WeightsError("a tensor must have a storage, sizes and strides. Received: something else")
    return Strided(storage, offset, tuple(shape), tuple(strides))


def _sizes(*numbers: Any) -> bool:
    return all(isinstance(number, int) and 0 <= number < 2**63 for number in numbers)


def _parameter(tensor: Any, *others: Any) -> Any:
    return tensor


def _dict(pairs: list[Any] | None = None) -> dict[str, Any]:
    found = {key: value for key, value in pairs or () if isinstance(key, str)}
    if pairs:
        pairs.clear()  # one long list must not become many dicts
    return found


def _same(items: Any) -> Any:
    return items


def _nothing(*others: Any) -> None:
    """Stands for what is no weight."""


# What the pickle of a checkpoint may call: what makes tensors and dicts, and what `weights_only` of torch lets it call
# for a schedule or an optimizer. A sparse, quantized or meta tensor is made by something else.
CALLS: Mapping[str, Any] = {
    "collections.OrderedDict": _dict,
    "torch._utils._rebuild_tensor": _strided,
    "torch._utils._rebuild_tensor_v2": _strided,
    "torch._utils._rebuild_parameter": _parameter,
    **{f"torch.{name}Storage": dtype for name, dtype in DTYPES.items()},
    **{f"torch.{dtype.name}": None for dtype in DTYPES.values()},
    "torch.Size": _same,
    "torch.device": _nothing,
    "collections.Counter": _nothing,
    "builtins.set": _nothing,
    "__builtin__.set": _nothing,
    "_codecs.encode": _nothing,
}


@contextlib.contextmanager
def open_zip(path: Path, limit: int) -> Iterator[dict[str, Tensor]]:
    """The tensors of a file of torch 1.6 or later."""
    with zips.open_archive(path) as archive:
        members = {info.filename: info for info in archive.infolist()}
        for info in members.values():
            if info.compress_type != zipfile.ZIP_STORED:
                raise WeightsError(f"torch checkpoints are not compressed. Received: {info.filename!r}")
        name, *others = [name for name in members if name.endswith(PICKLE)]
        if others or members[name].file_size > LARGEST_INDEX:
            raise WeightsError(f"there must be one {PICKLE}, of at most {LARGEST_INDEX:,} bytes. Received: more")
        prefix = name.removesuffix(PICKLE)
        if f"{prefix}byteorder" in members:
            with archive.open(f"{prefix}byteorder") as file:
                _check_order(file.read(8) == b"little")
        loaded, storages = _loaded(io.BytesIO(archive.read(name)))
        for key, storage in storages.items():
            if f"{prefix}data/{key}" not in members or members[f"{prefix}data/{key}"].file_size != storage.size:
                raise WeightsError(f"storage {key!r} must have {storage.size:,} bytes. Received: others, or none")

        def fetch(storage: Storage, start: int, size: int) -> bytes:
            with archive.open(f"{prefix}data/{storage.key}") as file:
                file.seek(start)
                return file.read(size)

        yield _tensors(loaded, fetch)


@contextlib.contextmanager
def open_pickle(path: Path, limit: int) -> Iterator[dict[str, Tensor]]:
    """The tensors of a file of an older torch: five pickles, and behind them the storages."""
    with path.open("rb") as file:
        stream = io.BytesIO(file.read(LARGEST_INDEX))
        (magic, _), (protocol, _), (system, _) = (_loaded(stream) for _ in range(3))
        if (magic, protocol) != (MAGIC, PROTOCOL):
            raise WeightsError("a pickle must be a checkpoint of torch. Received: another")
        _check_order(system["little_endian"])
        loaded, storages = _loaded(stream)
        keys, _ = _loaded(stream)
        if set(keys) != set(storages):
            raise WeightsError("the storages of the tensors must be listed. Received: a list of others")
        starts: dict[str, int] = {}
        end = stream.tell()
        for key in keys:  # of each storage the number of elements, in 8 bytes, and then these
            file.seek(end)
            if int.from_bytes(file.read(8), "little") != storages[key].length:
                raise WeightsError(f"storage {key!r} must have {storages[key].length:,} numbers. Received: others")
            starts[key] = end + 8
            end = starts[key] + storages[key].size
        if end != path.stat().st_size:
            raise WeightsError(f"there must be {end:,} bytes, by the storages. Received: {path.stat().st_size:,}")

        def fetch(storage: Storage, start: int, size: int) -> bytes:
            file.seek(starts[storage.key] + start)
            return file.read(size)

        yield _tensors(loaded, fetch)


def _check_order(little: bool) -> None:
    if not little:
        raise WeightsError("a checkpoint must be of a little-endian machine. Received: one of another")


def _loaded(stream: io.BytesIO) -> tuple[Any, dict[str, Storage]]:
    """What a pickle holds, and the storages that it has outside."""
    storages: dict[str, Storage] = {}

    def persistent(identifier: Any) -> Storage:
        storage = _storage(identifier)
        first = storages.setdefault(storage.key, storage)
        if (first.dtype, first.length) != (storage.dtype, storage.length):
            raise WeightsError(f"a storage must have one type and length. Received: {storage.key!r} with two")
        return storage

    return pickles.unpickle(stream, CALLS, persistent), storages


def _tensors(loaded: Any, fetch: Fetch) -> dict[str, Tensor]:
    for _ in WRAPPERS:  # a wrapper may be in itself
        wrapped = [key for key in WRAPPERS if isinstance(loaded, Mapping) and isinstance(loaded.get(key), Mapping)]
        loaded = loaded[wrapped[0]] if wrapped else loaded
    if not isinstance(loaded, Mapping):
        raise WeightsError(f"a checkpoint must hold a state dict. Received: a {type(loaded).__name__}")
    return {name: _tensor(name, value, fetch) for name, value in loaded.items() if isinstance(value, Strided)}


def _tensor(name: str, tensor: Strided, fetch: Fetch) -> Tensor:
    (storage, offset, shape, strides), count = tensor, math.prod(tensor.shape)
    last = sum((size - 1) * stride for size, stride in zip(shape, strides))
    if count and (last != count - 1 or storage.start + offset + count > storage.length):
        raise WeightsError(
            f"{name!r} must be a dense tensor within its storage of {storage.length:,} numbers. Received: "
            f"shape {shape}, strides {strides}, offset {offset}"
        )

    def read() -> np.ndarray:
        size = storage.dtype.itemsize
        array = np.frombuffer(fetch(storage, (storage.start + offset) * size, count * size), storage.dtype)
        if array.size != count:
            raise WeightsError(f"weights: {name!r} must have {count:,} numbers. Received: {array.size:,}")
        return np.lib.stride_tricks.as_strided(array, shape, [stride * size for stride in strides])

    return Tensor(shape, storage.dtype.name, read)
