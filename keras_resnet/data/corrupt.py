"""Corrupt images: the pipeline reads on after them. They are named and counted; then they are skipped or stop the run.

`ignore_errors` of TensorFlow drops an element without a message, and later elements move up. Here every row keeps its
place.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import threading
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import numpy as np
import tensorflow as tf

from keras_resnet._internal.validation import one_of

ON_CORRUPT = ("stop", "skip")
AHEAD = 2  # `interleave` holds this many rows for each row that is being read
CORES = os.cpu_count() or 1

LOGGER = logging.getLogger("keras_resnet.data")


class CorruptRecords:
    """The corrupt records of a split. `skipped` holds one reason for each skipped record, also for those of parts.

    Args:
        on_corrupt: "skip" or "stop".
        describe: function from the number of a record to the reason why it cannot be read; the reason starts with the
            name of the record's file.
        parent: the `CorruptRecords` of the split that this split is a part of, or None.
    """

    def __init__(self, on_corrupt: str, describe: Callable[[int], str], parent: CorruptRecords | None = None) -> None:
        self.on_corrupt = one_of("on_corrupt", on_corrupt, ON_CORRUPT)
        self.describe = describe
        self.parent = parent
        self.skipped: set[str] = set()
        self._noted_numbers: set[int] = set()
        self._lock = threading.Lock()

    @functools.cached_property
    def _started_numbers(self) -> tf.lookup.experimental.MutableHashTable:
        with tf.init_scope(), tf.device("CPU:0"):  # created once, and outside the graph that uses it first
            return tf.lookup.experimental.MutableHashTable(tf.int64, tf.int64, -1)

    @property
    def unfinished(self) -> np.ndarray:
        """Numbers of the records whose reading started but did not finish: an error came, or the run ended."""
        return np.sort(self._started_numbers.export()[0].numpy())

    def read(self, rows: tf.data.Dataset, read: Callable[..., Any]) -> tf.data.Dataset:
        """Maps `read` over rows (place, number, raw), in parallel and in order.

        Args:
            rows: dataset of any number of rows.
            read: function `(place, number, raw) -> tuple of tensors`.

        Returns:
            A dataset of (whether the row was read, what `read` returned, or zeros if it was not read). With
            `on_corrupt="stop"` a corrupt row raises an error instead, and its record is in `unfinished`.
        """
        if self.on_corrupt == "skip":
            return map_or_report(rows, read, in_python(self._note_corrupt))

        def read_and_track(place: tf.Tensor, number: tf.Tensor, raw: Any) -> tuple[bool, Any]:
            with tf.control_dependencies([self._started_numbers.insert(number, number)]):
                result = read(place, number, raw)
            with tf.control_dependencies(tf.nest.flatten(result)):
                finished = self._started_numbers.remove(tf.reshape(number, (1,)))
            with tf.control_dependencies([finished]):
                return True, tf.nest.map_structure(tf.identity, result)

        # `map_or_report` takes 0.15 of the time of reading a 500x375 photograph; the table of numbers takes under 0.01.
        return rows.map(read_and_track, CORES)

    def _note_corrupt(self, number: np.ndarray) -> np.bool_:
        """Notes a corrupt record. Threads of the pipeline call it, for the same record perhaps once in each epoch."""
        with self._lock:
            if int(number) not in self._noted_numbers:
                self._noted_numbers.add(int(number))
                self._skip(self.describe(int(number)))
        return np.bool_(False)

    def _skip(self, reason: str) -> None:
        if reason in self.skipped:
            return
        self.skipped.add(reason)
        if self.parent is None:
            LOGGER.warning("skipped: %s", reason)
        else:
            self.parent._skip(reason)


def in_python(report: Callable[[np.ndarray], np.bool_]) -> Callable[[tf.Tensor], tf.Tensor]:
    """Wraps a Python function, so that it can be the `report` of `map_or_report`."""
    return lambda number: tf.numpy_function(report, [number], tf.bool)


def map_or_report(
    rows: tf.data.Dataset, read: Callable[..., Any], report: Callable[[tf.Tensor], tf.Tensor], at_once: int = CORES
) -> tf.data.Dataset:
    """Maps `read` over rows (place, number, raw), in parallel and in order. A row that fails keeps its place.

    Args:
        rows: dataset of any number of rows.
        read: function `(place, number, raw) -> tuple of tensors`.
        report: function that is called in the graph with the number of each record that cannot be read; it must
            return False.
        at_once: how many rows are read at the same time.

    Returns:
        A dataset of (whether the row was read, what `read` returned, or zeros if it was not read).
    """

    def read_or_report(*row: Any) -> tf.data.Dataset:
        readable = tf.data.Dataset.from_tensors(row).map(lambda *row: (True, read(*row))).ignore_errors()
        blank = tf.nest.map_structure(_zeros, readable.element_spec[1])

        def report_corrupt(_: Any, number: tf.Tensor, __: Any) -> tuple[tf.Tensor, Any]:
            return tf.ensure_shape(report(number), ()), blank

        # TensorFlow starts the second dataset only if the first one gives no element.
        return readable.concatenate(tf.data.Dataset.from_tensors(row).map(report_corrupt)).take(1)

    return rows.interleave(read_or_report, cycle_length=AHEAD * at_once, num_parallel_calls=at_once, deterministic=True)


def _zeros(spec: tf.TensorSpec) -> tf.Tensor:
    # No side may be 0: TensorFlow 2.21 crashes when it unbatches a tensor without elements.
    return tf.zeros([side or 1 for side in spec.shape], spec.dtype)


def replace_corrupt(readable: tf.Tensor, rows: Any) -> Any:
    """The rows of a batch; good rows replace those that were not read.

    Args:
        readable: which rows were read, bool (N).
        rows: a structure of tensors (N, ...).

    Returns:
        The structure. The graph raises an error if none of the rows was read.
    """

    def replaced() -> Any:
        good = tf.where(readable)[:, 0]
        count = tf.size(good, tf.int64)
        some_good = tf.debugging.Assert(count > 0, ["data: none of the images in a batch can be read"])
        with tf.control_dependencies([some_good]):
            places = tf.range(tf.size(readable, tf.int64))
            places = tf.where(readable, places, tf.gather(good, places % tf.maximum(count, 1)))
        return tf.nest.map_structure(lambda column: tf.gather(column, places), rows)

    return tf.cond(tf.reduce_all(readable), lambda: rows, replaced)


class HasUnreadable(Protocol):
    """The part of `Split` that `name_corrupt_files` needs. `Split` imports this file, so this file cannot import it."""

    def unreadable(self) -> list[str]:
        """One reason for each record that cannot be read and stopped a run."""
        ...


@contextlib.contextmanager
def name_corrupt_files(*splits: HasUnreadable) -> Iterator[None]:
    """Replaces TensorFlow's error for a corrupt image by a `ValueError` that names the file.

    Args:
        splits: the splits that the pipelines in the block read. Other errors of TensorFlow are not changed.

    Raises:
        ValueError: a corrupt image stopped a pipeline.
    """
    try:
        yield
    except (tf.errors.OpError, UnicodeDecodeError) as error:  # the second one if the message has bytes of a record
        reasons = [reason for split in splits for reason in split.unreadable()]
        if not reasons:
            raise
        raise ValueError(f"data: {reasons[0]}") from error
