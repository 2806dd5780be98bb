"""Batches for training and validation: image sizes, crops, augmentations and mixes as the recipe says."""

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


class ImageSizes(NamedTuple):
    """Sides of the square images in pixels.

    Attributes:
        train: for training, used one after the other for equal parts of the training.
        evaluation: for validation and evaluation.
    """

    train: tuple[int, ...]
    evaluation: int

    @classmethod
    def from_recipe(cls, recipe: Recipe, default: int) -> ImageSizes:
        """The sizes of the recipe; `default` replaces missing `train_sizes`.

        Example:
            >>> from keras_resnet.training import Recipe
            >>> from keras_resnet.training.batches import ImageSizes
            >>> ImageSizes.from_recipe(Recipe(eval_size=224), 176)
            ImageSizes(train=(176,), evaluation=224)
        """
        train = recipe.train_sizes or (default,)
        return cls(train, recipe.eval_size or train[-1])

    @classmethod
    def for_model(cls, model: keras.Model, recipe: Recipe) -> ImageSizes:
        """The sizes of the recipe, or the input size of the model if the recipe has none.

        Raises:
            ValueError: the model does not take images of these sizes, or neither the recipe nor the model has a size.
        """
        if not recipe.train_sizes and not recipe.eval_size:
            return cls.from_recipe(recipe, square_side(model))
        sizes = cls.from_recipe(recipe, recipe.eval_size)
        if model.inputs[0].shape[1:3] != (None, None) and sizes.all != {square_side(model)}:
            raise ValueError(
                f"model must take images of any size, for example input_shape=(None, None, 3), because the recipe has "
                f"train_sizes={sizes.train} and eval_size={sizes.evaluation}. "
                f"Received: a model with the input shape {model.inputs[0].shape}"
            )
        return sizes

    @property
    def all(self) -> set[int]:
        """All sizes as a set, without order."""
        return {*self.train, self.evaluation}


def training_batches(
    split: Split, recipe: Recipe, sides: ImageSizes, where: Placement, start: int, steps: int
) -> tf.data.Dataset:
    """Training batches from step `start` on, without end.

    Args:
        split: the training images.
        recipe: gives the batch size, the augmentation and the seed.
        sides: image sizes; each entry of `sides.train` is used for an equal part of the steps.
        where: gives the part of each batch that this process reads.
        start: first step, from 0; a training that is resumed starts in its middle.
        steps: number of steps of the whole training.

    Returns:
        A dataset of (images, targets): uint8 (N, size, size, C) and float32 (N, classes). N is the number of
        images that this process reads of each batch.
    """
    parts = []
    for number in range(len(sides.train)):
        first, end = (-(-count * steps // len(sides.train)) for count in (number, number + 1))
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
                repeated_augmentation=recipe.repeated_augmentation,
            )
            # The last part has no end: the caller counts the steps.
            parts.append(batches.take(end - begin) if end < steps else batches)
    return functools.reduce(tf.data.Dataset.concatenate, parts)


def validation_batches(
    split: Split, total: int, recipe: Recipe, sides: ImageSizes, where: Placement
) -> tf.data.Dataset:
    """Validation batches that contain every image once.

    Args:
        split: the images that this process reads, see `Split.shard`.
        total: number of images of all processes together.
        recipe: gives the batch size, and how images are resized.
        sides: image sizes; `sides.evaluation` is used.
        where: number of devices and processes.

    Returns:
        A dataset of (images, targets), or of (images, targets, weights) for several devices. Their batches have equal
        sizes: images that fill the last batches have the weight 0.
    """
    classes, local = len(split.classes), recipe.batch_size // where.processes
    batches = pipeline(split, sides.evaluation, local, resize=resize(recipe)).map(
        lambda images, labels: (images, tf.one_hot(labels, classes))
    )
    if where.devices == 1:
        return batches
    # Each device needs a part of the same size, and each process the same number of steps, so images of weight 0 fill
    # the last batches. The real images get a weight above 1, because Keras divides the sum of losses by all images.
    steps = -(-total // recipe.batch_size)
    weight = steps * recipe.batch_size / total

    def fill_up(images: tf.Tensor, targets: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        weights = tf.fill(tf.shape(images)[:1], weight)
        missing = local - tf.shape(images)[0]
        padded = (tf.pad(x, [[0, missing], *[[0, 0]] * (len(x.shape) - 1)]) for x in (images, targets, weights))
        return tuple(tf.ensure_shape(x, (local, *x.shape[1:])) for x in padded)

    empty = tuple(tf.zeros((0, *spec.shape[1:]), spec.dtype) for spec in batches.element_spec)
    return batches.concatenate(tf.data.Dataset.from_tensors(empty).repeat()).take(steps).map(fill_up)


def preview(split: Split, recipe: Recipe, size: int, count: int, path: Path) -> None:
    """Draws the first augmented images of a training with their labels into a PNG file.

    Args:
        split: the images.
        recipe: gives crop, augmentation and mixes.
        size: side of the training images in pixels.
        count: number of images, at least 1.
        path: path of the PNG file.

    Raises:
        ValueError: a file is not a readable image; the error names it.
    """
    # Several small batches: all images of one batch are mixed in the same way. Each has two images to mix.
    recipe = dataclasses.replace(recipe, batch_size=max(math.isqrt(count), 2 * recipe.repeated_augmentation))
    batches = training_batches(split, recipe, ImageSizes((size,), size), Placement(), 0, 1)
    with name_corrupt_files(split):
        images, targets = next(batches.unbatch().batch(count).as_numpy_iterator())
    plot_images(images, label_titles(targets, split.classes), path)


def resize(recipe: Recipe) -> Resize:
    """How images are resized in evaluation: the center square, or the shorter side is resized and the center cut out.

    The second way is used if `crop_pct` is below 1.
    """
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
    # timm's recipes have the same deviation.
    "rand_augment": lambda recipe: (
        functools.partial(augment.rand_augment, magnitude=recipe.magnitude, deviation=0.5),
    ),
    "trivial_augment_wide": lambda recipe: (augment.trivial_augment_wide,),
    "aug_mix": lambda recipe: (augment.aug_mix,),
}


def crop(recipe: Recipe) -> Crop | None:
    """The function that cuts a random part out of a training image; None for the center square."""
    return CROPS[recipe.crop](recipe)


def augmentations(recipe: Recipe, size: int) -> tuple[Augmentation, ...]:
    """The augmentations of batches of images with sides of `size` pixels, in the order in which they are applied."""
    jitter = recipe.color_jitter
    geometry_and_color: tuple[tuple[float, Augmentation], ...] = (
        (recipe.pad_and_crop, functools.partial(augment.pad_and_crop, pixels=round(recipe.pad_and_crop * size))),
        (recipe.flip, augment.flip),
        (recipe.rotate, functools.partial(augment.rotate, degrees=recipe.rotate)),
        (jitter, functools.partial(augment.color_jitter, brightness=jitter, contrast=jitter, saturation=jitter)),
    )
    erasing = functools.partial(augment.random_erasing, probability=recipe.random_erase)
    return (
        *(augmentation for amount, augmentation in geometry_and_color if amount),
        *POLICIES[recipe.auto_augment](recipe),
        *((erasing,) if recipe.random_erase else ()),
    )


def mixes(recipe: Recipe) -> tuple[Mix, ...]:
    """The functions that mix images and targets of a batch, in the order in which they are applied.

    Label smoothing comes first, as in timm.
    """
    mixup = functools.partial(augment.mixup, alpha=recipe.mixup)
    cutmix = functools.partial(augment.cutmix, alpha=recipe.cutmix)
    chosen = tuple(function for alpha, function in ((recipe.mixup, mixup), (recipe.cutmix, cutmix)) if alpha)
    mix = (functools.partial(augment.random_choice, mixes=chosen),) if len(chosen) > 1 else chosen
    return (
        *((_apply_to_targets(augment.label_smoothing, recipe.label_smoothing),) if recipe.label_smoothing else ()),
        *mix,
        *((_apply_to_targets(augment.target_threshold, recipe.target_threshold),) if recipe.target_threshold else ()),
    )


def _apply_to_targets(function: Callable[[tf.Tensor, float], tf.Tensor], amount: float) -> Mix:
    return lambda images, targets, seed: (images, function(targets, amount))
