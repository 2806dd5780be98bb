"""Labelled records, in a fixed order for evaluation and in an endless shuffled order for training.

`Indexed` records can be read in any order; `Stream` records come one after the other.

A row of the training order is (place, number, raw). `place` counts the rows of all batches of all processes since the
start of training, `number` is the number of the record, and `raw` is the argument of `read`. The order depends only on
the key and the place, so a run can start at any place.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import numpy as np
import tensorflow as tf

from keras_resnet.data.corrupt import CORES

ENDLESS = np.iinfo(np.int64).max
SHUFFLED = 10_000  # largest number of records in the shuffle buffer of a stream
SHUFFLED_BYTES = 2**29  # largest size of that buffer; there are two, for this epoch and for the next one
COMPARED = 64  # records that are read twice to see whether they have a fixed order
AT_ONCE = 16  # largest number of shards that are read at the same time


class Plan(NamedTuple):
    """Which rows a process reads: rows `first` to `last`, without `last`, of each batch, from batch `start` on.

    Attributes:
        batch: number of rows in a batch, of all processes together.
        images: number of different images in a batch; row r has image r % images. It is `batch`, or less if images are
            repeated.
        steps: number of batches in an epoch.
        start: number of the first batch.
        first: number of this process' first row in a batch.
        last: number after this process' last row in a batch.
    """

    batch: int
    images: int
    steps: int
    start: int
    first: int
    last: int


class Records(Protocol):
    """The records of a split: images, or the bytes of their files, with labels."""

    @property
    def size(self) -> int:
        """Number of records."""
        ...

    def in_order(self) -> tf.data.Dataset:
        """A dataset of (number, raw), with each record once, in the fixed order."""
        ...

    def endless(self, plan: Plan, key: int) -> tf.data.Dataset:
        """An endless dataset of (place, number, raw), with the rows of this process, epoch after epoch."""
        ...

    def read(self, raw: Any) -> tuple[tf.Tensor, tf.Tensor]:
        """The image and the label of a record. The image is uint8 pixels, or the bytes of a file.

        TensorFlow raises an error if the record is corrupt.
        """
        ...

    def describe(self, number: int) -> str:
        """The reason why a record cannot be read; it starts with the name of the record."""
        ...

    def select(self, numbers: np.ndarray) -> Records:
        """The records with these numbers, in the order of `numbers`."""
        ...


@dataclasses.dataclass(frozen=True)
class Indexed:
    """Records that can be read in any order.

    Attributes:
        contents: images in memory, uint8 (N, H, W, C), or the names of files (N,).
        labels: int64 (N,).
        open: function from an entry of `contents` to its image, or to the bytes of its file.
        explain: function from an entry of `contents` to the reason why it cannot be read.
    """

    contents: np.ndarray
    labels: np.ndarray
    open: Callable[[tf.Tensor], tf.Tensor]
    explain: Callable[[Any], str]

    @property
    def size(self) -> int:
        return len(self.contents)

    @functools.cached_property
    def _tensors(self) -> tuple[tf.Tensor, tf.Tensor]:
        with tf.init_scope(), tf.device("CPU:0"):  # created once, and outside the graph that uses it first
            return tf.constant(self.contents), tf.constant(self.labels, tf.int64)

    def take(self, numbers: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """The contents and labels of one or several records."""
        contents, labels = self._tensors
        return tf.gather(contents, numbers), tf.gather(labels, numbers)

    def numbers(self, plan: Plan, key: int, batch: tf.Tensor) -> tf.Tensor:
        """The numbers of the records in this process' rows of a batch. Each epoch has another permutation."""
        epoch, step = batch // plan.steps, batch % plan.steps
        places = step * plan.images + tf.range(plan.first, plan.last, dtype=tf.int64) % plan.images
        # Each number is computed from its place alone: to skip batches, or to start an epoch, takes no time.
        seed = tf.stack([tf.constant(key, tf.int64), epoch])
        return tf.random.experimental.index_shuffle(places, seed, tf.constant(self.size - 1, tf.int64))

    def in_order(self) -> tf.data.Dataset:
        return tf.data.Dataset.range(self.size).map(lambda number: (number, number))

    def endless(self, plan: Plan, key: int) -> tf.data.Dataset:
        def rows(batch: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
            places = batch * plan.batch + tf.range(plan.first, plan.last, dtype=tf.int64)
            numbers = self.numbers(plan, key, batch)
            return places, numbers, numbers

        return tf.data.Dataset.range(plan.start, ENDLESS).map(rows).unbatch()

    def read(self, raw: Any) -> tuple[tf.Tensor, tf.Tensor]:
        content, label = self.take(raw)
        return self.open(content), label

    def describe(self, number: int) -> str:
        return self.explain(self.contents[number])

    def select(self, numbers: np.ndarray) -> Indexed:
        return dataclasses.replace(self, contents=self.contents[numbers], labels=self.labels[numbers])


@dataclasses.dataclass(frozen=True)
class Stream:
    """Records that come one after the other, in one or more shards.

    Attributes:
        shards: names of the shards.
        counts: number of records in each shard.
        open: function from the name of a shard to a dataset of its raw records, at least as many as `counts` says.
        parse: function from a raw record to (image, or the bytes of its file; label).
        explain: function from the name of a shard and the number of a record in it to the reason why the record cannot
            be read.
        width: size of a record in memory, in bytes.
        kept: numbers of the records that belong to this `Stream`; it leaves out the others.
    """

    shards: tuple[str, ...]
    counts: tuple[int, ...]
    open: Callable[[tf.Tensor], tf.data.Dataset]
    parse: Callable[[Any], tuple[tf.Tensor, tf.Tensor]]
    explain: Callable[[str, int], str]
    width: int
    kept: np.ndarray

    @property
    def size(self) -> int:
        return len(self.kept)

    @functools.cached_property
    def _bounds(self) -> np.ndarray:
        """The number of the first record of each shard; the last entry is the number of all records."""
        return np.cumsum([0, *self.counts])

    def _table(self) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """For each shard its name, the number of its first record, and the number after its last record."""
        return tf.constant(self.shards), tf.constant(self._bounds[:-1]), tf.constant(self._bounds[1:])

    def _records(self, shards: tf.data.Dataset, at_once: int) -> tf.data.Dataset:
        def records_of_shard(name: tf.Tensor, first: tf.Tensor, end: tf.Tensor) -> tf.data.Dataset:
            return tf.data.Dataset.zip(tf.data.Dataset.range(first, end), self.open(name))

        records = shards.interleave(records_of_shard, cycle_length=at_once, num_parallel_calls=min(at_once, CORES))
        if len(self.kept) == sum(self.counts):
            return records
        with tf.device("CPU:0"):
            kept = tf.constant(np.isin(np.arange(sum(self.counts)), self.kept))
        return records.filter(lambda number, _: kept[number])

    def in_order(self) -> tf.data.Dataset:
        used = np.histogram(self.kept, self._bounds)[0] > 0
        return self._records(tf.data.Dataset.from_tensor_slices(tuple(part[used] for part in self._table())), at_once=1)

    @functools.cached_property
    def has_fixed_order(self) -> bool:
        """Whether the first records are the same in two iterations."""
        first = self.in_order().take(COMPARED)
        try:
            one, other = (
                [hashlib.sha256(_bytes(raw)).digest() for _, raw in first.as_numpy_iterator()] for _ in range(2)
            )
        except tf.errors.OpError:  # a record cannot be read: training names it
            return True
        return one == other

    def _epoch(self, key: int, epoch: tf.Tensor) -> tf.data.Dataset:
        # This sets the seed of this graph only. With it the shuffling depends only on `key` and `epoch`, and not on the
        # global seed of the user's program.
        tf.random.set_seed(key)
        order = tf.random.experimental.stateless_shuffle(
            tf.range(len(self.shards)), tf.stack([tf.constant(key, tf.int64), epoch])
        )
        shards = tf.data.Dataset.from_tensor_slices(tuple(tf.gather(column, order) for column in self._table()))
        buffer = max(1, min(self.size, SHUFFLED, SHUFFLED_BYTES // self.width))
        records = self._records(shards, at_once=min(len(self.shards), AT_ONCE))
        return records.shuffle(buffer, seed=epoch, reshuffle_each_iteration=False)

    def endless(self, plan: Plan, key: int) -> tf.data.Dataset:
        first_epoch, passed = divmod(plan.start, plan.steps)
        rows = plan.steps * plan.batch  # in an epoch

        def rows_of_epoch(epoch: tf.Tensor) -> tf.data.Dataset:
            skipped = tf.where(
                epoch == first_epoch, tf.constant(passed * plan.images, tf.int64), tf.constant(0, tf.int64)
            )
            records = self._epoch(key, epoch).take(plan.steps * plan.images).skip(skipped)
            if plan.images == plan.batch:
                return records
            # A window holds the records of a batch in memory, so that each is read once.
            return records.window(plan.images).flat_map(
                lambda *window: tf.data.Dataset.zip(window).repeat().take(plan.batch)
            )

        # Even and odd epochs are two datasets that take turns. Each has a thread that reads one record ahead, and so
        # fills the shuffle buffer of the next epoch while the present one is used: no epoch starts with a pause. The
        # option `experimental_warm_start` starts these threads.
        turns = [
            tf.data.Dataset.range(first_epoch + offset, ENDLESS, 2).flat_map(rows_of_epoch).prefetch(1)
            for offset in (0, 1)
        ]
        places = tf.data.Dataset.range(plan.start * plan.batch, ENDLESS)
        records = tf.data.Dataset.choose_from_datasets(
            turns, places.map(lambda place: (place // rows - first_epoch) % 2)
        )
        numbered = tf.data.Dataset.zip(places, records).map(lambda place, record: (place, *record))
        if plan.last - plan.first == plan.batch:
            return numbered
        return numbered.filter(lambda place, *_: (place % plan.batch >= plan.first) & (place % plan.batch < plan.last))

    def read(self, raw: Any) -> tuple[tf.Tensor, tf.Tensor]:
        return self.parse(raw)

    def describe(self, number: int) -> str:
        shard = int(np.searchsorted(self._bounds, number, side="right")) - 1
        return self.explain(self.shards[shard], number - int(self._bounds[shard]))

    def select(self, numbers: np.ndarray) -> Stream:
        return dataclasses.replace(self, kept=self.kept[numbers])


def _bytes(raw: Any) -> bytes:
    return b"".join(np.asarray(part).tobytes() for part in tf.nest.flatten(raw))


def in_range(label: tf.Tensor, count: int) -> tf.Tensor:
    """`label`; TensorFlow raises an error when the label is computed and is not in [0, count)."""
    with tf.control_dependencies([tf.debugging.Assert((label >= 0) & (label < count), [label])]):
        return tf.identity(label)
