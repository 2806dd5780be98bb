"""Pipelines: batches of uint8 images, ready for a model that takes raw pixels."""

from __future__ import annotations

import os
from collections.abc import Callable

import tensorflow as tf

from keras_resnet.arguments import integer
from keras_resnet.data.decode import to_square
from keras_resnet.data.sources import Split

Augmentation = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]  # (images, seed) -> images
Resize = Callable[[tf.Tensor, int], tf.Tensor]  # (image, size) -> image

CACHED_BYTES = 2**30  # resized images up to this much are kept in memory
SHUFFLED = 10_000  # examples
PARALLEL = os.cpu_count() or 1


def pipeline(
    split: Split,
    size: int,
    batch_size: int,
    *,
    augmentations: tuple[Augmentation, ...] | None = None,
    seed: int = 0,
    resize: Resize = to_square,
) -> tf.data.Dataset:
    """Batches of a split: uint8 (N, size, size, C) and int64 labels (N).

    Args:
        split: what `load` returned.
        size: side of the images in pixels.
        batch_size: images a batch; the last one of an evaluation may be smaller.
        augmentations: functions `(images, seed) -> images` of a batch, as in `keras_resnet.data.augment`. None is
            for evaluation: every image once and in order; with a tuple, even an empty one, batches are
            shuffled anew each epoch.
        seed: of the order and of the augmentation.
        resize: function `(image, size) -> image` from uint8 (H, W, C) to uint8 (size, size, C), as in
            `keras_resnet.data.decode`: the centred square, resized, or `resize_and_crop` with its two last arguments
            bound by `functools.partial`.

    Returns:
        A `tf.data.Dataset`.

    Raises:
        ValueError: `size` or `batch_size` is below 1.

    Example:
        >>> import keras_resnet as kr
        >>> images, labels = next(iter(kr.data.pipeline(kr.data.load("digits", "test"), 32, 16)))
        >>> images.shape, images.dtype.name, labels.shape
        (TensorShape([16, 32, 32, 1]), 'uint8', TensorShape([16]))
    """
    integer("size", size), integer("batch_size", batch_size)
    batches = split.examples.map(lambda image, label: (resize(image, size), label), PARALLEL)
    fitting = CACHED_BYTES // (size * size * split.channels)  # images
    if split.size <= fitting:
        batches = batches.cache()
    if augmentations is not None:
        batches = batches.shuffle(max(1, min(split.size, fitting, SHUFFLED)), seed=seed).batch(batch_size)
        seeds = tf.data.Dataset.random(seed=seed, rerandomize_each_iteration=True).batch(2, drop_remainder=True)
        batches = tf.data.Dataset.zip(batches, seeds).map(
            lambda batch, drawn: (_augmented(batch[0], drawn, augmentations), batch[1]), PARALLEL
        )
    else:
        batches = batches.batch(batch_size)
    options = tf.data.Options()
    # With autotuning, ending an iterator stalls for up to seconds, at the end of every epoch.
    options.autotune.enabled = False
    return batches.prefetch(2).with_options(options)


def _augmented(images: tf.Tensor, seed: tf.Tensor, augmentations: tuple[Augmentation, ...]) -> tf.Tensor:
    for number, augmentation in enumerate(augmentations):
        images = augmentation(images, seed + number)
    return images
