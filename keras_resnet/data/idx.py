"""IDX files, the format of MNIST, Fashion-MNIST and similar data sets."""

from __future__ import annotations

import gzip
import struct
import zlib
from pathlib import Path

import numpy as np

PREFIX = {"train": "train", "test": "t10k"}
UBYTE = 0x08


def read_idx(directory: Path, split: str) -> tuple[np.ndarray, np.ndarray]:
    """Reads the files `{train,t10k}-images-idx3-ubyte[.gz]` and `{train,t10k}-labels-idx1-ubyte[.gz]`.

    Args:
        directory: the folder of the files.
        split: "train" (files `train-...`) or "test" (files `t10k-...`).

    Returns:
        Images, uint8 (N, H, W), and labels, uint8 (N,).

    Raises:
        ValueError: a file is missing, cannot be read or has another format, or images and labels differ in number.
    """
    images = _array(directory, f"{PREFIX[split]}-images-idx3-ubyte", rank=3)
    labels = _array(directory, f"{PREFIX[split]}-labels-idx1-ubyte", rank=1)
    if len(images) != len(labels) or not len(images):
        raise ValueError(
            f"data: {directory} must have a label for each image of {split!r}. "
            f"Received: {len(images)} images, {len(labels)} labels"
        )
    return images, labels


def classes(directory: Path, labels: np.ndarray) -> tuple[str, ...]:
    """Names of the classes: the lines of `classes.txt` in `directory`; without that file the numbers of the labels.

    Raises:
        ValueError: `classes.txt` has fewer names than there are classes.
    """
    count = int(labels.max()) + 1
    names = directory / "classes.txt"
    if not names.is_file():
        return tuple(map(str, range(count)))
    lines = tuple(line.strip() for line in names.read_text().splitlines() if line.strip())
    if len(lines) < count:
        raise ValueError(
            f"data: {names} must name at least {count} classes, one on each line. Received: {len(lines)} names"
        )
    return lines


def _array(directory: Path, name: str, rank: int) -> np.ndarray:
    paths = [path for path in (directory / name, directory / f"{name}.gz") if path.is_file()]
    if not paths:
        raise ValueError(f"data: {directory} must have {name} or {name}.gz. Received: no such file")
    path = paths[0]
    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"data: cannot read {path}: {error}") from error
    header = 4 + 4 * rank
    if len(content) < header or content[:4] != bytes((0, 0, UBYTE, rank)):
        raise ValueError(
            f"data: {path} must be an IDX file of unsigned bytes with {rank} dimensions. "
            f"Received: {len(content)} bytes that start with {content[:4]!r}"
        )
    shape = struct.unpack(f">{rank}I", content[4:header])
    array = np.frombuffer(content, np.uint8, offset=header)
    if array.size != np.prod(shape, dtype=np.uint64):
        raise ValueError(
            f"data: {path} must have one byte for each element of the shape in its header, {shape}. "
            f"Received: {array.size} bytes"
        )
    return array.reshape(shape)
