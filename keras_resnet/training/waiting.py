"""Says when a training waits for large photographs that `keras-resnet data --to` would make quick."""

from __future__ import annotations

import contextlib
import functools
import shlex
import time
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_resnet.data import Split
from keras_resnet.data.corrupt import CORES
from keras_resnet.data.crops import center_square
from keras_resnet.data.parts import decode_stored_part, resize_part
from keras_resnet.data.prepare import QUALITY, SHORTER_SIDE, shrunk
from keras_resnet.data.records import ENDLESS, Indexed
from keras_resnet.data.train import AHEAD, SPARE, Crop

SAMPLES = 4
SECONDS = 0.5  # after which no other sample is measured
# The first batches were made while the network was compiled; a step does not wait for them.
SKIPPED, MEASURED = AHEAD + CORES + SPARE + 2, 10  # steps
LEAST_SHARE, LEAST_GAIN = 1 / 3, 2.0


def advice(share: float, gain: float, source: str) -> str | None:
    """The line about prepared images; None if they would not pay.

    Args:
        share: fraction of a step in which the network waits for images.
        gain: time to decode an image, divided by the time for its smaller copy.
        source: the source of the images, as in `keras_resnet.data.load`.

    Example:
        >>> from keras_resnet.training.waiting import advice
        >>> advice(0.8, 20.4, "folder:a")
        'images take 80 % of a step: `keras-resnet data folder:a --to tfrecord:DIR` makes them about 20 times as quick'
        >>> advice(0.2, 20.4, "folder:a")
    """
    if share <= LEAST_SHARE or gain < LEAST_GAIN:
        return None
    return (
        f"images take {100 * share:.0f} % of a step: `keras-resnet data {shlex.quote(source)} --to tfrecord:DIR` makes "
        f"them about {gain:.0f} times as quick"
    )


def large_photographs(split: Split) -> list[tf.Tensor]:
    """The bytes of some JPEG files that `prepare` would make smaller; [] if most of the images are none.

    Args:
        split: the images, of which a few are read.
    """
    count = min(SAMPLES, split.size)
    is_indexed = isinstance(split.records, Indexed)
    numbers = np.linspace(0, split.size - 1, count).astype("int64") if is_indexed else np.arange(count)
    stored = split.part(numbers).stored(lambda content: content)
    if stored.element_spec[1].dtype != tf.string:
        return []
    found = []
    with contextlib.suppress(tf.errors.OpError):  # training names what cannot be read
        for _, content, _ in stored.take(count):
            if tf.io.is_jpeg(content) and min(tf.io.extract_jpeg_shape(content)[:2]) > SHORTER_SIDE:
                found.append(content)
    return found if 2 * len(found) > count else []


def gain_of(contents: list[tf.Tensor], size: int, channels: int, crop: Crop | None) -> float:
    """The time to decode the crops of some photographs, divided by the time for those of their smaller copies.

    Args:
        contents: bytes of JPEG files, at least one.
        size: side of the network's images in pixels.
        channels: 1 or 3.
        crop: as in `train_pipeline`.

    Raises:
        tf.errors.OpError: a file cannot be decoded.
    """

    @tf.function(input_signature=[tf.TensorSpec((), tf.string), tf.TensorSpec((2,), tf.int64)])
    def image(content: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        part = decode_stored_part(content, channels, lambda sides: (crop or center_square)(sides, seed), size)
        return resize_part(part, size, channels)

    end = time.perf_counter() + SECONDS
    sums = np.zeros(2)
    for number, content in enumerate(contents):
        copy, seed = shrunk(content, SHORTER_SIDE, QUALITY), tf.constant([0, number], tf.int64)
        image(copy, seed)  # the first call builds the graph
        for place, stored in enumerate((content, copy)):
            began = time.perf_counter()
            image(stored, seed)
            sums[place] += time.perf_counter() - began
        if time.perf_counter() > end:
            break
    return float(sums[0] / sums[1])


def watchers(
    source: str, split: Split, size: int, crop: Crop | None, write_line: Callable[[str], object]
) -> list[keras.callbacks.Callback]:
    """A `WaitingForImages` for a training on large photographs; [] for other images.

    Args:
        source: the source of the images.
        split: the training images.
        size, crop: as in `gain_of`.
        write_line: gets the line.
    """
    photographs = large_photographs(split)
    gain = functools.partial(gain_of, size=size, channels=split.channels, crop=crop)
    return [WaitingForImages(source, photographs, gain, write_line)] if photographs else []


class WaitingForImages(keras.callbacks.Callback):
    """Measures once, in some of the first steps, how long the network waits, and says whether prepared images pay.

    `fit` of this package gives the batches to `watch`.

    Args:
        source: the source of the images.
        photographs: what `large_photographs` returns, at least one.
        gain: function from the photographs to their `gain_of`; it is called only if the network waits.
        write_line: gets the line.
    """

    def __init__(
        self,
        source: str,
        photographs: list[tf.Tensor],
        gain: Callable[[list[tf.Tensor]], float],
        write_line: Callable[[str], object],
    ) -> None:
        super().__init__()
        self.source, self.photographs, self.gain, self.write_line = source, photographs, gain, write_line
        self.steps, self.seconds, self.last = 0, 0.0, 0.0
        with tf.device("CPU:0"):
            self._waits = tf.lookup.experimental.MutableHashTable(tf.int64, tf.float32, 0.0)

    def watch(self, batches: tf.data.Dataset) -> tf.data.Dataset:
        """The same batches; how long each one was waited for is noted."""
        if self.steps >= SKIPPED + MEASURED:
            return batches
        first = self.steps
        # `zip` asks for its parts one after the other: the clocks stand before and after a batch.
        clock = tf.data.Dataset.range(first, ENDLESS).map(lambda step: (step, tf.timestamp()))

        def note(began: tuple[tf.Tensor, tf.Tensor], batch: Any, ended: tuple[tf.Tensor, tf.Tensor]) -> Any:
            step = tf.minimum(began[0], SKIPPED + MEASURED)  # so that the table stays small
            waited = self._waits.insert(step, tf.cast(ended[1] - began[1], tf.float32))
            with tf.control_dependencies([waited]):
                return tf.nest.map_structure(tf.identity, batch)

        return tf.data.Dataset.zip(clock, batches, clock).map(note).with_options(batches.options())

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Starts the clock of a step."""
        self.last = time.perf_counter()

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Adds up the measured steps; after the last one it writes the line, if there is something to say."""
        self.steps += 1
        if self.steps > SKIPPED + MEASURED:
            return
        for value in (logs or {}).values():
            float(value)  # a device may still compute the step, which is no waiting
        now = time.perf_counter()
        if self.steps > SKIPPED:
            self.seconds += now - self.last
        self.last = now
        if self.steps == SKIPPED + MEASURED:
            waits = self._waits.lookup(tf.range(SKIPPED, SKIPPED + MEASURED, dtype=tf.int64))
            self._say(min(float(tf.reduce_sum(waits)) / self.seconds, 1.0))

    def _say(self, share: float) -> None:
        with contextlib.suppress(tf.errors.OpError):  # training names what cannot be read
            if share > LEAST_SHARE and (line := advice(share, self.gain(self.photographs), self.source)):
                self.write_line(line)
        self.last = time.perf_counter()
        self.photographs = []
