"""Readers: a file of weights, as tensors by name. What a file is, its first bytes say, not its suffix.

Every reader assumes the worst of a file: it declares before it reads, follows no links, runs no code, and takes no more
memory than the tensors that the model asks for.
"""

from __future__ import annotations

import contextlib
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

from keras_resnet.weights.readers import hdf5, safetensors_files, torch_files, zips
from keras_resnet.weights.tensors import Tensor, WeightsError

Reader = Callable[[Path, int], contextlib.AbstractContextManager[dict[str, Tensor]]]


@contextlib.contextmanager
def opened(path: Path, limit: int) -> Iterator[dict[str, Tensor]]:
    """The tensors of a file, to be read within the context.

    Args:
        path: a file of any of the kinds below.
        limit: bytes that may be held in memory or unpacked at once.

    Raises:
        WeightsError: the file is missing, damaged, of no known kind, or would run code.
    """
    try:
        with _reader(path)(path, limit) as tensors:
            yield tensors
    except WeightsError:
        raise
    except Exception as error:  # a damaged file can fail anywhere in four libraries
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise WeightsError(f"weights: {path} is damaged or no file of weights: {reason}") from error


def _reader(path: Path) -> Reader:
    if not path.is_file():
        raise WeightsError(f"weights must be the path of an existing file. Received: {str(path)!r}, no such file")
    with path.open("rb") as file:
        start = file.read(512)
    if start.startswith(b"\x89HDF\r\n\x1a\n"):
        return hdf5.opened
    if start.startswith(b"PK"):
        return _of_zip(path)
    if start.lstrip().lower().startswith((b"<!doctype", b"<html", b"<?xml")):
        raise WeightsError(f"weights: {path} is a web page, not a file of weights; a download went wrong")
    if start[8:9] == b"{" and start[5:8] == b"\0\0\0":
        return safetensors_files.opened
    if start[:1] == b"\x80":
        return torch_files.opened_pickle
    raise WeightsError(
        f"weights: {path} must be Keras HDF5, .weights.h5, .keras, safetensors, npz or a torch checkpoint. "
        f"Received: a file that starts with {start[:8]!r}"
        if start
        else f"weights: {path} is empty"
    )


def _of_zip(path: Path) -> Reader:
    zips.check_directory(path)
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
    if "model.weights.h5" in names:
        return zips.opened_keras
    if any(name.endswith("data.pkl") for name in names):
        return torch_files.opened_zip
    return zips.opened_npz
