"""Images that cannot be read: found without a stop of the pipeline, named, counted, and left out or an end of the run.

TensorFlow's own `ignore_errors` leaves out silently, and what comes after moves up; here every row keeps its place.
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
AHEAD = 2  # rows in the making for each core
CORES = os.cpu_count() or 1

LOGGER = logging.getLogger("keras_resnet.data")


class Damage:
    """What was found broken in a split: `skipped` was gone without, in it and in its parts.

    Args:
        on_corrupt: "skip" or "stop".
        describe: function from the number of a record to what is wrong with it, beginning with its file's name.
        whole: that of the split of which this one's is a part, or None.
    """

    def __init__(self, on_corrupt: str, describe: Callable[[int], str], whole: Damage | None = None) -> None:
        self.on_corrupt = one_of("on_corrupt", on_corrupt, ON_CORRUPT)
        self.describe = describe
        self.whole = whole
        self.skipped: set[str] = set()
        self._known: set[int] = set()
        self._lock = threading.Lock()

    @functools.cached_property
    def _begun(self) -> tf.lookup.experimental.MutableHashTable:
        with tf.init_scope(), tf.device("CPU:0"):  # once, outside of the graph that asks first
            return tf.lookup.experimental.MutableHashTable(tf.int64, tf.int64, -1)

    @property
    def unfinished(self) -> np.ndarray:
        """The numbers of the records whose reading was begun and not finished: by an error, or an end of the run."""
        return np.sort(self._begun.export()[0].numpy())

    def read(self, rows: tf.data.Dataset, read: Callable[..., Any]) -> tf.data.Dataset:
        """Maps `read` over rows (place, number, raw), in parallel and in order.

        Args:
            rows: of any number; what `read` gets.
            read: function of the three to a tuple of tensors.

        Returns:
            A dataset of (whether it could be read, what `read` returned or zeros). If what is corrupt is to stop the
            run, it has an error in that place instead, and the record is among `unfinished`.
        """
        if self.on_corrupt == "skip":
            return guarded(rows, read, in_python(self._note))

        def noted(place: tf.Tensor, number: tf.Tensor, raw: Any) -> tuple[bool, Any]:
            with tf.control_dependencies([self._begun.insert(number, number)]):
                found = read(place, number, raw)
            with tf.control_dependencies(tf.nest.flatten(found)):
                finished = self._begun.remove(tf.reshape(number, (1,)))
            with tf.control_dependencies([finished]):
                return True, tf.nest.map_structure(tf.identity, found)

        # Without a guard, which costs 0.15 of reading a 500x375 photograph; these notes cost less than 0.01.
        return rows.map(noted, CORES)

    def _note(self, number: np.ndarray) -> np.bool_:
        """Takes note of a record; called from the pipeline's threads, perhaps once an epoch for the same."""
        with self._lock:
            if int(number) not in self._known:
                self._known.add(int(number))
                self._skip(self.describe(int(number)))
        return np.bool_(False)

    def _skip(self, reason: str) -> None:
        if reason in self.skipped:
            return
        self.skipped.add(reason)
        if self.whole is None:
            LOGGER.warning("skipped: %s", reason)
        else:
            self.whole._skip(reason)


def in_python(report: Callable[[np.ndarray], np.bool_]) -> Callable[[tf.Tensor], tf.Tensor]:
    """A function of Python as the `report` of `guarded`."""
    return lambda number: tf.numpy_function(report, [number], tf.bool)


def guarded(
    rows: tf.data.Dataset, read: Callable[..., Any], report: Callable[[tf.Tensor], tf.Tensor], at_once: int = CORES
) -> tf.data.Dataset:
    """Maps `read` over rows (place, number, raw), in parallel and in order; a row where it fails stays in its place.

    Args:
        rows: of any number; what `read` gets.
        read: function of the three to a tuple of tensors.
        report: called with the number of each record that cannot be read, in the graph, to return False.
        at_once: rows that are read at the same time.

    Returns:
        A dataset of (whether it could be read, what `read` returned or zeros).
    """

    def one(*row: Any) -> tf.data.Dataset:
        sound = tf.data.Dataset.from_tensors(row).map(lambda *row: (True, read(*row))).ignore_errors()
        blank = tf.nest.map_structure(_zeros, sound.element_spec[1])

        def broken(_: Any, number: tf.Tensor, __: Any) -> tuple[tf.Tensor, Any]:
            return tf.ensure_shape(report(number), ()), blank

        # The second is not begun where the first gives its element.
        return sound.concatenate(tf.data.Dataset.from_tensors(row).map(broken)).take(1)

    return rows.interleave(one, cycle_length=AHEAD * at_once, num_parallel_calls=at_once, deterministic=True)


def _zeros(spec: tf.TensorSpec) -> tf.Tensor:
    # Of at least one pixel: TensorFlow 2.21 crashes when a tensor of none is unbatched.
    return tf.zeros([side or 1 for side in spec.shape], spec.dtype)


class Damaged(Protocol):
    """A split, which is built on this file."""

    def unreadable(self) -> list[str]:
        """What is wrong with the records that stopped a run."""
        ...


@contextlib.contextmanager
def name_corrupt_files(*splits: Damaged) -> Iterator[None]:
    """Turns the error of a pipeline that a corrupt image stopped into a `ValueError` that names the file."""
    try:
        yield
    except tf.errors.OpError as error:
        reasons = [reason for split in splits for reason in split.unreadable()]
        if not reasons:
            raise
        raise ValueError(f"data: {reasons[0]}") from error
