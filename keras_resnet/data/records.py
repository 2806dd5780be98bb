"""Labelled records in a fixed order, and the endless order of training: of what has an index, and of what streams.

A row of training is (place, number, raw): `place` counts the rows of all global batches since the first, `number` says
which record it is, `raw` is what `read` takes. The order is a function of key and place alone, so a run can begin
anywhere.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import numpy as np
import tensorflow as tf

from keras_resnet.data.corrupt import CORES

ENDLESS = np.iinfo(np.int64).max
SHUFFLED = 10_000  # records of a stream
SHUFFLED_BYTES = 2**29  # ... or fewer; two such buffers are held, this epoch's and the next one's
AT_ONCE = 16  # shards


class Plan(NamedTuple):
    """Which rows to give: `first` to `last` of each batch, from batch `start` on.

    `batch` is the global number of images a batch, `steps` that of batches an epoch.
    """

    batch: int
    steps: int
    start: int
    first: int
    last: int


class Records(Protocol):
    """What a split is read from."""

    @property
    def size(self) -> int:
        """How many records there are."""
        ...

    def in_order(self) -> tf.data.Dataset:
        """(number, raw) of each record."""
        ...

    def endless(self, plan: Plan, key: int) -> tf.data.Dataset:
        """(place, number, raw) of this process' rows, epoch after epoch."""
        ...

    def read(self, raw: Any) -> tuple[tf.Tensor, tf.Tensor]:
        """The image, uint8 or the bytes of its file, and the label; an error of TensorFlow where it is corrupt."""
        ...

    def describe(self, number: int) -> str:
        """What is wrong with a record that cannot be read, beginning with its name."""
        ...

    def select(self, numbers: np.ndarray) -> Records:
        """Some of the records, in order."""
        ...


@dataclasses.dataclass(frozen=True)
class Indexed:
    """Records that can be had in any order: images in memory, uint8 (N, H, W, C), or the names of files (N).

    `open` makes an image, or the bytes of one, of an entry of `contents`; `explain` says what is wrong with an entry.
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
        with tf.init_scope(), tf.device("CPU:0"):  # once, outside of the graph that asks first
            return tf.constant(self.contents), tf.constant(self.labels, tf.int64)

    def take(self, numbers: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """The contents and labels of some records, or of one."""
        contents, labels = self._tensors
        return tf.gather(contents, numbers), tf.gather(labels, numbers)

    def numbers(self, plan: Plan, key: int, batch: tf.Tensor) -> tf.Tensor:
        """The records of this process' rows of a batch: each epoch is another permutation of all."""
        epoch, step = batch // plan.steps, batch % plan.steps
        places = step * plan.batch + tf.range(plan.first, plan.last, dtype=tf.int64)
        # Computed place by place, so that passing over a part costs nothing and nothing is done as an epoch begins.
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

    `open` makes the dataset of a shard's raw records, at least as many as `counts` says, of the shard's name; `parse`
    makes an image, or the bytes of one, and a label of a raw record; `explain` says what is wrong with the record of a
    shard and a number in it; `kept` are the numbers of the records that are there; `width` is what a record takes in
    memory, in bytes.
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
        """The number of each shard's first record, and at the end that of all records."""
        return np.cumsum([0, *self.counts])

    def _table(self) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Of each shard its name, the number of its first record and that after its last."""
        return tf.constant(self.shards), tf.constant(self._bounds[:-1]), tf.constant(self._bounds[1:])

    def _records(self, shards: tf.data.Dataset, at_once: int) -> tf.data.Dataset:
        def shard(name: tf.Tensor, first: tf.Tensor, end: tf.Tensor) -> tf.data.Dataset:
            return tf.data.Dataset.zip(tf.data.Dataset.range(first, end), self.open(name))

        found = shards.interleave(shard, cycle_length=at_once, num_parallel_calls=min(at_once, CORES))
        if len(self.kept) == sum(self.counts):
            return found
        with tf.device("CPU:0"):
            kept = tf.constant(np.isin(np.arange(sum(self.counts)), self.kept))
        return found.filter(lambda number, _: kept[number])

    def in_order(self) -> tf.data.Dataset:
        used = np.histogram(self.kept, self._bounds)[0] > 0
        return self._records(tf.data.Dataset.from_tensor_slices(tuple(part[used] for part in self._table())), at_once=1)

    def _epoch(self, key: int, epoch: tf.Tensor) -> tf.data.Dataset:
        # Of this graph alone: with it the shuffling is that of `epoch`, whatever seed the caller's program has set.
        tf.random.set_seed(key)
        order = tf.random.experimental.stateless_shuffle(
            tf.range(len(self.shards)), tf.stack([tf.constant(key, tf.int64), epoch])
        )
        shards = tf.data.Dataset.from_tensor_slices(tuple(tf.gather(column, order) for column in self._table()))
        buffer = max(1, min(self.size, SHUFFLED, SHUFFLED_BYTES // self.width))
        found = self._records(shards, at_once=min(len(self.shards), AT_ONCE))
        return found.shuffle(buffer, seed=epoch, reshuffle_each_iteration=False)

    def endless(self, plan: Plan, key: int) -> tf.data.Dataset:
        begun, passed = divmod(plan.start, plan.steps)
        rows = plan.steps * plan.batch  # of an epoch

        def epoch(number: tf.Tensor) -> tf.data.Dataset:
            skipped = tf.where(number == begun, tf.constant(passed * plan.batch, tf.int64), tf.constant(0, tf.int64))
            return self._epoch(key, number).take(rows).skip(skipped)

        # Even and odd epochs in turn, each with a thread that is one record ahead: it fills the shuffle buffer of the
        # next epoch while this one is being used, so that no epoch begins with waiting. The option
        # `experimental_warm_start` starts those threads.
        turns = [tf.data.Dataset.range(begun + first, ENDLESS, 2).flat_map(epoch).prefetch(1) for first in (0, 1)]
        places = tf.data.Dataset.range(plan.start * plan.batch, ENDLESS)
        found = tf.data.Dataset.choose_from_datasets(turns, places.map(lambda place: (place // rows - begun) % 2))
        numbered = tf.data.Dataset.zip(places, found).map(lambda place, record: (place, *record))
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


def in_range(label: tf.Tensor, count: int) -> tf.Tensor:
    """`label`, or an error of TensorFlow if it is not in [0, count)."""
    with tf.control_dependencies([tf.debugging.Assert((label >= 0) & (label < count), [label])]):
        return tf.identity(label)
