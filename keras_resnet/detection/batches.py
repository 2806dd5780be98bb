"""Batches of annotated images for the training of detectors and for their evaluation."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from keras_resnet._internal.validation import integer
from keras_resnet.data.corrupt import replace_corrupt
from keras_resnet.data.records import ENDLESS
from keras_resnet.data.split import image_of
from keras_resnet.data.train import steps_per_epoch
from keras_resnet.detection.annotations import AnnotatedSplit
from keras_resnet.detection.augment_boxes import Annotated, Augmentation, random_horizontal_flip
from keras_resnet.detection.design import Design
from keras_resnet.detection.faster_rcnn import STRIDE
from keras_resnet.detection.scales import Scale, shortest_side, viewed

AHEAD = 2  # batches that wait; one of 16 images of 800x1333 takes 205 MB
# The number of boxes of a batch is a multiple of this, and its sides are multiples of `multiple`: where XLA compiles,
# each shape is compiled.
BOXES = 8
# Borders between groups of images of similar width over height, as torchvision's training has them.
GROUPS = 2.0 ** np.linspace(-1, 1, 7)
FILLING = {"images": 0.0, "sizes": 0, "boxes": 0.0, "labels": -1}


def training_batches(
    split: AnnotatedSplit,
    design: Design,
    batch_size: int,
    *,
    seed: int = 0,
    step: int = 0,
    augmentations: Sequence[Augmentation] = (random_horizontal_flip,),
    scale: Scale | None = None,
    multiple: int = STRIDE,
) -> tf.data.Dataset:
    """Endless batches of a split: the inputs of `training_network`.

    An epoch is `split.size / batch_size` batches, rounded down, and has each image at most once. Images of a batch have
    a similar width over height, except in a few batches that mix the remaining images of all groups; they can come
    anywhere in the epoch. Boxes of crowds are not learned from. Difficult ones are, as in Detectron2.

    Batch n depends only on the arguments and on n. So a training that was stopped continues with exactly the same
    batches if `step` is set; the batches that are skipped are not decoded. If corrupt images are skipped, another image
    of the same batch takes the place of a corrupt one; a batch without any other image stops the training.

    Args:
        split: annotated images, for example from `load`.
        design: its `shorter` and `longer` say how images are resized if `scale` is None.
        batch_size: number of images in a batch, at least 1. A split with fewer images is one batch.
        seed: random seed of the order and of the augmentation, at least 0.
        step: number of batches to skip, at least 0.
        augmentations: functions `(annotated, seed) -> annotated` of uint8 images, see `augment_boxes`.
        scale: function `(sides, seed) -> View`, see `scales`, which is called after the augmentations.
        multiple: sides of the batch are multiples of it. With a larger one there are fewer shapes, and more padding.

    Returns:
        A dataset of dicts: `images`, raw pixels, float32 (N, H, W, C), with zeros to the right of and below each image;
        `sizes`, height and width of each image in it, int32 (N, 2); `boxes`, float32 (N, M, 4), and `labels`, int32
        (N, M), -1 where there is no box.

    Raises:
        ValueError: an argument is outside its range.
        TypeError: an argument is not an integer.

    Example:
        >>> from keras_resnet.detection import FPN, load, training_batches
        >>> split = load("voc:photos", "train")  # doctest: +SKIP
        >>> next(iter(training_batches(split, FPN, 2)))["images"].shape  # doctest: +SKIP
        TensorShape([2, 800, 1088, 3])
    """
    integer("batch_size", batch_size), integer("seed", seed, 0), integer("step", step, 0), integer("multiple", multiple)
    scale = scale or functools.partial(shortest_side, shorter=design.shorter, longer=design.longer)
    batch, steps = min(batch_size, split.size), steps_per_epoch(split.images, batch_size)
    groups = np.digitize(split.sides[:, 1] / split.sides[:, 0], GROUPS)
    keys = np.random.SeedSequence(seed).generate_state(1 + len(augmentations)).astype("int64").tolist()
    objects_of = _learned_objects(split)

    def read(place: tf.Tensor, number: tf.Tensor, raw: Any) -> dict[str, tf.Tensor]:
        content, _ = split.images.records.read(raw)
        annotated = Annotated(image_of(content, split.images.channels), *objects_of(number))
        scale_seed, *seeds = (tf.stack([tf.constant(key, tf.int64), place]) for key in keys)
        for augmentation, own in zip(augmentations, seeds, strict=True):
            annotated = augmentation(annotated, own)
        annotated = viewed(annotated, scale(tf.shape(annotated.image)[:2], scale_seed))
        return _padded(annotated, multiple)

    rows = _places(_numbers(groups, batch, steps, seed), batch, step)
    found = split.images.corrupt_records.read(rows, read)
    batches = found.padded_batch(batch, drop_remainder=True, padding_values=(False, FILLING))
    return batches.map(replace_corrupt).prefetch(AHEAD).with_options(_options())


def evaluation_batches(
    split: AnnotatedSplit, design: Design, batch_size: int, *, multiple: int = STRIDE
) -> tf.data.Dataset:
    """Each image of a split once: the inputs of a detector, and what brings its boxes back to pixels of the image.

    The images come by their width over height, so that little is padded; `numbers` says which ones they are. Corrupt
    images are skipped, or the first one stops the iteration.

    Args:
        split: annotated images, for example from `load`.
        design: its `shorter` and `longer` say how images are resized.
        batch_size: number of images in a batch, at least 1; the last batch may be smaller.
        multiple: sides of the batch are multiples of it.

    Returns:
        A dataset of dicts: `images` and `sizes` as in `training_batches`; `numbers`, those of the images in `split`,
        int64 (N); and `factors`, height and width of each image in the batch over those of the original, float32
        (N, 2), see `resizing.Batch`.

    Raises:
        ValueError: an argument is outside its range.
        TypeError: an argument is not an integer.
    """
    integer("batch_size", batch_size), integer("multiple", multiple)
    order = np.argsort(split.sides[:, 1] / split.sides[:, 0], kind="stable")
    none = tf.zeros((0, 4)), tf.zeros((0,), tf.int32)

    def read(_: tf.Tensor, number: tf.Tensor, raw: Any) -> dict[str, tf.Tensor]:
        content, _ = split.images.records.read(raw)
        image = image_of(content, split.images.channels)
        sides = tf.shape(image)[:2]
        view = shortest_side(sides, shorter=design.shorter, longer=design.longer)
        padded = _padded(viewed(Annotated(image, *none), view), multiple)
        factors = tf.cast(view.sides, tf.float32) / tf.cast(sides, tf.float32)
        return {"images": padded["images"], "sizes": view.sides, "factors": factors, "numbers": number}

    rows = tf.data.Dataset.from_tensor_slices((order, order, order))
    found = split.images.corrupt_records.read(rows, read).filter(lambda readable, _: readable)
    return found.map(lambda _, row: row).padded_batch(batch_size).prefetch(AHEAD).with_options(_options())


def epoch_order(groups: np.ndarray, batch: int, rng: np.random.Generator) -> np.ndarray:
    """The images of each batch of an epoch, each image at most once.

    torchvision fills the last batch of each group with repeated images; here what is left of the groups makes batches
    together, so that images of rare shapes are used as often as others.

    Args:
        groups: the group of each image, integers (N).
        batch: number of images in a batch, at most N.
        rng: the random generator.

    Returns:
        Numbers of images, int64 (N // batch, batch).

    Example:
        >>> import numpy as np
        >>> from keras_resnet.detection.batches import epoch_order
        >>> order = epoch_order(np.array([0, 1, 0, 1]), 2, np.random.default_rng(0))
        >>> sorted(map(sorted, order.tolist()))
        [[0, 2], [1, 3]]
    """
    steps = len(groups) // batch
    order = rng.permutation(len(groups))[: steps * batch]
    order = order[np.argsort(groups[order], kind="stable")]
    members = np.split(order, np.flatnonzero(np.diff(groups[order])) + 1)
    full = [group[: len(group) // batch * batch] for group in members]
    left = [group[len(group) // batch * batch :] for group in members]
    return rng.permutation(np.concatenate([*full, *left]).reshape(steps, batch))


def _numbers(groups: np.ndarray, batch: int, steps: int, seed: int) -> Callable[[np.ndarray], np.ndarray]:
    """A function from the number of a batch, since the start of the training, to the numbers of its images."""

    @functools.lru_cache(2)
    def of_epoch(epoch: int) -> np.ndarray:
        return epoch_order(groups, batch, np.random.default_rng([seed, epoch]))

    return lambda number: of_epoch(int(number) // steps)[int(number) % steps]


def _places(numbers: Callable[[np.ndarray], np.ndarray], batch: int, step: int) -> tf.data.Dataset:
    """Rows (place, number, raw) as `CorruptRecords.read` takes them, from batch `step` on, without end."""

    def rows(number: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        images = tf.ensure_shape(tf.numpy_function(numbers, [number], tf.int64), (batch,))
        return number * batch + tf.range(batch, dtype=tf.int64), images, images

    return tf.data.Dataset.range(step, ENDLESS).map(rows).unbatch()


def _learned_objects(split: AnnotatedSplit) -> Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]]:
    """A function from the number of an image to the boxes and labels that a training learns from."""
    kept = [~found.crowd for found in split.objects]
    bounds = np.cumsum([0, *(int(mask.sum()) for mask in kept)])
    with tf.device("CPU:0"):
        boxes = tf.constant(np.concatenate([found.boxes[mask] for found, mask in zip(split.objects, kept)]))
        labels = tf.constant(np.concatenate([found.labels[mask] for found, mask in zip(split.objects, kept)]))
        ends = tf.constant(bounds)

    def objects(number: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        first, end = ends[number], ends[number + 1]
        return boxes[first:end], labels[first:end]

    return objects


def _padded(annotated: Annotated, multiple: int) -> dict[str, tf.Tensor]:
    """An image and its objects as a row of a batch. The longest row sets the shape of the batch."""
    image, boxes, labels = annotated
    sides = tf.shape(image)[:2]
    below, right = tf.unstack(-sides % multiple)
    count = tf.shape(labels)[0]
    more = tf.maximum(count + -count % BOXES, BOXES) - count
    return {
        "images": tf.pad(image, [[0, below], [0, right], [0, 0]]),
        "sizes": sides,
        "boxes": tf.pad(boxes, [[0, more], [0, 0]]),
        "labels": tf.pad(labels, [[0, more]], constant_values=-1),
    }


def _options() -> tf.data.Options:
    options = tf.data.Options()
    # With autotuning, the end of an iterator can block for seconds.
    options.autotune.enabled = False
    # Each process reads its own images.
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.OFF
    return options
