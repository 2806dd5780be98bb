"""torch checkpoints, read without torch: no code of a file is run, and values are read only if they are needed."""

from __future__ import annotations

import contextlib
import io
import math
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np

from keras_resnet.weights.readers import pickles, zips
from keras_resnet.weights.tensors import (
    LARGEST_INDEX,
    LONGEST_NAME,
    MOST_AXES,
    MOST_TENSORS,
    Tensor,
    WeightsError,
)

DEEPEST = 6  # dicts in dicts
PICKLE = "data.pkl"
MAGIC, PROTOCOL = 0x1950A86A20F9469CFC6C, 1001  # torch/serialization.py; of files before torch 1.6
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
    """A sequence of numbers, or a part of it; tensors are views of storages.

    Attributes:
        key: name of the storage in the file.
        dtype: type of the numbers.
        length: count of the numbers.
        start: index of the first number, if this is a part of a storage.
    """

    key: str
    dtype: np.dtype[Any]
    length: int
    start: int = 0

    @property
    def size(self) -> int:
        """Size in bytes."""
        return self.length * self.dtype.itemsize


class Strided(NamedTuple):
    """A tensor as a pickle declares it; offset and strides are counted in elements."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


Fetch = Callable[[Storage, int, int], bytes]  # (storage, first byte, number of bytes) -> bytes
Choose = Callable[[Mapping[str, Any]], dict[str, Any]]  # the tensors of one set, see `sets.chosen`


def _storage(identifier: Any) -> Storage:
    kind, dtype, key, _, length, view = (*identifier, None)[:6]
    start = view[1] if view else 0
    valid = kind == "storage" and isinstance(dtype, np.dtype) and isinstance(key, str)
    if not valid or not _are_sizes(length, start):
        raise WeightsError(
            f"a storage must be ('storage', dtype, key, device, length). Received: types {_type_names(identifier)}"
        )
    return Storage(key, dtype, length, start)


def _strided(storage: Any, offset: Any, shape: Any, strides: Any, *others: Any) -> Strided:
    valid = isinstance(storage, Storage) and len(shape) == len(strides) <= MOST_AXES
    if not valid or not _are_sizes(offset, *shape, *strides):
        raise WeightsError(
            f"a tensor must have a storage, an offset, and a shape and strides of at most {MOST_AXES} integers each, "
            f"none negative. Received: types {_type_names((storage, offset, shape, strides))}"
        )
    return Strided(storage, offset, tuple(shape), tuple(strides))


def _are_sizes(*numbers: Any) -> bool:
    """Whether all are integers that can be sizes: at least 0, and not too large for 64 bits."""
    return all(isinstance(number, int) and 0 <= number < 2**63 for number in numbers)


def _type_names(values: Iterable[Any]) -> str:
    """The types of values, for an error. The values themselves may be too large to be shown."""
    return ", ".join(type(value).__name__ for value in values)


def _parameter(tensor: Any, *others: Any) -> Any:
    return tensor


def _dict(pairs: list[Any] | None = None) -> dict[str, Any]:
    entries = {key: value for key, value in pairs or () if isinstance(key, str)}
    if pairs:
        pairs.clear()  # a pickle must not make many dicts from one long list
    return entries


def _empty_dict(*_: Any) -> dict[str, Any]:
    """A `defaultdict`, which gets its items later; its function for missing items is not needed."""
    return {}


def _unchanged(items: Any) -> Any:
    return items


# The functions whose results are read: those that make tensors and dicts. Sparse, quantized and meta tensors are made
# by other functions, and are not supported.
CALLS: Mapping[str, Any] = {
    "collections.OrderedDict": _dict,
    "collections.defaultdict": _empty_dict,
    "torch._utils._rebuild_tensor": _strided,
    "torch._utils._rebuild_tensor_v2": _strided,
    "torch._utils._rebuild_parameter": _parameter,
    **{f"torch.{name}Storage": dtype for name, dtype in DTYPES.items()},
    **{f"torch.{dtype.name}": None for dtype in DTYPES.values()},
    "torch.Size": _unchanged,
}


@contextlib.contextmanager
def open_zip(path: Path, limit: int, choose: Choose) -> Iterator[dict[str, Tensor]]:
    """The tensors of a checkpoint of torch 1.6 or later, which is a ZIP archive."""
    with zips.open_archive(path) as archive:
        members = {info.filename: info for info in archive.infolist()}
        if any("/code/" in name for name in members):
            raise _without_state("a TorchScript file")
        for info in members.values():
            if info.compress_type != zipfile.ZIP_STORED:
                raise WeightsError(
                    f"a torch checkpoint must not be compressed. Received: a compressed {info.filename!r}"
                )
        name, *others = [name for name in members if name.endswith(PICKLE)]
        if others or members[name].file_size > LARGEST_INDEX:
            raise WeightsError(
                f"a torch checkpoint must have one {PICKLE}, of at most {LARGEST_INDEX:,} bytes. Received: "
                f"{len(others) + 1}, the first of {members[name].file_size:,} bytes"
            )
        prefix = name.removesuffix(PICKLE)
        if f"{prefix}byteorder" in members:
            with archive.open(f"{prefix}byteorder") as file:
                _check_order(file.read(8) == b"little")
        checkpoint, storages = _unpickled(io.BytesIO(archive.read(name)))
        for key, storage in storages.items():
            member = members.get(f"{prefix}data/{key}")
            if member is None or member.file_size != storage.size:
                received = "no file" if member is None else f"{member.file_size:,}"
                raise WeightsError(f"storage {key!r} must have {storage.size:,} bytes. Received: {received}")

        def fetch(storage: Storage, start: int, size: int) -> bytes:
            with archive.open(f"{prefix}data/{storage.key}") as file:
                file.seek(start)
                return file.read(size)

        yield _tensors(checkpoint, fetch, choose)


@contextlib.contextmanager
def open_pickle(path: Path, limit: int, choose: Choose) -> Iterator[dict[str, Tensor]]:
    """The tensors of a checkpoint of an older torch: five pickles and then the storages."""
    with path.open("rb") as file:
        stream = io.BytesIO(file.read(LARGEST_INDEX))
        (magic, _), (protocol, _), (system, _) = (_unpickled(stream) for _ in range(3))
        if (magic, protocol) != (MAGIC, PROTOCOL):
            received = [value if isinstance(value, int) else type(value).__name__ for value in (magic, protocol)]
            raise WeightsError(
                f"a torch checkpoint must begin with its magic number and version {PROTOCOL}. Received: {received}"
            )
        _check_order(system["little_endian"])
        checkpoint, storages = _unpickled(stream)
        keys, _ = _unpickled(stream)
        if set(keys) != set(storages):
            raise WeightsError(
                f"a torch checkpoint must list its {len(storages):,} storages. Received: a list in which "
                f"{len(set(keys) ^ set(storages)):,} are missing or unknown"
            )
        starts: dict[str, int] = {}
        end = stream.tell()
        for key in keys:  # each storage has its length in 8 bytes, and then its numbers
            file.seek(end)
            if (length := int.from_bytes(file.read(8), "little")) != storages[key].length:
                raise WeightsError(f"storage {key!r} must have {storages[key].length:,} numbers. Received: {length:,}")
            starts[key] = end + 8
            end = starts[key] + storages[key].size
        if end != path.stat().st_size:
            raise WeightsError(f"the file must have {end:,} bytes. Received: {path.stat().st_size:,}")

        def fetch(storage: Storage, start: int, size: int) -> bytes:
            file.seek(starts[storage.key] + start)
            return file.read(size)

        yield _tensors(checkpoint, fetch, choose)


def _check_order(little: bool) -> None:
    if not little:
        raise WeightsError(
            "a checkpoint must declare little-endian numbers. Received: a file that does not declare them"
        )


def _unpickled(stream: io.BytesIO) -> tuple[Any, dict[str, Storage]]:
    """The object that a pickle describes, and the storages outside the pickle that it names."""
    storages: dict[str, Storage] = {}

    def persistent(identifier: Any) -> Storage:
        storage = _storage(identifier)
        first = storages.setdefault(storage.key, storage)
        if (first.dtype, first.length) != (storage.dtype, storage.length):
            raise WeightsError(f"a storage must have one type and one length. Received: two for {storage.key!r}")
        return storage

    return pickles.unpickle(stream, CALLS, persistent), storages


def _tensors(checkpoint: Any, fetch: Fetch, choose: Choose) -> dict[str, Tensor]:
    if not isinstance(checkpoint, (Mapping, pickles.Unread)):
        raise WeightsError(f"a checkpoint must have a state dict. Received: a {type(checkpoint).__name__}")
    found, unread = _found(checkpoint)
    if not found and unread:
        raise _without_state(f"an object of {unread[0].name}")
    if not found:
        raise WeightsError("a checkpoint must have a state dict. Received: dicts without tensors")
    return {name: _tensor(name, value, fetch) for name, value in choose(found).items()}


def _without_state(received: str) -> WeightsError:
    return WeightsError(
        f"a checkpoint must have a state dict. Received: {received}; load it in torch, and save model.state_dict()"
    )


def _found(checkpoint: Any) -> tuple[dict[str, Strided], list[pickles.Unread]]:
    """The tensors in dicts of dicts, by names such as `state_dict.conv1.weight`, and the objects that are not read."""
    tensors: dict[str, Strided] = {}
    unread: list[pickles.Unread] = []
    seen = 0

    def visit(value: Any, name: str, depth: int) -> None:
        nonlocal seen
        seen += 1
        if seen > 10 * MOST_TENSORS:  # a dict may be in many others
            raise WeightsError(f"a checkpoint must have at most {10 * MOST_TENSORS:,} entries. Received: more")
        if isinstance(value, Strided):
            tensors[name] = value
        elif isinstance(value, pickles.Unread):
            unread.append(value)
        elif isinstance(value, Mapping) and depth < DEEPEST and len(name) <= LONGEST_NAME:
            for key, entry in value.items():
                if isinstance(key, str):
                    visit(entry, f"{name}.{key}" if name else key, depth + 1)

    visit(checkpoint, "", 0)
    return tensors, unread


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
