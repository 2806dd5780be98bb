"""The batches that a recipe asks for: at its sizes, cropped, augmented and mixed as it says, for this process."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import keras
import tensorflow as tf

from keras_resnet.data import Split, augment, crops, pipeline, train_pipeline
from keras_resnet.data.augment.mixing import Mix
from keras_resnet.data.corrupt import name_corrupt_files
from keras_resnet.data.decode import resize_and_crop, to_square
from keras_resnet.data.pipeline import Resize
from keras_resnet.data.preview import label_titles, plot_images
from keras_resnet.data.train import Augmentation, Crop
from keras_resnet.inputs import square_side
from keras_resnet.training.distribution import Placement
from keras_resnet.training.recipe import Recipe


class Sides(NamedTuple):
    """Sides of the square images in pixels: to train at, one after the other in equal parts, and to measure at."""

    train: tuple[int, ...]
    test: int

    @classmethod
    def asked(cls, recipe: Recipe, default: int) -> Sides:
        """Those of the recipe; where it has none to train at, `default`."""
        train = recipe.train_sizes or (default,)
        return cls(train, recipe.eval_size or train[-1])

    @classmethod
    def of(cls, model: keras.Model, recipe: Recipe) -> Sides:
        """Those of the recipe, if the model can take them, else the model's; a `ValueError` if it can not."""
        if not recipe.train_sizes and not recipe.eval_size:
            return cls.asked(recipe, square_side(model))
        sides = cls.asked(recipe, recipe.eval_size)
        if model.inputs[0].shape[1:3] != (None, None) and sides.all != {square_side(model)}:
            raise ValueError(
                f"model must take images of any size, for example input_shape=(None, None, 3), for the recipe's "
                f"train_sizes {sides.train} and eval_size {sides.test}. Received: {model.inputs[0].shape}"
            )
        return sides

    @property
    def all(self) -> set[int]:
        """Without order."""
        return {*self.train, self.test}


def training_batches(
    split: Split, recipe: Recipe, sides: Sides, where: Placement, start: int, steps: int
) -> tf.data.Dataset:
    """Batches of (images, targets) from step `start` of a training of `steps` on."""
    parts = []
    for number in range(len(sides.train)):
        first, end = (-(-share * steps // len(sides.train)) for share in (number, number + 1))
        if start < end:
            size, begin = sides.train[number], max(start, first)
            batches = train_pipeline(
                split,
                size,
                recipe.batch_size,
                crop=crop(recipe),
                augmentations=augmentations(recipe, size),
                mixes=mixes(recipe),
                seed=recipe.seed,
                start=begin,
                shard=where.shard,
            )
            # The last one is endless: it is the caller who counts.
            parts.append(batches.take(end - begin) if end < steps else batches)
    return functools.reduce(tf.data.Dataset.concatenate, parts)


def validation_batches(split: Split, total: int, recipe: Recipe, sides: Sides, where: Placement) -> tf.data.Dataset:
    """Batches of (images, targets), or for several devices (images, targets, weights), with every image once.

    `split` is what this process reads, its share of the `total` images of all processes, see `Split.shard`.
    """
    classes, local = len(split.classes), recipe.batch_size // where.processes
    batches = pipeline(split, sides.test, local, resize=resize(recipe)).map(
        lambda images, labels: (images, tf.one_hot(labels, classes))
    )
    if where.devices == 1:
        return batches
    # Devices share equal parts, and processes take as many steps: what is missing are images that do not count. Those
    # that do count for more, since Keras divides the sum of losses by all.
    steps = -(-total // recipe.batch_size)
    weight = steps * recipe.batch_size / total

    def filled(images: tf.Tensor, targets: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        weights = tf.fill(tf.shape(images)[:1], weight)
        missing = local - tf.shape(images)[0]
        padded = (tf.pad(x, [[0, missing], *[[0, 0]] * (len(x.shape) - 1)]) for x in (images, targets, weights))
        return tuple(tf.ensure_shape(x, (local, *x.shape[1:])) for x in padded)

    nothing = tuple(tf.zeros((0, *spec.shape[1:]), spec.dtype) for spec in batches.element_spec)
    return batches.concatenate(tf.data.Dataset.from_tensors(nothing).repeat()).take(steps).map(filled)


def preview(split: Split, recipe: Recipe, size: int, count: int, path: Path) -> None:
    """Draws the first images of a training, as the network gets them, with their labels, into a PNG.

    Args:
        split: the images.
        recipe: what happens to them.
        size: side in pixels to train at.
        count: images, at least 1.
        path: of the PNG.
    """
    # Several batches, as a batch is mixed in one way.
    recipe = dataclasses.replace(recipe, batch_size=max(math.isqrt(count), 2))
    batches = training_batches(split, recipe, Sides((size,), size), Placement(), 0, 1)
    with name_corrupt_files(split):
        images, targets = next(batches.unbatch().batch(count).as_numpy_iterator())
    plot_images(images, label_titles(targets, split.classes), path)


def resize(recipe: Recipe) -> Resize:
    """How the recipe measures: the centred square, or the shorter side resized and the centre of that."""
    if recipe.crop_pct == 1:
        return to_square
    return functools.partial(resize_and_crop, crop_pct=recipe.crop_pct, interpolation="bilinear")


CROPS: dict[str, Callable[[Recipe], Crop | None]] = {
    "center": lambda recipe: None,
    "random_resized": lambda recipe: functools.partial(crops.random_resized_crop, scale=(recipe.crop_scale, 1.0)),
    "scale_jitter": lambda recipe: crops.scale_jitter,
}
POLICIES: dict[str, Callable[[Recipe], tuple[Augmentation, ...]]] = {
    "": lambda recipe: (),
    # The deviation is that of timm's recipes.
    "rand_augment": lambda recipe: (
        functools.partial(augment.rand_augment, magnitude=recipe.magnitude, deviation=0.5),
    ),
    "trivial_augment_wide": lambda recipe: (augment.trivial_augment_wide,),
}


def crop(recipe: Recipe) -> Crop | None:
    """Which part of an image is trained on."""
    return CROPS[recipe.crop](recipe)


def augmentations(recipe: Recipe, size: int) -> tuple[Augmentation, ...]:
    """What happens to batches of images with sides of `size`, in this order."""
    jitter = recipe.color_jitter
    moved: tuple[tuple[float, Augmentation], ...] = (
        (recipe.pad_and_crop, functools.partial(augment.pad_and_crop, pixels=round(recipe.pad_and_crop * size))),
        (recipe.flip, augment.flip),
        (recipe.rotate, functools.partial(augment.rotate, degrees=recipe.rotate)),
        (jitter, functools.partial(augment.color_jitter, brightness=jitter, contrast=jitter, saturation=jitter)),
    )
    erased = functools.partial(augment.random_erasing, probability=recipe.random_erase)
    return (
        *(augmentation for amount, augmentation in moved if amount),
        *POLICIES[recipe.auto_augment](recipe),
        *((erased,) if recipe.random_erase else ()),
    )


def mixes(recipe: Recipe) -> tuple[Mix, ...]:
    """What happens to batches of images and their targets, in this order; smoothing first, as in timm."""
    mixup = functools.partial(augment.mixup, alpha=recipe.mixup)
    cutmix = functools.partial(augment.cutmix, alpha=recipe.cutmix)
    chosen = tuple(mix for alpha, mix in ((recipe.mixup, mixup), (recipe.cutmix, cutmix)) if alpha)
    mixed = (functools.partial(augment.random_choice, mixes=chosen),) if len(chosen) > 1 else chosen
    return (
        *((_of_targets(augment.label_smoothing, recipe.label_smoothing),) if recipe.label_smoothing else ()),
        *mixed,
        *((_of_targets(augment.target_threshold, recipe.target_threshold),) if recipe.target_threshold else ()),
    )


def _of_targets(function: Callable[[tf.Tensor, float], tf.Tensor], amount: float) -> Mix:
    return lambda images, targets, seed: (images, function(targets, amount))
