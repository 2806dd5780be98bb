"""TFRecord files of examples with the usual features of ImageNet, in any number of shards.

An example has the features `image/encoded`, the bytes of an image file, and `image/class/label`, an integer. If it has
`image/filename` too, errors name that file. Shards must not be compressed; compression gains nothing on JPEG.

How the classes get their names, and whether labels start at 0, or at 1 as in the usual ImageNet files:

1. A file `classes.txt` or `labels.txt` next to the shards has one line for each class. Lines such as `1:tench`, as in
   the `labels.txt` of TF-Slim, give the label and the name. If the lines are names only, the first one is label 0.
2. Without such a file, the labels of the training shards are read once. Labels start at 0 if one of them is 0, else at
   1. At least half of the labels up to the largest must occur: a single wrong label must not make a million classes.
   The name of a class is the feature `image/class/synset` (ImageNet's WordNet id, which published models use to name
   their classes); without it `image/class/text`; without both the label.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from keras_resnet.data.corrupt import CORES
from keras_resnet.data.decode import decode, why_not_decoded
from keras_resnet.data.framing import count, records_from, why_damaged
from keras_resnet.data.prepared import check_finished
from keras_resnet.data.records import Stream, in_range

VAL_NAMES = ("validation", "val", "valid")
# The shards of the first name that has any. Some data sets, such as ImageNet, have no "test" with labels.
NAMES_OF = {"train": ("train", "training"), "val": VAL_NAMES, "test": ("test", *VAL_NAMES)}
PLACE = "{split}"
LABEL_FILES = ("classes.txt", "labels.txt")
NO_LABEL = np.iinfo(np.int64).min
LEAST_PRESENT = 0.5  # fraction of the classes that must have a record, if no file names them

FEATURES = {
    "image/encoded": tf.io.FixedLenFeature((), tf.string),
    "image/class/label": tf.io.FixedLenFeature((), tf.int64),
}
# The same features, for records that may lack one.
ANY = {
    "image/encoded": tf.io.FixedLenFeature((), tf.string, ""),
    "image/class/label": tf.io.FixedLenFeature((), tf.int64, NO_LABEL),
}
FILE_NAME = {"image/filename": tf.io.FixedLenFeature((), tf.string, "")}
NAMES = {key: tf.io.FixedLenFeature((), tf.string, "") for key in ("image/class/synset", "image/class/text")}


class Labels(NamedTuple):
    """The names of the classes, and the label of the first class, 0 or 1."""

    classes: tuple[str, ...]
    first: int


def find(pattern: str, split: str) -> tuple[list[Path], list[Path]]:
    """Finds the shards of a split.

    Args:
        pattern: a directory, a glob with `{split}`, or, for the split "all", a glob without `{split}`.
        split: "train", "val", "test" or "all".

    Returns:
        The shards of the split, and the shards whose labels name the classes: those of "train", or the same shards if
        there are none of "train".

    Raises:
        ValueError: `pattern` does not fit the split, there are no such files, or `prepare` has not finished them.
    """
    where = Path(pattern).expanduser()
    check_finished(where if where.is_dir() else where.parent)
    if split == "all":
        if PLACE in pattern or where.is_dir():
            raise ValueError(
                f"data: for split 'all' tfrecord: must be followed by a glob without {PLACE}. Received: {pattern}"
            )
        shards = _matching(str(where))
        if not shards:
            raise ValueError(f"data: {pattern} must match at least one file. Received: no match")
        return shards, shards
    if is_one_split(pattern):
        raise ValueError(
            f"data: tfrecord: must be followed by a directory, or a glob with {PLACE} for train and "
            f"{', '.join(NAMES_OF['test'])}; a glob without {PLACE} is for split 'all'. Received: {pattern}"
        )
    shards, training = _shards(where, NAMES_OF[split]), _shards(where, NAMES_OF["train"])
    if not shards:
        raise ValueError(
            f"data: {pattern} must have files with {' or '.join(NAMES_OF[split])} in their names. Received: none"
        )
    return shards, training or shards


def is_one_split(pattern: str) -> bool:
    """Whether a pattern is a glob of the shards of one split, without `{split}`."""
    return PLACE not in pattern and not Path(pattern).expanduser().is_dir()


def shards_of_splits(pattern: str) -> dict[str, list[Path]]:
    """The shards by split; those of "test" are those of "val" if there are no others."""
    where = Path(pattern).expanduser()
    return {split: _shards(where, names) for split, names in NAMES_OF.items()}


def _shards(where: Path, names: tuple[str, ...]) -> list[Path]:
    """The shards of the first of `names` that has any; an empty list if no name has."""
    for name in names:
        if where.is_dir():
            word = re.compile(rf"(^|[^a-z]){name}([^a-z]|$)", re.IGNORECASE)
            shards = [path for path in sorted(where.iterdir()) if word.search(path.name) and _may_be_shard(path)]
        else:
            shards = _matching(str(where).replace(PLACE, name))
        if shards:
            return shards
    return []


def _may_be_shard(path: Path) -> bool:
    return path.suffix != ".txt" and not path.name.startswith(".")  # such as a file that is being written


def _matching(pattern: str) -> list[Path]:
    path = Path(pattern).absolute()
    return sorted(match for match in Path(path.anchor).glob(str(path.relative_to(path.anchor))) if match.is_file())


def labels(directory: Path, shards: list[Path]) -> Labels:
    """The names of the classes, from a file in `directory`; without that file from the records of `shards`."""
    for name in LABEL_FILES:
        if (directory / name).is_file():
            return _labels_from_file(directory / name)
    return _labels_from_records(shards)


def _labels_from_file(file: Path) -> Labels:
    try:
        lines = [line.strip() for line in file.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
    except UnicodeDecodeError as error:
        raise ValueError(f"data: {file} must be a text file in UTF-8. Received: {error}") from error
    numbered = [re.fullmatch(r"(\d+):\s*(.+)", line) for line in lines]
    if not lines:
        raise ValueError(f"data: {file} must name the classes, one on each line. Received: an empty file")
    if not all(numbered):
        return Labels(tuple(lines), 0)
    names = {int(match[1]): match[2] for match in numbered if match}
    first = min(names)
    if sorted(names) != list(range(first, first + len(lines))):
        raise ValueError(
            f"data: {file} must number the classes from {first} to {first + len(lines) - 1}, each number once. "
            f"Received: {len(lines)} lines, {len(names)} different numbers, the largest one is {max(names)}"
        )
    return Labels(tuple(names[first + index] for index in range(len(lines))), first)


def _labels_from_records(shards: list[Path]) -> Labels:
    logging.getLogger("keras_resnet.data").info(
        "reading the labels of %d shards; with a file classes.txt next to them this is not necessary", len(shards)
    )
    names: dict[int, str] = {}
    places: dict[int, tuple[int, int]] = {}  # for each label its first record: numbers of the shard and in the shard
    features = {"image/class/label": tf.io.FixedLenFeature((), tf.int64, NO_LABEL), **NAMES}
    counted = tuple(map(count, shards))
    offsets = np.cumsum([0, *counted])

    def records_of_shard(shard: tf.Tensor, first: tf.Tensor, end: tf.Tensor) -> tf.data.Dataset:
        return tf.data.Dataset.zip(tf.data.Dataset.range(first, end), open_shard(shard))

    records = tf.data.Dataset.from_tensor_slices((list(map(str, shards)), offsets[:-1], offsets[1:])).interleave(
        records_of_shard, cycle_length=CORES, num_parallel_calls=CORES
    )
    # One by one and not in batches: a record that cannot be parsed must not take others with it. Reading names it.
    parsed = records.map(lambda number, record: (number, tf.io.parse_single_example(record, features)), CORES)
    for numbers, batch in parsed.ignore_errors().batch(1024).as_numpy_iterator():
        for label, index in zip(*np.unique(batch["image/class/label"], return_index=True)):
            texts = [batch[key][index].decode(errors="replace") for key in NAMES]
            names.setdefault(int(label), next(filter(None, texts), str(label)))
            places[int(label)] = min(numbers[index], places.get(int(label), numbers[index]))
    # Reading refuses labels below 0, record by record: the test images of some data sets have -1, for "not known".
    known = sorted(label for label in names if label >= 0)
    if not known:
        raise ValueError(
            f"data: records of shards such as {shards[0]} must have the features {', '.join(FEATURES)}. "
            "Received: no record with a label"
        )
    first, last = min(known[0], 1), known[-1]
    if len(known) < LEAST_PRESENT * (last + 1 - first):
        shard = int(np.searchsorted(offsets, places[last], side="right")) - 1
        raise ValueError(
            "data: labels must have no large gaps, or a file classes.txt next to the shards must name all classes, one "
            f"on each line. Received: label {last} in {shards[shard]}, record {places[last] - offsets[shard]}, and "
            f"{len(known)} different labels in all records"
        )
    return Labels(tuple(names.get(label, str(label)) for label in range(first, last + 1)), first)


def open_shard(shard: tf.Tensor) -> tf.data.Dataset:
    """The records of a shard, then empty strings without end. Instead of a damaged record there is an empty string."""

    def after_damage(path: bytes) -> Iterator[bytes]:
        """The first damaged record, and those after it."""
        name = os.fsdecode(path)
        sound = sum(1 for _ in tf.data.TFRecordDataset(name).ignore_errors())
        return (record or b"" for record in records_from(Path(name), sound))

    # TensorFlow starts a dataset only when the one before it has ended, and no reader asks for more records than there
    # are. So the slow function runs for damaged shards only.
    rest = tf.data.Dataset.from_generator(after_damage, args=(shard,), output_signature=tf.TensorSpec((), tf.string))
    blank = tf.data.Dataset.from_tensors("").repeat()
    return tf.data.TFRecordDataset(shard).ignore_errors().concatenate(rest).concatenate(blank)


def stream(
    shards: tuple[str, ...],
    counts: tuple[int, ...],
    parse: Callable[[Any], tuple[tf.Tensor, tf.Tensor]],
    explain: Callable[[str, int], str],
) -> Stream:
    """The records of some shards.

    A damaged record is an empty string, which counts as corrupt; so are those that a shard lacks.

    Args:
        shards: paths of the shards.
        counts: number of records in each shard.
        parse, explain: as in `Stream`.

    Raises:
        ValueError: there are no records.
    """
    total = sum(counts)
    if not total:
        raise ValueError(f"data: shards such as {shards[0]} must have records. Received: only empty shards")
    width = sum(Path(shard).stat().st_size for shard in shards) // total + 1
    return Stream(shards, counts, open_shard, parse, explain, width, np.arange(total))


def parser(labels: Labels) -> Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]]:
    """A function from a record to (bytes of its image file, label); these labels start at 0."""

    def parse(record: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        example = tf.io.parse_single_example(record, FEATURES)
        return example["image/encoded"], in_range(example["image/class/label"] - labels.first, len(labels.classes))

    return parse


def explainer(labels: Labels) -> Callable[[str, int], str]:
    """A function from a shard and the number of a record in it, from 0, to the reason why it cannot be read."""

    def explain(shard: str, number: int) -> str:
        name = f"{shard}: record {number}"
        record = next(records_from(Path(shard), number), None)
        if record is None:
            return f"{name} is damaged: {why_damaged(Path(shard), number)}"
        try:
            example = tf.io.parse_single_example(record, ANY | FILE_NAME)
        except (tf.errors.OpError, UnicodeDecodeError):  # TensorFlow's message has bytes of the record in it
            return f"{name} is not a tf.train.Example with {' and '.join(FEATURES)}"
        file, label = example["image/filename"].numpy().decode(errors="replace"), int(example["image/class/label"])
        name += f" ({file})" if file else ""
        if label == NO_LABEL:
            return f"{name} has no image/class/label"
        if not labels.first <= label < labels.first + len(labels.classes):
            last = labels.first + len(labels.classes) - 1
            return f"{name} has the label {label}; labels must be from {labels.first} to {last}"
        try:
            decode(example["image/encoded"], 3)
        except tf.errors.OpError as error:
            return f"{name} {why_not_decoded(error)}"
        return f"{name} could not be read, and can be read now: another program wrote to the file"

    return explain
