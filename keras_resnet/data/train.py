"""The pipeline of training: endless shuffled batches, the n-th of which is a function of its arguments and n alone."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from keras_resnet._internal.validation import function_or_none, integer
from keras_resnet.data.augment.mixing import Mix
from keras_resnet.data.corrupt import CORES
from keras_resnet.data.crops import center_square
from keras_resnet.data.decode import decode, in_channels, to_square
from keras_resnet.data.pipeline import CACHED_BYTES
from keras_resnet.data.records import ENDLESS, Indexed, Plan
from keras_resnet.data.split import Split

Crop = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]  # (shape, seed) -> box
Augmentation = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]  # (images, seed) -> images

# Batches in the making beyond one a core, and those that wait: with none and two, small images come 0.6 times as fast.
SPARE, AHEAD = 2, 4
COARSE = 2  # a box this many times as large as its image is resized with antialiasing


def steps_per_epoch(split: Split, batch_size: int) -> int:
    """How many batches of `train_pipeline` are an epoch: whole ones, the remainder being another one each epoch.

    Args:
        split: what `load` returned.
        batch_size: images a batch.

    Returns:
        At least 1: a split smaller than a batch is one batch.

    Raises:
        ValueError: `batch_size` is below 1.

    Example:
        >>> import keras_resnet as kr
        >>> kr.data.steps_per_epoch(kr.data.load("digits", "train"), 64)
        22
    """
    return max(split.size // integer("batch_size", batch_size), 1)


def train_pipeline(
    split: Split,
    size: int,
    batch_size: int,
    *,
    crop: Crop | None = None,
    augmentations: Sequence[Augmentation] = (),
    mixes: Sequence[Mix] = (),
    seed: int = 0,
    start: int = 0,
    shard: tuple[int, int] = (0, 1),
) -> tf.data.Dataset:
    """Endless batches of a split, for training: uint8 (N, size, size, C) and float32 one-hot targets (N, classes).

    An epoch is `steps_per_epoch` batches, each image at most once in it; the next one follows without a pause. The
    n-th batch is a function of the arguments and n alone, so that a run goes on exactly where it was ended, by
    `start`; nothing is decoded for that. Images in memory and files are shuffled as a whole; records of shards by the
    order of the shards and a buffer of up to 10,000. A corrupt image that is to be skipped gives its place to another
    one of its batch.

    Args:
        split: what `load` returned.
        size: side of the images in pixels.
        batch_size: images a batch, of all processes together.
        crop: function `(shape, seed) -> box` as in `keras_resnet.data.crops`; what it takes of each image is resized.
            None: the centred square.
        augmentations: functions `(images, seed) -> images` of a batch of uint8 (N, size, size, C), as in
            `keras_resnet.data.augment`, one after the other.
        mixes: functions `(images, targets, seed) -> (images, targets)`, after those.
        seed: of order, crops, augmentations and mixes.
        start: how many batches to pass over.
        shard: (index, count) of this process: it gets the rows from index * batch_size / count on, and decodes no
            others. Augmentations and mixes are of its rows alone.

    Returns:
        A `tf.data.Dataset`.

    Raises:
        ValueError: an argument is out of its range, or `batch_size` does not divide by the number of processes.
        TypeError: an argument is no integer or no function.

    Example:
        >>> import keras_resnet as kr
        >>> images, targets = next(iter(kr.data.train_pipeline(kr.data.load("digits", "train"), 32, 16)))
        >>> images.shape, images.dtype.name, targets.shape
        (TensorShape([16, 32, 32, 1]), 'uint8', TensorShape([16, 10]))
    """
    integer("size", size), integer("batch_size", batch_size), integer("seed", seed, 0), integer("start", start, 0)
    function_or_none("crop", crop)
    plan = _plan(split, batch_size, start, shard)
    # One number each for the order, the crops and every function, so that none draws what another does.
    keys = np.random.SeedSequence(seed).generate_state(2 + len(augmentations) + len(mixes)).astype("int64").tolist()
    whole = _in_memory(split, size) if crop is None else None
    batches = tf.data.Dataset.range(plan.start, ENDLESS)
    rows_of: Callable[..., tuple[tf.Tensor, tf.Tensor]]
    if whole is not None:
        # All of a batch at once, and in one function with what follows: there is nothing to do for single images.
        rows_of = functools.partial(_taken, whole, plan, keys[0])
    else:
        batches = tf.data.Dataset.zip(batches, _decoded(split, size, crop or center_square, plan, keys[0], keys[1]))
        rows_of = _whole

    def finished(batch: tf.Tensor, *rows: Any) -> tuple[tf.Tensor, tf.Tensor]:
        images, labels = rows_of(batch, *rows)
        targets = tf.one_hot(labels, len(split.classes))
        # Another number for each process, whose rows are others.
        seeds = (tf.stack([tf.constant(key, tf.int64), batch * shard[1] + shard[0]]) for key in keys[2:])
        for augmentation in augmentations:
            images = augmentation(images, next(seeds))
        for mix in mixes:
            images, targets = mix(images, targets, next(seeds))
        return images, targets

    options = tf.data.Options()
    # With autotuning, ending an iterator stalls for up to seconds.
    options.autotune.enabled = False
    options.experimental_warm_start = True
    # Each process has its rows already.
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.OFF
    return batches.map(finished, CORES + SPARE).prefetch(AHEAD).with_options(options)


def _plan(split: Split, batch_size: int, start: int, shard: tuple[int, int]) -> Plan:
    index, count = shard
    integer("shard[0]", index, 0), integer("shard[1]", count)
    if index >= count:
        raise ValueError(f"shard must be (index, count) with index below count. Received: shard={shard!r}")
    if batch_size % count:
        raise ValueError(f"batch_size must divide by the {count} processes of shard. Received: batch_size={batch_size}")
    batch = min(batch_size, split.size)
    if batch < count:
        raise ValueError(f"split must have an image for each of {count} processes of shard. Received: {split.size}")
    return Plan(batch, steps_per_epoch(split, batch_size), start, index * batch // count, (index + 1) * batch // count)


def _in_memory(split: Split, size: int) -> Indexed | None:
    """The records of a split as images of the size asked for, where they are arrays, and few enough to be resized."""
    records = split.records
    if not isinstance(records, Indexed) or records.contents.dtype != np.uint8:
        return None
    if records.contents.shape[1:3] == (size, size):
        return records
    if records.size * size * size * split.channels > CACHED_BYTES:
        return None
    resized = tf.data.Dataset.from_tensor_slices(records.contents).map(lambda image: to_square(image, size), CORES)
    return Indexed(np.stack(list(resized.as_numpy_iterator())), records.labels, records.open, records.explain)


def _taken(records: Indexed, plan: Plan, key: int, batch: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """The images and labels of a batch."""
    return records.take(records.numbers(plan, key, batch))


def _decoded(split: Split, size: int, crop: Crop, plan: Plan, key: int, crop_key: int) -> tf.data.Dataset:
    """Batches of (which images could be read, (images, labels)), made image by image."""

    def read(place: tf.Tensor, _: tf.Tensor, raw: Any) -> tuple[tf.Tensor, tf.Tensor]:
        content, label = split.records.read(raw)
        seed = tf.stack([tf.constant(crop_key, tf.int64), place])
        image = _cropped(content, split.channels, lambda shape: crop(shape, seed))
        return _resized(image, size, split.channels), label

    rows = split.damage.read(split.records.endless(plan, key), read)
    return rows.batch(plan.last - plan.first, drop_remainder=True)


def _cropped(content: tf.Tensor, channels: int, box_of: Callable[[tf.Tensor], tf.Tensor]) -> tf.Tensor:
    """The part of an image, or of the bytes of its file, that `box_of` its height and width says."""

    def sliced(image: tf.Tensor) -> tf.Tensor:
        top, left, height, width = tf.unstack(box_of(tf.shape(image)[:2]))
        return image[top : top + height, left : left + width]

    def fused() -> tf.Tensor:
        box = box_of(tf.io.extract_jpeg_shape(content)[:2])
        return in_channels(tf.io.decode_and_crop_jpeg(content, box, channels=3), channels)

    if content.dtype != tf.string:
        return sliced(content)
    return tf.cond(tf.io.is_jpeg(content), fused, lambda: sliced(decode(content, channels)))


def _resized(image: tf.Tensor, size: int, channels: int) -> tf.Tensor:
    """uint8 (size, size, channels)."""
    # Antialiasing triples the time of resizing, and changes little while no pixel is passed over.
    resized = tf.cond(
        tf.reduce_max(tf.shape(image)[:2]) > COARSE * size,
        lambda: tf.image.resize(image, (size, size), antialias=True),
        # From floats: TensorFlow's kernel for bytes takes 0.38 ms where the cast and the kernel for floats take 0.23.
        lambda: tf.image.resize(tf.cast(image, tf.float32), (size, size)),
    )
    return tf.ensure_shape(tf.cast(resized + 0.5, tf.uint8), (size, size, channels))


def _whole(_: tf.Tensor, rows: tuple[tf.Tensor, tuple[tf.Tensor, tf.Tensor]]) -> tuple[tf.Tensor, tf.Tensor]:
    """The images and labels of what `_decoded` gives, with a good row in the place of each that could not be read."""
    sound, found = rows

    def replaced() -> tuple[tf.Tensor, tf.Tensor]:
        good = tf.where(sound)[:, 0]
        count = tf.size(good, tf.int64)
        with tf.control_dependencies([tf.debugging.Assert(count > 0, ["data: no image of a whole batch can be read"])]):
            places = tf.range(tf.size(sound, tf.int64))
            places = tf.where(sound, places, tf.gather(good, places % tf.maximum(count, 1)))
        return tf.gather(found[0], places), tf.gather(found[1], places)

    return tf.cond(tf.reduce_all(sound), lambda: found, replaced)
