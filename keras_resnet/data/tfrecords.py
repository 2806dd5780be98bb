"""Files of examples (TFRecord) with ImageNet's usual features, in any number of shards.

An example has `image/encoded`, the bytes of an image's file, and `image/class/label`, an integer; `image/filename`,
where it is there, names what is corrupt. Shards must not be compressed; nothing is gained by it on JPEG.

How labels get their names, and whether they begin at 0 or at 1, as ImageNet's usual files have it:

1. `classes.txt` or `labels.txt` beside the shards has a line for each class. Lines `1:tench` say the label themselves,
   as the `labels.txt` of TF-Slim does; of plain names the first is that of label 0.
2. Without such a file the training shards are read once for their labels. They begin at 0 if a 0 is among them, else at
   1. A class is called as `image/class/synset` says (ImageNet's WordNet ids, by which published models know their
   classes), else `image/class/text`, else by its number.
"""

from __future__ import annotations

import logging
import os
import re
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from keras_resnet.data.corrupt import CORES
from keras_resnet.data.decode import decode
from keras_resnet.data.folders import TEST_NAMES
from keras_resnet.data.records import Stream, in_range

NAMES_OF = {"train": ("train",), "test": TEST_NAMES}
PLACE = "{split}"
LABEL_FILES = ("classes.txt", "labels.txt")
HEADER, FOOTER = 12, 4  # bytes: length and its checksum before a record, the record's checksum after it

FEATURES = {
    "image/encoded": tf.io.FixedLenFeature((), tf.string),
    "image/class/label": tf.io.FixedLenFeature((), tf.int64),
}
FILE_NAME = {"image/filename": tf.io.FixedLenFeature((), tf.string, "")}
NAMES = {key: tf.io.FixedLenFeature((), tf.string, "") for key in ("image/class/synset", "image/class/text")}


class Labels(NamedTuple):
    """The classes' names, and the label of the first of them."""

    classes: tuple[str, ...]
    first: int


def find(pattern: str, split: str) -> tuple[list[Path], list[Path]]:
    """The shards of a split, and those whose labels name the classes: of training, or the same.

    `pattern` is a directory, a glob with `{split}`, or, for "all", a glob without.
    """
    where = Path(pattern).expanduser()
    if split == "all":
        if PLACE in pattern or where.is_dir():
            raise ValueError(f"data: for split 'all' a glob of files must be given. Received: {pattern}")
        shards = _matching(str(where))
        if not shards:
            raise ValueError(f"data: {pattern} must match files. Received: none that does")
        return shards, shards
    if not where.is_dir() and PLACE not in pattern:
        raise ValueError(
            f"data: tfrecord: must be followed by a directory, or a glob with {PLACE} for train and "
            f"{', '.join(TEST_NAMES)}; a glob without is for split 'all'. Received: {pattern}"
        )
    shards, training = _shards(where, NAMES_OF[split]), _shards(where, NAMES_OF["train"])
    if not shards:
        raise ValueError(
            f"data: {pattern} must have files with {' or '.join(NAMES_OF[split])} in their names. Received: none"
        )
    return shards, training or shards


def _shards(where: Path, names: tuple[str, ...]) -> list[Path]:
    """Those of the first name that there are any of."""
    for name in names:
        if where.is_dir():
            word = re.compile(rf"(^|[^a-z]){name}([^a-z]|$)", re.IGNORECASE)
            found = [path for path in sorted(where.iterdir()) if word.search(path.name) and path.suffix != ".txt"]
        else:
            found = _matching(str(where).replace(PLACE, name))
        if found:
            return found
    return []


def _matching(pattern: str) -> list[Path]:
    path = Path(pattern).absolute()
    return sorted(found for found in Path(path.anchor).glob(str(path.relative_to(path.anchor))) if found.is_file())


def count(shard: Path) -> int:
    """How many records a shard has, the last one perhaps cut off; only their lengths are read."""
    size, offset, records = shard.stat().st_size, 0, 0
    with shard.open("rb") as file:
        while offset < size:
            header = os.pread(file.fileno(), HEADER, offset)
            (length,) = struct.unpack("<Q", header[:8].ljust(8, b"\xff"))
            offset += HEADER + length + FOOTER
            records += 1
            if offset > size and records == 1:
                raise ValueError(f"data: {shard} is no TFRecord file, or a compressed one, or cut off")
    return records


def labels(directory: Path, shards: list[Path]) -> Labels:
    """What the labels stand for: by the file in `directory`, else by what the records of `shards` say."""
    for name in LABEL_FILES:
        if (directory / name).is_file():
            return _listed(directory / name)
    return _found(shards)


def _listed(file: Path) -> Labels:
    lines = [line.strip() for line in file.read_text().splitlines() if line.strip()]
    numbered = [re.fullmatch(r"(\d+):\s*(.+)", line) for line in lines]
    if not lines:
        raise ValueError(f"data: {file} must name the classes, one a line. Received: an empty file")
    if not all(numbered):
        return Labels(tuple(lines), 0)
    names = {int(match[1]): match[2] for match in numbered if match}
    first = min(names)
    if sorted(names) != list(range(first, first + len(lines))):
        raise ValueError(f"data: {file} must number the classes one after the other, each once. Received: a gap or two")
    return Labels(tuple(names[first + index] for index in range(len(lines))), first)


def _found(shards: list[Path]) -> Labels:
    logging.getLogger("keras_resnet.data").info(
        "reading %d shards for their labels; a classes.txt beside them saves that", len(shards)
    )
    features = {"image/class/label": tf.io.FixedLenFeature((), tf.int64, -1), **NAMES}
    records = tf.data.Dataset.from_tensor_slices([str(shard) for shard in shards]).interleave(
        lambda shard: tf.data.TFRecordDataset(shard).ignore_errors(), cycle_length=CORES, num_parallel_calls=CORES
    )
    parsed = records.batch(64).map(lambda batch: tf.io.parse_example(batch, features), CORES).ignore_errors()
    names: dict[int, str] = {}
    for batch in parsed.as_numpy_iterator():
        every = batch["image/class/label"]
        for label, index in zip(*np.unique(every, return_index=True)):
            said = [batch[key][index].decode(errors="replace") for key in NAMES]
            names.setdefault(int(label), next(filter(None, said), str(label)))
    names.pop(-1, None)
    if not names:
        raise ValueError(f"data: {shards[0]} and its kin must have the features {', '.join(FEATURES)}. Received: none")
    first = 0 if 0 in names else 1
    return Labels(tuple(names.get(label, str(label)) for label in range(first, max(names) + 1)), first)


def stream(
    shards: tuple[str, ...],
    counts: tuple[int, ...],
    parse: Callable[[Any], tuple[tf.Tensor, tf.Tensor]],
    explain: Callable[[str, int], str],
) -> Stream:
    """The records of some shards. Where a shard cannot be read on, its other records are empty strings: all corrupt."""
    total = sum(counts)
    if not total:
        raise ValueError(f"data: {shards[0]} and its kin must have records. Received: none")
    width = sum(Path(shard).stat().st_size for shard in shards) // total + 1

    def opened(shard: tf.Tensor) -> tf.data.Dataset:
        return tf.data.TFRecordDataset(shard).ignore_errors().concatenate(tf.data.Dataset.from_tensors("").repeat())

    return Stream(shards, counts, opened, parse, explain, width, np.arange(total))


def parser(labels: Labels) -> Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]]:
    """A function from a record to the bytes of its image and its label, which counts from 0."""

    def parse(record: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        example = tf.io.parse_single_example(record, FEATURES)
        return example["image/encoded"], in_range(example["image/class/label"] - labels.first, len(labels.classes))

    return parse


def explainer(labels: Labels) -> Callable[[str, int], str]:
    """A function from a shard and the number of a record in it, from 0, to what is wrong with that."""

    def explain(shard: str, number: int) -> str:
        name = f"{shard}: record {number}"
        try:
            (record,) = tf.data.TFRecordDataset(shard).skip(number).take(1)
            example = tf.io.parse_single_example(record, FEATURES | FILE_NAME)
        except (tf.errors.OpError, ValueError):
            return f"{name} is damaged, or lacks a feature of {', '.join(FEATURES)}"
        file, label = example["image/filename"].numpy().decode(errors="replace"), int(example["image/class/label"])
        name += f" ({file})" if file else ""
        if not labels.first <= label < labels.first + len(labels.classes):
            return f"{name} has the label {label}; there are {labels.first} to {labels.first + len(labels.classes) - 1}"
        try:
            decode(example["image/encoded"], 3)
        except tf.errors.OpError:
            return f"{name} is no readable JPEG, PNG, BMP, WebP or GIF"
        return f"{name} was not reached: the shard is damaged before it"

    return explain
