"""Readers: from a weights file to its tensors by name. The first bytes of a file show its format, not its ending.

No reader trusts a file. A reader collects shapes and types before it reads values, follows no links, runs no code, and
needs no more memory than the tensors that the model needs.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from keras_resnet._internal.validation import printable
from keras_resnet.weights.readers import hdf5, not_weights, safetensors_files, torch_files, zips
from keras_resnet.weights.readers.torch_files import Choose
from keras_resnet.weights.sets import FIRST_LAYERS, chosen
from keras_resnet.weights.tensors import LONGEST_NAME, MOST_TENSORS, Tensor, WeightsError

LOGGER = logging.getLogger("keras_resnet.weights")
Reader = Callable[[Path, int], contextlib.AbstractContextManager[dict[str, Tensor]]]
BYTES = re.compile(r"""(?<!['\w])b(["']).*?(?:\1|$)""")  # bytes of the file in error messages of libraries


@contextlib.contextmanager
def open_tensors(
    path: Path,
    limit: int,
    state: str = "",
    tell: Callable[[str], object] = LOGGER.warning,
    first_layers: Sequence[str] = FIRST_LAYERS,
) -> Iterator[dict[str, Tensor]]:
    """Opens a weights file and yields its tensors by name; their values can be read inside the block.

    Args:
        path: a file: Keras HDF5, `.weights.h5`, `.keras`, safetensors, npz or a torch checkpoint.
        limit: bytes that the reader may hold in memory or unpack at once.
        state: name of a set of weights, if the file has several; "": the usual one, see `sets.chosen`.
        tell: a function that gets a sentence about which set is read, if the file has several.
        first_layers: names that show a set, see `sets.chosen`.

    Raises:
        WeightsError: the file is missing or damaged, has no known format, or would run code.
    """
    if not path.is_file():
        raise WeightsError(
            "weights must be the path of an existing file; tags are for models of the zoo, such as ResNet50. "
            f"Received: {printable(path)!r}, {not_weights.directory_of(path) if path.is_dir() else 'no such file'}"
        )
    with contextlib.ExitStack() as stack:
        try:
            choose = functools.partial(
                chosen, state=state, tell=lambda text: tell(f"weights: {text}"), first_layers=first_layers
            )
            tensors = stack.enter_context(_reader(path, choose)(path, limit))
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
    """The error if a library fails on a file; a damaged file can raise any error at any place."""
    reason = BYTES.sub("...", str(error)[:200]) or type(error).__name__
    return WeightsError(f"weights: {path} is damaged or not a weights file: {reason}")


def _check_names(tensors: Mapping[str, Tensor]) -> None:
    if len(tensors) > MOST_TENSORS:
        raise WeightsError(f"a file must have at most {MOST_TENSORS:,} tensors. Received: {len(tensors):,}")
    for name in tensors:
        if len(name) > LONGEST_NAME or not name.isprintable():
            raise WeightsError(
                f"names of tensors must have at most {LONGEST_NAME} characters, all printable. "
                f"Received: {name[:50]!r}, {len(name):,} characters"
            )


@contextlib.contextmanager
def _one_set(reader: Reader, choose: Choose, path: Path, limit: int) -> Iterator[dict[str, Tensor]]:
    with reader(path, limit) as tensors:
        yield choose(tensors)


def _reader(path: Path, choose: Choose) -> Reader:
    """The reader of one set in a file. Those of torch choose before they check that the tensors are valid."""
    with path.open("rb") as file:
        start = file.read(512)
        file.seek(max(path.stat().st_size - 8, 0))
        end = file.read(8)
    if start.startswith(b"\x89HDF\r\n\x1a\n"):
        return functools.partial(_one_set, hdf5.open_hdf5, choose)
    if start[8:9] == b"{" and start[5:8] == b"\0\0\0":
        return functools.partial(_one_set, safetensors_files.open_safetensors, choose)
    if start.startswith(b"PK"):
        return _zip_reader(path, choose)
    if start[:1] == b"\x80":
        return functools.partial(torch_files.open_pickle, choose=choose)
    kind = f"a file that starts with the bytes {start[:8].hex(' ')}" if start else "an empty file"
    raise WeightsError(
        "a file of weights must be Keras HDF5, .weights.h5, .keras, safetensors, npz or a torch checkpoint. "
        f"Received: {not_weights.file_of(start, end) or kind}"
    )


def _zip_reader(path: Path, choose: Choose) -> Reader:
    with zips.open_archive(path) as archive:
        names = archive.namelist()
    if "model.weights.h5" in names:
        return functools.partial(_one_set, zips.open_keras, choose)
    if any(name.endswith(torch_files.PICKLE) for name in names):
        return functools.partial(torch_files.open_zip, choose=choose)
    return functools.partial(_one_set, zips.open_npz, choose)
