"""What the fields of a recipe do to the batches of a training."""

from __future__ import annotations

import functools
from collections.abc import Callable

import tensorflow as tf

from keras_resnet.data.augment import color_jitter
from keras_resnet.data.train import steps_per_epoch
from keras_resnet.detection.annotations import AnnotatedSplit
from keras_resnet.detection.augment_boxes import (
    Augmentation,
    of_image,
    random_horizontal_flip,
    random_iou_crop,
    random_vertical_flip,
)
from keras_resnet.detection.batches import training_batches
from keras_resnet.detection.design import Design
from keras_resnet.detection.recipe import DetectionRecipe
from keras_resnet.detection.scales import Scale, large_scale_jitter, random_shortest_side


def batches_of(
    split: AnnotatedSplit, design: Design, recipe: DetectionRecipe
) -> tuple[Callable[[int], tf.data.Dataset], int]:
    """The batches of a split for a recipe, and the number of steps of an epoch: what `fit` takes.

    Args:
        split: the training images.
        design: the design of the detector.
        recipe: gives `batch_size`, `seed` and all that changes images.

    Returns:
        A function from the number of a step to the batches of that step and of all steps after it, and the steps of an
        epoch.

    Raises:
        ValueError: the split has no objects but crowds: nothing could be learned.

    Example:
        >>> from keras_resnet.detection import FPN, RECIPES, batches_of, fit, load
        >>> batches = batches_of(load("voc:photos", "train"), FPN, RECIPES["small_data"])  # doctest: +SKIP
        >>> fit(detector, FPN, "small_data", *batches)  # doctest: +SKIP
    """

    if all(objects.crowd.all() for objects in split.objects):
        raise ValueError(f"split must have objects to learn, which are no crowds. Received: {split!r}")

    def batches_from(step: int) -> tf.data.Dataset:
        return training_batches(
            split,
            design,
            recipe.batch_size,
            seed=recipe.seed,
            step=step,
            augmentations=augmentations(recipe),
            scale=scale(recipe, design),
        )

    return batches_from, steps_per_epoch(split.images, recipe.batch_size)


def augmentations(recipe: DetectionRecipe) -> tuple[Augmentation, ...]:
    """The augmentations of a recipe, in the order in which they are applied.

    Example:
        >>> from keras_resnet.detection import DetectionRecipe
        >>> from keras_resnet.detection.recipe_batches import augmentations
        >>> [function.__name__ for function in augmentations(DetectionRecipe())]
        ['random_horizontal_flip']
    """
    found: list[Augmentation] = []
    if recipe.color_jitter:
        change = dict.fromkeys(("brightness", "contrast", "saturation"), recipe.color_jitter)
        found.append(of_image(functools.partial(color_jitter, **change)))
    if recipe.iou_crop:
        found.append(random_iou_crop)
    if recipe.flip:
        found.append(random_horizontal_flip)
    if recipe.vertical_flip:
        found.append(random_vertical_flip)
    return tuple(found)


def scale(recipe: DetectionRecipe, design: Design) -> Scale | None:
    """How a recipe resizes images; None: as the design says."""
    if recipe.shorter_sides:
        return functools.partial(random_shortest_side, shorter=recipe.shorter_sides, longer=design.longer)
    if recipe.scale_jitter == (1.0, 1.0):
        return None
    side = recipe.jitter_size or design.longer
    smallest, largest = recipe.scale_jitter
    return functools.partial(large_scale_jitter, target=(side, side), scale=(smallest, largest))
