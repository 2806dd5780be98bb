"""ZIP archives: Keras' `.keras` files, from which only the weights are read, and NumPy's npz files."""

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

METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # Python unpacks the other methods without a limit
LONGEST_COMMENT = 2**16
HEADER = 30  # smallest number of bytes before the name and data of a member


@contextlib.contextmanager
def open_archive(path: Path) -> Iterator[zipfile.ZipFile]:
    """Opens an archive whose table of contents is not too large, and whose members have different names and places."""
    # If the table is complete in the last bytes of the file, they can be opened like the whole file.
    with path.open("rb") as file:
        file.seek(max(path.stat().st_size - LARGEST_INDEX - LONGEST_COMMENT, 0))
        try:
            zipfile.ZipFile(io.BytesIO(file.read())).close()
        except Exception as error:  # a damaged archive can raise any error
            raise WeightsError(
                f"a ZIP archive must have a table of contents of at most {LARGEST_INDEX:,} bytes. "
                "Received: a longer, damaged or missing one; the file may be incomplete"
            ) from error
    with zipfile.ZipFile(path) as archive:
        members = sorted(archive.infolist(), key=lambda info: info.header_offset)
        names = {info.filename for info in members}
        if len(names) < len(members):
            raise WeightsError(
                f"an archive must have one member for each name. Received: {len(members):,} members with "
                f"{len(names):,} names"
            )
        for first, second in itertools.pairwise(members):
            if first.header_offset + HEADER + len(first.filename) + first.compress_size > second.header_offset:
                raise WeightsError(
                    f"an archive must have its members one after the other. Received: {first.filename!r} and "
                    f"{second.filename!r} overlap"
                )
        for info in members:
            if info.compress_type not in METHODS or info.flag_bits & 1:
                raise WeightsError(
                    "members of an archive must be stored or deflated, and not encrypted. Received: "
                    f"{info.filename!r} with compression method {info.compress_type}, flags {info.flag_bits}"
                )
            if info.compress_type == zipfile.ZIP_STORED and info.compress_size != info.file_size:
                raise WeightsError(
                    "a member that is not compressed must have equal sizes before and after unpacking. Received: "
                    f"{info.compress_size:,} and {info.file_size:,} bytes for {info.filename!r}"
                )
        yield archive


@contextlib.contextmanager
def open_keras(path: Path, limit: int) -> Iterator[dict[str, Tensor]]:
    """The tensors of a `.keras` file. Its configuration is not read: an untrusted one could build any object."""
    with (
        open_archive(path) as archive,
        # The file may also have the state of an optimizer, up to twice as large as the weights.
        unpacked(archive, "model.weights.h5", 4 * limit) as weights,
        hdf5.open_hdf5(weights, limit) as tensors,
    ):
        yield tensors


@contextlib.contextmanager
def unpacked(archive: zipfile.ZipFile, name: str, most: int) -> Iterator[Path]:
    """Unpacks a member of an archive, if it has at most `most` bytes, to a temporary file of the same name."""
    info = archive.getinfo(name)
    if info.file_size > most:
        raise WeightsError(f"{name} must have at most {most:,} bytes. Received: {info.file_size:,}")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / name
        with archive.open(info) as packed, file.open("wb") as out:
            shutil.copyfileobj(packed, out, 2**20)
        yield file


@contextlib.contextmanager
def open_npz(path: Path, limit: int) -> Iterator[dict[str, Tensor]]:
    """The tensors of an npz file; an array of objects raises an error, because it is a pickle."""
    with open_archive(path) as archive:
        members = [info for info in archive.infolist() if not info.is_dir()]
        if not members or not all(info.filename.endswith(".npy") for info in members):
            shown = ", ".join(repr(info.filename[:50]) for info in members[:3])
            raise WeightsError(
                "an archive must be a .keras file, an npz file or a torch checkpoint. Received: an archive with "
                + (f"{len(members):,} files: {shown}" if members else "no files")
            )
        yield {info.filename.removesuffix(".npy"): _array(archive, info) for info in members}


def _array(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Tensor:
    with archive.open(info) as file:
        version = np.lib.format.read_magic(file)
        if version != (1, 0):  # version 2.0 is for headers of more than 64 KiB, and NumPy reads any declared length
            raise WeightsError(f"{info.filename!r} must have npy version (1, 0). Received: {version}")
        shape, _, dtype = np.lib.format.read_array_header_1_0(file)
        start = file.tell()
    if dtype.hasobject or start + dtype.itemsize * int(np.prod(shape, dtype=object)) != info.file_size:
        raise WeightsError(
            f"{info.filename!r} must have numbers, as many as its shape declares. Received: shape {shape}, dtype "
            f"{dtype}, {info.file_size:,} bytes"
        )

    def read() -> np.ndarray:
        with archive.open(info) as file:
            array = np.lib.format.read_array(file, allow_pickle=False)
            file.read(1)  # at the end of a member, Python compares its checksum
            return array

    return Tensor(tuple(shape), dtype.name, read)
