"""Readers: a file of weights, as tensors by name. What a file is, its first bytes say, not its suffix.

Every reader assumes the worst of a file: it declares before it reads, follows no links, runs no code, and takes no more
memory than the tensors that the model asks for.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from keras_resnet.weights.readers import hdf5, safetensors_files, torch_files, zips
from keras_resnet.weights.tensors import LONGEST_NAME, MOST_TENSORS, Tensor, WeightsError

Reader = Callable[[Path, int], contextlib.AbstractContextManager[dict[str, Tensor]]]
BYTES = re.compile(r"""(?<!['\w])b(["']).*?(?:\1|$)""")  # of the file, in the messages of libraries


@contextlib.contextmanager
def open_tensors(path: Path, limit: int) -> Iterator[dict[str, Tensor]]:
    """The tensors of a file, to be read within the context.

    Args:
        path: a file of any of the kinds below.
        limit: bytes that may be held in memory or unpacked at once.

    Raises:
        WeightsError: the file is missing, damaged, of no known kind, or would run code.
    """
    if not path.is_file():
        raise WeightsError(
            "weights must be the path of an existing file; tags are for models of the zoo, such as ResNet50. "
            f"Received: {str(path)!r}, {'a directory' if path.is_dir() else 'no such file'}"
        )
    with contextlib.ExitStack() as stack:
        try:
            tensors = stack.enter_context(_reader(path)(path, limit))
            _check_names(tensors)
        except WeightsError as error:
            raise WeightsError(f"weights: {path}: {error}") from None
        except Exception as error:
            raise _damaged(path, error) from error
        try:
            yield tensors
        except WeightsError:
            raise
        except Exception as error:
            raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> WeightsError:
    """What to say where a file makes a library fail, which it can anywhere and in any way."""
    reason = BYTES.sub("...", str(error)[:200]) or type(error).__name__
    return WeightsError(f"weights: {path} is damaged or no file of weights: {reason}")


def _check_names(tensors: Mapping[str, Tensor]) -> None:
    if len(tensors) > MOST_TENSORS:
        raise WeightsError(f"there must be at most {MOST_TENSORS:,} tensors. Received: {len(tensors):,}")
    for name in tensors:
        if len(name) > LONGEST_NAME or not name.isprintable():
            raise WeightsError(
                f"names of tensors must have at most {LONGEST_NAME} printable letters. "
                f"Received: {name[:50]!r}, {len(name):,} letters"
            )


def _reader(path: Path) -> Reader:
    with path.open("rb") as file:
        start = file.read(512)
    if start.startswith(b"\x89HDF\r\n\x1a\n"):
        return hdf5.open_hdf5
    if start[8:9] == b"{" and start[5:8] == b"\0\0\0":
        return safetensors_files.open_safetensors
    if start.startswith(b"PK"):
        return _of_zip(path)
    if start[:1] == b"\x80":
        return torch_files.open_pickle
    if start.lstrip().lower().startswith((b"<!doctype", b"<html", b"<?xml")):
        raise WeightsError("this is a web page, not a file of weights; a download went wrong")
    raise WeightsError(
        "a file of weights must be Keras HDF5, .weights.h5, .keras, safetensors, npz or a torch checkpoint. "
        f"Received: {'none of these' if start else 'an empty file'}"
    )


def _of_zip(path: Path) -> Reader:
    with zips.open_archive(path) as archive:
        names = archive.namelist()
    if "model.weights.h5" in names:
        return zips.open_keras
    if any(name.endswith(torch_files.PICKLE) for name in names):
        return torch_files.open_zip
    return zips.open_npz
