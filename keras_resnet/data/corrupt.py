"""Images that cannot be read: found without a stop of the pipeline, named, counted, and left out or an end of the run.

TensorFlow's own `ignore_errors` leaves out silently, and what comes after moves up; here every row keeps its place.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import numpy as np
import tensorflow as tf

from keras_resnet.arguments import one_of

ON_CORRUPT = ("stop", "skip")
TOGETHER = 8  # rows behind one guard, which costs more than a tenth of decoding a photograph
AHEAD = 2  # such groups in the making for each core
CORES = os.cpu_count() or 1

LOGGER = logging.getLogger("keras_resnet.data")


class Damage:
    """What was found broken in a split: `skipped` was gone without, `stopped` ended a run.

    Args:
        on_corrupt: "skip" or "stop".
        describe: function from the number of a record to what is wrong with it, beginning with its file's name.
    """

    def __init__(self, on_corrupt: str, describe: Callable[[int], str]) -> None:
        self.on_corrupt = one_of("on_corrupt", on_corrupt, ON_CORRUPT)
        self.describe = describe
        self.skipped: dict[int, str] = {}
        self.stopped: list[str] = []
        self._lock = threading.Lock()

    def report(self, number: np.ndarray) -> np.bool_:
        """Takes note of a record; called from the pipeline's threads, perhaps once an epoch for the same."""
        with self._lock:
            if int(number) not in self.skipped:
                reason = self.describe(int(number))
                if self.on_corrupt == "stop":
                    self.stopped.append(reason)
                    raise ValueError(reason)
                self.skipped[int(number)] = reason
                LOGGER.warning("skipped: %s", reason)
        return np.bool_(False)


def guarded(
    rows: tf.data.Dataset, read: Callable[..., Any], report: Callable[[np.ndarray], np.bool_]
) -> tf.data.Dataset:
    """Maps `read` over rows (place, number, raw), in parallel and in order; a row where it fails stays in its place.

    Args:
        rows: of any number; what `read` gets.
        read: function of the three to a tuple of tensors.
        report: called with the number of each record that cannot be read.

    Returns:
        A dataset of (whether it could be read, what `read` returned or zeros), a few rows at a time: to be rebatched.
    """

    def one(*row: Any) -> tf.data.Dataset:
        sound = tf.data.Dataset.from_tensors(row).map(lambda *row: (True, read(*row))).ignore_errors()
        blank = tf.nest.map_structure(_zeros, sound.element_spec[1])

        def broken(_: Any, number: tf.Tensor, __: Any) -> tuple[tf.Tensor, Any]:
            return tf.ensure_shape(tf.numpy_function(report, [number], tf.bool), ()), blank

        return sound.concatenate(tf.data.Dataset.from_tensors(row).map(broken)).take(1)

    def group(*row: Any) -> tf.data.Dataset:
        count = tf.size(row[0], tf.int64)
        each = tf.data.Dataset.from_tensor_slices(row)
        sound = each.map(lambda *row: (True, read(*row))).batch(TOGETHER).ignore_errors()
        sound = sound.filter(lambda ok, _: tf.size(ok, tf.int64) == count)  # else what is left after a broken one
        # The second is not begun where the first gives all.
        return sound.concatenate(each.flat_map(one).batch(TOGETHER)).take(1)

    together = TOGETHER if _alike(rows) and _alike(rows.map(read)) else 1
    guard = group if together > 1 else lambda *row: one(*row).batch(1)
    rows = rows.batch(together) if together > 1 else rows
    return rows.interleave(guard, cycle_length=AHEAD * CORES, num_parallel_calls=CORES, deterministic=True)


def _alike(dataset: tf.data.Dataset) -> bool:
    """Whether all elements have the same shapes."""
    return all(spec.shape.is_fully_defined() for spec in tf.nest.flatten(dataset.element_spec))


def _zeros(spec: tf.TensorSpec) -> tf.Tensor:
    # Of at least one pixel: TensorFlow 2.21 crashes when a tensor of none is unbatched.
    return tf.zeros([side or 1 for side in spec.shape], spec.dtype)


class Damaged(Protocol):
    """A split, which is built on this file."""

    @property
    def damage(self) -> Damage:
        """What was found broken."""
        ...


@contextlib.contextmanager
def bad_files_named(*splits: Damaged) -> Iterator[None]:
    """Turns the error of a pipeline that a corrupt image stopped into a `ValueError` that names the file."""
    try:
        yield
    except tf.errors.OpError as error:
        reasons = [reason for split in splits for reason in split.damage.stopped]
        if not reasons:
            raise
        raise ValueError(f"data: {reasons[0]}") from error
