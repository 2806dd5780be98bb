"""The training pipeline: endless shuffled batches. Batch n depends only on the arguments and on n."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from keras_resnet._internal.validation import function_or_none, integer
from keras_resnet.data.augment.mixing import Mix
from keras_resnet.data.corrupt import CORES, replace_corrupt
from keras_resnet.data.crops import center_square
from keras_resnet.data.decode import to_square
from keras_resnet.data.orientation import upright
from keras_resnet.data.parts import part_of, resize_part
from keras_resnet.data.pipeline import CACHED_BYTES
from keras_resnet.data.records import ENDLESS, Indexed, Plan
from keras_resnet.data.split import Split

Crop = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]  # (shape, seed) -> box
Augmentation = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]  # (images, seed) -> images

# Batches that are made at the same time, besides one for each core; and finished batches that wait. With 0 and 2 in
# place of 2 and 4, the pipeline makes small images 0.6 times as fast.
SPARE, AHEAD = 2, 4


def steps_per_epoch(split: Split, batch_size: int) -> int:
    """Number of batches of `train_pipeline` in an epoch. Only full batches are counted.

    The images of the remainder are left out of an epoch; in each epoch these are other images.

    Args:
        split: a `Split`, for example from `load`.
        batch_size: number of images in a batch, at least 1.

    Returns:
        The number of images divided by `batch_size`, rounded down, and at least 1: a split that is smaller than a batch
        is one batch.

    Raises:
        ValueError: `batch_size` is below 1.
        TypeError: `batch_size` is not an integer.

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
    repeated_augmentation: int = 1,
) -> tf.data.Dataset:
    """Endless batches of a split, for training: uint8 (N, size, size, C) and float32 one-hot targets (N, classes).

    An epoch is `steps_per_epoch` batches and has each image at most once, if `repeated_augmentation` is 1. The next
    epoch follows without a pause.

    Batch n depends only on the arguments and on n. So a run that was stopped continues with exactly the same batches if
    `start` is set; the batches that are skipped are not decoded. Images in memory and image files are shuffled all
    together. For records in shards, the order of the shards is shuffled, and then the records in a buffer of up to
    10,000. If corrupt images are skipped, another image of the same batch takes the place of a corrupt one.

    Args:
        split: a `Split`, for example from `load`.
        size: side of the images in pixels, at least 1.
        batch_size: number of images in a batch of all processes together, at least 1.
        crop: function `(shape, seed) -> box` as in `keras_resnet.data.crops`; the box is resized to `size`. None
            (default): the center square.
        augmentations: functions `(images, seed) -> images` for batches of uint8 (N, size, size, C), as in
            `keras_resnet.data.augment`. They are called in this order.
        mixes: functions `(images, targets, seed) -> (images, targets)`, which are called after the augmentations.
        seed: random seed for data order, crops, augmentations and mixes, at least 0.
        start: number of batches to skip, at least 0.
        shard: (index, count) of this process. It gets `batch_size / count` rows of each batch, from row
            `index * batch_size / count` on, and decodes no others. Augmentations and mixes get only these rows.
        repeated_augmentation: how many times each image is in its batch, each time with another crop and augmentation
            (arXiv:1901.09335), from 1 (default) to `batch_size`. A batch has `batch_size / repeated_augmentation`
            images, rounded up, one after the other, and then again; so the last of them may be there once less. An
            epoch has as many batches as without, and so only that part of the images, in each epoch another one; timm's
            `RepeatAugSampler` and torchvision's `RASampler` have the same epochs, but for rounding.

    Returns:
        A `tf.data.Dataset` of (images, targets).

    Raises:
        ValueError: an argument is outside its range, or `batch_size` is not a multiple of the number of processes.
        TypeError: an argument is not an integer or not a function.

    Example:
        >>> import keras_resnet as kr
        >>> images, targets = next(iter(kr.data.train_pipeline(kr.data.load("digits", "train"), 32, 16)))
        >>> images.shape, images.dtype.name, targets.shape
        (TensorShape([16, 32, 32, 1]), 'uint8', TensorShape([16, 10]))
    """
    integer("size", size), integer("batch_size", batch_size), integer("seed", seed, 0), integer("start", start, 0)
    function_or_none("crop", crop)
    plan = _plan(split, batch_size, start, shard, repeated_augmentation)
    # Order, crops and each function have their own key, so that their random numbers are independent.
    keys = np.random.SeedSequence(seed).generate_state(2 + len(augmentations) + len(mixes)).astype("int64").tolist()
    resized = _in_memory(split, size) if crop is None else None
    batches = tf.data.Dataset.range(plan.start, ENDLESS)
    images_and_labels: Callable[..., tuple[tf.Tensor, tf.Tensor]]
    if resized is not None:
        # A whole batch is read at once, in the same function as its augmentation: single images need no work.
        images_and_labels = functools.partial(_batch_from_memory, resized, plan, keys[0])
    else:
        batches = tf.data.Dataset.zip(batches, _decoded(split, size, crop or center_square, plan, keys[0], keys[1]))
        images_and_labels = _without_corrupt

    def augmented(batch: tf.Tensor, *rows: Any) -> tuple[tf.Tensor, tf.Tensor]:
        images, labels = images_and_labels(batch, *rows)
        targets = tf.one_hot(labels, len(split.classes))
        # Each process has other seeds, because its rows are other rows.
        seeds = (tf.stack([tf.constant(key, tf.int64), batch * shard[1] + shard[0]]) for key in keys[2:])
        for augmentation in augmentations:
            images = augmentation(images, next(seeds))
        for mix in mixes:
            images, targets = mix(images, targets, next(seeds))
        return images, targets

    options = tf.data.Options()
    # With autotuning, the end of an iterator can block for seconds.
    options.autotune.enabled = False
    options.experimental_warm_start = True
    # The split is sharded by `shard` already.
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.OFF
    return batches.map(augmented, CORES + SPARE).prefetch(AHEAD).with_options(options)


def check_repeated_augmentation(repeats: int, batch_size: int) -> None:
    """Raises a `ValueError` or `TypeError` unless a batch of so many images can hold each of them so many times."""
    if integer("repeated_augmentation", repeats) > batch_size:
        raise ValueError(
            f"repeated_augmentation must be at most batch_size, {batch_size}. Received: repeated_augmentation={repeats}"
        )


def _plan(split: Split, batch_size: int, start: int, shard: tuple[int, int], repeats: int) -> Plan:
    index, count = shard
    integer("shard[0]", index, 0), integer("shard[1]", count)
    check_repeated_augmentation(repeats, batch_size)
    if index >= count:
        raise ValueError(f"shard must be (index, count) with index below count. Received: shard={shard!r}")
    if batch_size % count:
        raise ValueError(
            f"batch_size must be a multiple of the {count} processes of shard. Received: batch_size={batch_size}"
        )
    batch = min(batch_size, split.size)
    if batch < count:
        raise ValueError(
            f"split must have at least one image for each of the {count} processes of shard. "
            f"Received: {split.size} images"
        )
    rows = index * batch // count, (index + 1) * batch // count
    return Plan(batch, -(-batch // repeats), steps_per_epoch(split, batch_size), start, *rows)


def _in_memory(split: Split, size: int) -> Indexed | None:
    """The records of a split with images of this size, in memory.

    Returns:
        None if the images are not arrays, or if the resized images would take more than `CACHED_BYTES`.
    """
    records = split.records
    if not isinstance(records, Indexed) or records.contents.dtype != np.uint8:
        return None
    if records.contents.shape[1:3] == (size, size):
        return records
    if records.size * size * size * split.channels > CACHED_BYTES:
        return None
    resized = tf.data.Dataset.from_tensor_slices(records.contents).map(lambda image: to_square(image, size), CORES)
    return Indexed(np.stack(list(resized.as_numpy_iterator())), records.labels, records.open, records.explain)


def _batch_from_memory(records: Indexed, plan: Plan, key: int, batch: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """The images and labels of a batch."""
    return records.take(records.numbers(plan, key, batch))


def _decoded(split: Split, size: int, crop: Crop, plan: Plan, key: int, crop_key: int) -> tf.data.Dataset:
    """Batches of (booleans: whether each image was read, (images, labels)), which are made image by image."""

    def read(place: tf.Tensor, _: tf.Tensor, raw: Any) -> tuple[tf.Tensor, tf.Tensor]:
        content, label = split.records.read(raw)
        seed = tf.stack([tf.constant(crop_key, tf.int64), place])
        part = part_of(content, split.channels, lambda shape: crop(shape, seed), size)
        image = upright(resize_part(part, size, split.channels), part.orientation)
        return tf.ensure_shape(image, (size, size, split.channels)), label

    rows = split.corrupt_records.read(split.records.endless(plan, key), read)
    return rows.batch(plan.last - plan.first, drop_remainder=True)


def _without_corrupt(_: tf.Tensor, rows: tuple[tf.Tensor, tuple[tf.Tensor, tf.Tensor]]) -> tuple[tf.Tensor, tf.Tensor]:
    """The images and labels of a batch of `_decoded`; good rows of the batch replace those that were not read."""
    return replace_corrupt(*rows)
