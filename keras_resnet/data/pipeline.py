"""The evaluation pipeline: every image once and in order, in uint8 batches for a model that takes raw pixels."""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

from keras_resnet._internal.validation import integer
from keras_resnet.data.decode import to_square
from keras_resnet.data.split import Split

Resize = Callable[[tf.Tensor, int], tf.Tensor]  # (image, size) -> image

CACHED_BYTES = 2**30  # resized images are kept in memory if all together take no more than this


def pipeline(split: Split, size: int, batch_size: int, *, resize: Resize = to_square) -> tf.data.Dataset:
    """Batches of a split, for evaluation: uint8 (N, size, size, C) and int64 labels (N).

    Every image comes once and in order. Corrupt images are skipped, or the first one stops the iteration; the argument
    `on_corrupt` of `load` decides.

    Args:
        split: a `Split`, for example from `load`.
        size: side of the images in pixels, at least 1.
        batch_size: number of images in a batch, at least 1; the last batch may be smaller.
        resize: function `(image, size) -> image` from uint8 (H, W, C) to uint8 (size, size, C), as in
            `keras_resnet.data.decode`: `to_square` (default), which resizes the center square, or `resize_and_crop`
            with its last two arguments bound by `functools.partial`.

    Returns:
        A `tf.data.Dataset` of (images, labels).

    Raises:
        ValueError: `size` or `batch_size` is below 1.
        TypeError: `size` or `batch_size` is not an integer.

    Example:
        >>> import keras_resnet as kr
        >>> images, labels = next(iter(kr.data.pipeline(kr.data.load("digits", "test"), 32, 16)))
        >>> images.shape, images.dtype.name, labels.shape
        (TensorShape([16, 32, 32, 1]), 'uint8', TensorShape([16]))
    """
    return numbered_pipeline(split, size, batch_size, resize).map(lambda numbers, images, labels: (images, labels))


def numbered_pipeline(split: Split, size: int, batch_size: int, resize: Resize) -> tf.data.Dataset:
    """`pipeline` with the numbers of the images, int64 (N), which are indices into the files of the split."""
    integer("size", size), integer("batch_size", batch_size)
    images = split.numbered(lambda image: resize(image, size))
    if split.size * size * size * split.channels <= CACHED_BYTES:
        images = images.cache()
    options = tf.data.Options()
    # With autotuning, the end of an iterator can block for seconds, after every epoch.
    options.autotune.enabled = False
    return images.batch(batch_size).prefetch(2).with_options(options)
