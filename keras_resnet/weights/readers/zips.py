"""ZIP archives: Keras' `.keras`, of which only the weights are read, and NumPy's npz."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from keras_resnet.weights.readers import hdf5
from keras_resnet.weights.tensors import Tensor, WeightsError

LARGEST_DIRECTORY = 2**23  # bytes; a network of 1,202 layers takes half a million
METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # Python unpacks the others without a bound


def check_directory(path: Path) -> None:
    """Refuses an archive whose table of contents alone would fill the memory."""
    with path.open("rb") as file:
        file.seek(max(path.stat().st_size - 2**16, 0))
        tail = file.read()
    end = tail.rfind(b"PK\5\6")
    if end < 0:
        raise WeightsError(f"weights: {path} is a truncated ZIP archive: it has no table of contents")
    size = int.from_bytes(tail[end + 12 : end + 16], "little")
    if size > LARGEST_DIRECTORY:
        raise WeightsError(f"weights: {path} must have a table of contents of at most 8 MiB. Received: {size:,} bytes")


@contextlib.contextmanager
def opened_keras(path: Path, limit: int) -> Iterator[dict[str, Tensor]]:
    """The tensors of a `.keras` file. Its configuration is not looked at: a stranger's could build anything."""
    with zipfile.ZipFile(path) as archive, tempfile.TemporaryDirectory() as folder:
        info = _checked(archive, archive.getinfo("model.weights.h5"))
        # An optimizer's state is beside the weights, up to twice as large.
        if info.file_size > 4 * limit:
            raise WeightsError(
                f"weights: {path} must unpack to at most {4 * limit:,} bytes. Received: {info.file_size:,}"
            )
        unpacked = Path(folder) / "model.weights.h5"
        with archive.open(info) as packed, unpacked.open("wb") as out:
            shutil.copyfileobj(packed, out, 2**20)
        with hdf5.opened(unpacked, limit) as tensors:
            yield tensors


@contextlib.contextmanager
def opened_npz(path: Path, limit: int) -> Iterator[dict[str, Tensor]]:
    """The tensors of an npz file; arrays of objects, which are pickles, are refused."""
    with zipfile.ZipFile(path) as archive:
        names = [info for info in archive.infolist() if not info.is_dir()]
        if not names or not all(info.filename.endswith(".npy") for info in names):
            raise WeightsError(f"weights: {path} must be a .keras file, an npz file or a torch checkpoint")
        yield {info.filename.removesuffix(".npy"): _array(archive, _checked(archive, info)) for info in names}


def _checked(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> zipfile.ZipInfo:
    if info.compress_type not in METHODS or info.flag_bits & 1:
        raise WeightsError(
            f"weights: archives must be stored or deflated, and not encrypted. Received: {info.filename!r}"
        )
    return info


def _array(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Tensor:
    with archive.open(info) as file:
        version = np.lib.format.read_magic(file)
        if version not in ((1, 0), (2, 0)):
            raise WeightsError(f"weights: {info.filename!r} must be of npy version 1 or 2. Received: {version}")
        header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = header(file)
        start = file.tell()
    if dtype.hasobject or start + dtype.itemsize * int(np.prod(shape, dtype=object)) != info.file_size:
        raise WeightsError(
            f"weights: {info.filename!r} must hold numbers, as many as it says. Received: {shape} {dtype}"
        )

    def read() -> np.ndarray:
        with archive.open(info) as file:
            array = np.lib.format.read_array(file, allow_pickle=False)
            file.read(1)  # the end, where the checksum is compared
            return array

    return Tensor(tuple(shape), dtype.name, read)
