"""Images per second of every augmentation inside `tf.data`, compared with the Keras layers that do the same.

The Keras layers are called in a map, as in Keras' guides, and their float results are cast to uint8, which this
package's augmentations return. keras.layers.RandAugment changes all images of a batch in the same way; its MixUp and
CutMix draw random numbers for each image.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

from benchmarks.measure import ROUNDS, in_turns, timed
from benchmarks.report import Report
from keras_resnet.data import augment
from keras_resnet.data.corrupt import CORES

SIZES = {"32x32": ((128, 32, 32, 3), 60), "224x224": ((32, 224, 224, 3), 6)}  # shape of a batch, batches per turn
CLASSES = 10
PEER = "keras.layers"
BYTES = (0, 255)

Op = Callable[[tf.Tensor, tf.Tensor], object]  # (images, seed) -> images, or images and targets


@dataclasses.dataclass(frozen=True)
class Amount:
    """How much is measured: the number of rounds."""

    rounds: int


FULL = Amount(ROUNDS)
QUICK = Amount(3)


def layer(of_keras: keras.Layer) -> Op:
    """A Keras layer as an augmentation that ignores the seed."""
    return lambda images, seed: tf.cast(of_keras(images, training=True), tf.uint8)


def layer_of_pairs(of_keras: keras.Layer) -> Op:
    """A Keras layer that mixes images and labels, as such an augmentation."""

    def mix(images: tf.Tensor, seed: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        mixed = of_keras({"images": images, "labels": targets(images)}, training=True)
        return tf.cast(mixed["images"], tf.uint8), mixed["labels"]

    return mix


def pairs(mix: augment.mixing.Mix) -> Op:
    """An augmentation of this package that mixes images and targets."""
    return lambda images, seed: mix(images, targets(images), seed)


def targets(images: tf.Tensor) -> tf.Tensor:
    """One-hot targets for a batch of images."""
    return tf.one_hot(tf.range(tf.shape(images)[0]) % CLASSES, CLASSES)


def rows() -> dict[str, tuple[Op, Op | None]]:
    """For each name the augmentation of this package and the one of Keras, or None if Keras has none."""
    jitter = {"brightness": 0.4, "contrast": 0.4, "saturation": 0.4}
    layers = keras.layers
    rotation = layers.RandomRotation(15 / 360, fill_mode="constant")
    shift = layers.RandomTranslation(1 / 8, 1 / 8, fill_mode="constant", interpolation="nearest")
    of_jitter = layers.RandomColorJitter(BYTES, **{f"{name}_factor": value for name, value in jitter.items()})
    return {
        "flip": (augment.flip, layer(layers.RandomFlip("horizontal"))),
        "pad_and_crop": (functools.partial(augment.pad_and_crop, pixels=4), layer(shift)),
        "rotate": (functools.partial(augment.rotate, degrees=15), layer(rotation)),
        "random_resized_crop": (augment.random_resized_crop, None),
        "colour_jitter": (functools.partial(augment.color_jitter, **jitter), layer(of_jitter)),
        "hue": (functools.partial(augment.color_jitter, hue=0.1), layer(layers.RandomHue(0.2, BYTES))),
        "random_erasing": (augment.random_erasing, layer(layers.RandomErasing(value_range=BYTES))),
        "mixup": (pairs(augment.mixup), layer_of_pairs(layers.MixUp())),
        "cutmix": (pairs(augment.cutmix), layer_of_pairs(layers.CutMix())),
        "rand_augment": (augment.rand_augment, layer(layers.RandAugment(BYTES))),
        "trivial_augment_wide": (augment.trivial_augment_wide, None),
    }


def turn(op: Op, images: np.ndarray, batches: int) -> Callable[[], float]:
    """A turn that sends a number of batches through an augmentation; it returns images per second."""
    seeds = tf.data.Dataset.random(seed=0).batch(2, drop_remainder=True)
    data = tf.data.Dataset.zip(tf.data.Dataset.from_tensors(images).repeat(batches), seeds).map(op, CORES)
    options = tf.data.Options()
    options.autotune.enabled = False  # as in `keras_resnet.data.pipeline`
    data = data.prefetch(2).with_options(options)

    def consume() -> None:
        for _ in data:
            pass

    return timed(len(images) * batches, consume)


def run(report: Report, amount: Amount) -> None:
    """Measures each augmentation at each image size."""
    for size, (shape, batches) in SIZES.items():
        images = np.random.default_rng(0).integers(0, 256, shape).astype("uint8")
        for name, (ours, theirs) in rows().items():
            subjects = {"keras_resnet": ours} | ({PEER: theirs} if theirs else {})
            turns = {subject: turn(op, images, batches) for subject, op in subjects.items()}
            report.compare(f"{name} {size}", in_turns(turns, amount.rounds), PEER, "images")
