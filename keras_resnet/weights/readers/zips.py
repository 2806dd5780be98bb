"""ZIP archives: Keras' `.keras`, of which only the weights are read, and NumPy's npz."""

from __future__ import annotations

import contextlib
import io
import itertools
import shutil
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from keras_resnet.weights.readers import hdf5
from keras_resnet.weights.tensors import LARGEST_INDEX, Tensor, WeightsError

METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # Python unpacks the others without a bound
LONGEST_COMMENT = 2**16
HEADER = 30  # bytes before a member's name and data, at least


@contextlib.contextmanager
def open_archive(path: Path) -> Iterator[zipfile.ZipFile]:
    """An archive with a table of contents of a bounded size, and members that are told apart by name and place."""
    # The end alone shows the same table as the whole file, if it is all in there.
    with path.open("rb") as file:
        file.seek(max(path.stat().st_size - LARGEST_INDEX - LONGEST_COMMENT, 0))
        try:
            zipfile.ZipFile(io.BytesIO(file.read())).close()
        except Exception as error:  # a damaged one can fail anywhere
            raise WeightsError(
                f"a ZIP archive must have a table of contents of at most {LARGEST_INDEX:,} bytes. "
                "Received: one with a longer or damaged one, or none; is the file truncated?"
            ) from error
    with zipfile.ZipFile(path) as archive:
        members = sorted(archive.infolist(), key=lambda info: info.header_offset)
        if len({info.filename for info in members}) < len(members):
            raise WeightsError("an archive must have one member of each name. Received: two of one")
        for first, second in itertools.pairwise(members):
            if first.header_offset + HEADER + len(first.filename) + first.compress_size > second.header_offset:
                raise WeightsError("an archive must have its members one after the other. Received: overlapping ones")
        for info in members:
            if info.compress_type not in METHODS or info.flag_bits & 1:
                raise WeightsError(
                    f"an archive must be stored or deflated, and not encrypted. Received: {info.filename!r}"
                )
            if info.compress_type == zipfile.ZIP_STORED and info.compress_size != info.file_size:
                raise WeightsError(
                    f"a stored member must have one size. Received: {info.compress_size:,} and {info.file_size:,} "
                    f"bytes for {info.filename!r}"
                )
        yield archive


@contextlib.contextmanager
def open_keras(path: Path, limit: int) -> Iterator[dict[str, Tensor]]:
    """The tensors of a `.keras` file. Its configuration is not looked at: a stranger's could build anything."""
    with open_archive(path) as archive, tempfile.TemporaryDirectory() as folder:
        info = archive.getinfo("model.weights.h5")
        # An optimizer's state is beside the weights, up to twice as large.
        if info.file_size > 4 * limit:
            raise WeightsError(f"{info.filename} must have at most {4 * limit:,} bytes. Received: {info.file_size:,}")
        unpacked = Path(folder) / "model.weights.h5"
        with archive.open(info) as packed, unpacked.open("wb") as out:
            shutil.copyfileobj(packed, out, 2**20)
        with hdf5.open_hdf5(unpacked, limit) as tensors:
            yield tensors


@contextlib.contextmanager
def open_npz(path: Path, limit: int) -> Iterator[dict[str, Tensor]]:
    """The tensors of an npz file; arrays of objects, which are pickles, are refused."""
    with open_archive(path) as archive:
        members = [info for info in archive.infolist() if not info.is_dir()]
        if not members or not all(info.filename.endswith(".npy") for info in members):
            raise WeightsError(
                "an archive must be a .keras file, an npz file or a torch checkpoint. Received: none of these"
            )
        yield {info.filename.removesuffix(".npy"): _array(archive, info) for info in members}


def _array(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Tensor:
    with archive.open(info) as file:
        version = np.lib.format.read_magic(file)
        if version != (1, 0):  # the next is for headers of more than 64 KiB, and reads as much as one says it has
            raise WeightsError(f"{info.filename!r} must be of npy version 1.0. Received: {version}")
        shape, _, dtype = np.lib.format.read_array_header_1_0(file)
        start = file.tell()
    if dtype.hasobject or start + dtype.itemsize * int(np.prod(shape, dtype=object)) != info.file_size:
        raise WeightsError(f"{info.filename!r} must hold numbers, as many as it says. Received: {shape} {dtype}")

    def read() -> np.ndarray:
        with archive.open(info) as file:
            array = np.lib.format.read_array(file, allow_pickle=False)
            file.read(1)  # the end, where the checksum is compared
            return array

    return Tensor(tuple(shape), dtype.name, read)
