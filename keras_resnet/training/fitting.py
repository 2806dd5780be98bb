"""`fit`: trains a model by a recipe."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from keras_resnet._internal.exclusive import exclusive
from keras_resnet._internal.validation import printable
from keras_resnet.data import Split, steps_per_epoch
from keras_resnet.data.as_split import Data, as_split, names_of, numbered
from keras_resnet.data.corrupt import name_corrupt_files
from keras_resnet.data.train import check_repeated_augmentation
from keras_resnet.evaluation.accuracy import in_channels_of, output_count, outputs
from keras_resnet.training.batches import ImageSizes, training_batches, validation_batches
from keras_resnet.training.compiling import compile_for, compiled
from keras_resnet.training.distillation import check_teacher
from keras_resnet.training.distribution import (
    check_recipe,
    placement_of,
)
from keras_resnet.training.ema import EvaluateAverage
from keras_resnet.training.epochs import run_epochs
from keras_resnet.training.imbalance import with_all_classes_alike
from keras_resnet.training.precision_choice import Choice, settle
from keras_resnet.training.recipe import Recipe
from keras_resnet.training.recipes import recipe_named
from keras_resnet.training.resuming import (
    CHECKPOINTS,
    ResumeCallback,
    precision_before,
    settings_of,
)
from keras_resnet.training.unfreezing import gradual_unfreezing


class Result(NamedTuple):
    """The result of a training.

    Attributes:
        history: loss, accuracy, val_loss, val_accuracy and learning_rate, with one value for each epoch.
        best_epoch: number of the chosen epoch, from 1; None if no epoch was chosen.
        seconds: duration of training and validation, including the time before the training was resumed.
        last_weights: weights of the last epoch, for `model.set_weights`.
    """

    history: dict[str, list[float]]
    best_epoch: int | None
    seconds: float
    last_weights: list[np.ndarray]


def fit(
    model: keras.Model,
    recipe: Recipe | str,
    train: Data,
    validation: Data | None = None,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    directory: str | os.PathLike[str] | None = None,
    teacher: keras.Model | None = None,
) -> Result:
    """Trains a model by a recipe. With a `directory`, a second call continues a training that was stopped or killed.

    A training that has finished goes on if the second call has more epochs and is the same otherwise. The learning rate
    then follows the schedule of all epochs, so the result is not that of so many epochs in one call.

    A model that was built under `keras_resnet.training.distribution.devices` is trained on those devices. Number of
    steps and result are the same as on one device: `batch_size` counts the images on all devices together.

    The result is in `model`: the weights of the epoch with the best accuracy on the validation images; without
    validation images the weights of the last epoch. With `ema_decay` these weights are the moving average.

    Args:
        model: a model that takes square images (N, H, W, C) with fixed sides, or with sides of None if the recipe has
            `train_sizes`. Its output is a softmax, a sigmoid or logits (N, classes).
        recipe: your own recipe, one of `RECIPES`, or its name. With `precision="auto"`, steps are timed in each type
            before the training, the quickest is taken, and the log (level INFO) has the figures; a training in
            `directory` that continues keeps its type. A typed precision that is slower than float32 is warned of: from
            100 steps on, one convolution is timed for that, and from 1,000 steps on, steps of the network.
        train: the training images. A `Split`; or what `keras.Model.fit` takes: a pair (x, y) of arrays or tensors, or
            a `tf.data.Dataset` of such pairs, in batches or not, for example from
            `keras.utils.image_dataset_from_directory`. x is (N, H, W, C), uint8 or numbers from 0 to 255: raw pixels,
            of which fractions are rounded. y is integers (N,) or (N, 1), or one-hot (N, classes). The batches are
            those of the recipe. A dataset is read again in each epoch; if it does not state its size, it is counted.
        validation: images for validation after each epoch, as `train`, which choose the best epoch; do not give the
            test images. None: the `validation_split` of the recipe is held out of `train`; if that is 0, there is no
            validation.
        callbacks: Keras callbacks. A callback that saves the model saves a plain Keras model. A callback that sets
            `stop_training` ends the training; a second call does not continue it. Checkpoints do not contain the state
            of callbacks.
        directory: the directory for history.csv and checkpoints, which are saved after each epoch and on SIGTERM and
            Ctrl-C; None: nothing is saved.
        teacher: a model whose answers are learned too (distillation), of raw pixels, with the classes of `train` in the
            same order. The recipe's `distillation_weight` and `distillation_temperature` say how much. It takes images
            of any size; it does not change. None: only the labels are learned.

    Returns:
        The result; `history` is that of Keras, with the epochs before the training was resumed.

    Raises:
        ValueError: the model does not fit the images or classes of the split; there are fewer than two classes; images
            are not raw pixels; a file is not a readable image; a dataset has another order in each iteration, and
            images are held out of it or `directory` is given; `directory` holds a training with other settings;
            another process trains in it; `teacher` has other classes or channels; the recipe is not possible on several
            devices; or it needs validation images (`early_stopping`) or blocks with known names (`layer_decay`,
            `unfreeze_epochs`), and there are none.
        TypeError: `train` or `validation` is something else.
        DivergedError: the loss or a weight is not finite any more; a `ValueError`.
        Stopped: SIGTERM or Ctrl-C ended the training, after saving; a `KeyboardInterrupt`.

    Example:
        >>> import keras_resnet as kr
        >>> model = kr.ResNet20(input_shape=(32, 32, 1))
        >>> digits = kr.data.load("digits", "train")
        >>> kr.training.fit(model, kr.training.RECIPES["one_cycle"], digits)  # doctest: +SKIP
        >>> kr.training.fit(model, "one_cycle", (x, y), validation=(xv, yv))  # doctest: +SKIP
    """
    recipe = recipe_named(recipe)
    train, validation = prepare_splits(model, recipe, train, validation, teacher)
    path = None if directory is None else Path(directory)
    choice = settle_precision(model, recipe, train, precision_before(path), teacher)
    recipe = dataclasses.replace(recipe, precision=choice.precision)
    return fit_prepared(model, recipe, train, validation, callbacks, path, teacher)


def settle_precision(
    model: keras.Model, recipe: Recipe, train: Split, before: str | None, teacher: keras.Model | None = None
) -> Choice:
    """The precision of a training: the quickest one for `precision="auto"`. Warns of one that is slower than float32.

    Args:
        model, recipe: as for `fit`; the weights do not change.
        train: the training images, which are not read.
        before: precision of the training that continues, which "auto" takes without a measurement; None if it is a new
            one.
        teacher: as for `fit`.
    """
    sizes, where = ImageSizes.for_model(model, recipe), placement_of(model)
    steps = steps_per_epoch(train, recipe.batch_size)
    total = recipe.epochs_of(steps) * steps

    def compiled_for(recipe: Recipe) -> contextlib.AbstractContextManager[None]:
        return compiled(model, recipe, train, total, where, teacher)

    return settle(model, recipe, (train.size, max(sizes.train)), where, compiled_for, total, before)


def fit_prepared(
    model: keras.Model,
    recipe: Recipe,
    train: Split,
    validation: Split | None,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    directory: Path | None = None,
    teacher: keras.Model | None = None,
) -> Result:
    """`fit`, after its checks.

    Args:
        model, callbacks, directory, teacher: as in `fit`.
        recipe: how to train; its precision is not "auto".
        train, validation: what `prepare_splits` returns.
    """
    sizes, where = ImageSizes.for_model(model, recipe), placement_of(model)
    if directory is not None or where.processes > 1:
        # A training that continues skips the images that it has used, and each process those of the others.
        train.check_order("train without a directory, in one process")
    steps = steps_per_epoch(train, recipe.batch_size)
    epochs = recipe.epochs_of(steps)
    keras.utils.set_random_seed(recipe.seed)

    with contextlib.ExitStack() as stack:
        stack.enter_context(compiled(model, recipe, train, epochs * steps, where, teacher))
        if directory is not None and where.process == 0:
            stack.enter_context(exclusive(directory / CHECKPOINTS, "training"))
        begin_phase = stack.enter_context(gradual_unfreezing(model, recipe, steps))
        settings = settings_of(model, recipe, train, validation, teacher)
        resume = ResumeCallback(model, settings, steps, directory, where)
        resume.restore()
        validation_data = None
        if validation is not None:
            total, validation = validation.size, validation.shard(*where.shard)
            validation_data = validation_batches(validation, total, recipe, sizes, where)
        stack.enter_context(resume.stop_on_signals())
        stack.enter_context(name_corrupt_files(train, *([validation] if validation else [])))
        # If corrupt images are skipped, the number of validation images is unknown until the validation ends.
        stack.enter_context(warnings.catch_warnings())
        warnings.filterwarnings("ignore", "Your input ran out of data")

        def batches_from(step: int) -> tf.data.Dataset:
            return training_batches(train, recipe, sizes, where, step, epochs * steps)

        run_epochs(resume, epochs, batches_from, callbacks, [EvaluateAverage()], validation_data, begin_phase)
        last_weights = resume.finish()
    state = resume.state
    return Result(state.history, state.best_epoch, state.seconds, last_weights)


def check_continues(
    model: keras.Model,
    recipe: Recipe,
    train: Split,
    validation: Split | None,
    directory: Path,
    teacher: keras.Model | None,
) -> None:
    """Raises a `ValueError` unless `fit` can go on from a checkpoint in a directory. No file changes.

    Args:
        model: the model for `fit`; it is compiled.
        recipe: the recipe for `fit`.
        train, validation: what `prepare_splits` returns.
        directory: the directory for `fit`.
        teacher: the teacher for `fit`.
    """
    steps = steps_per_epoch(train, recipe.batch_size)
    compile_for(model, recipe, train, recipe.epochs_of(steps) * steps)
    settings = settings_of(model, recipe, train, validation, teacher)
    if ResumeCallback(model, settings, steps, directory, placement_of(model)).saved is None:
        raise ValueError(
            f"{printable(directory / CHECKPOINTS)} must hold a checkpoint, from which the training goes on. "
            "Received: none"
        )


def prepare_splits(
    model: keras.Model,
    recipe: Recipe,
    train: Data,
    validation: Data | None = None,
    teacher: keras.Model | None = None,
) -> tuple[Split, Split | None]:
    """The images for training and validation, after all checks that are possible before a training.

    Args:
        model, recipe, train, validation, teacher: as in `fit`.

    Returns:
        Training and validation images, with the channels of the model. Without `validation`, both are parts of
        `train` if the recipe has a `validation_split`.

    Raises:
        ValueError, TypeError: an argument is wrong, see `fit`.
    """
    train, validation = as_splits(train, validation, output_count(model))
    train = in_channels_of(model, train)
    if len(train.classes) < 2:
        raise ValueError(f"train must have at least two classes. Received: {train.classes}")
    if validation is not None:
        if validation.classes != train.classes:
            raise ValueError(
                f"validation must have the classes of train, {_few(train.classes)}. "
                f"Received: {_few(validation.classes)}"
            )
        validation = in_channels_of(model, validation)
    elif recipe.validation_split:
        train.check_order("give the validation images yourself")
        try:
            train, validation = train.hold_out(recipe.validation_split, recipe.seed)
        except ValueError as error:
            raise ValueError(
                "validation_split must leave images for training and for validation; 0 holds out none. "
                f"Received: validation_split={recipe.validation_split}, {train.size} training images of "
                f"{len(train.classes)} classes"
            ) from error
    if recipe.early_stopping and validation is None:
        raise ValueError(
            "early_stopping must be 0 without validation images, whose accuracy decides; give some, or a "
            f"validation_split above 0. Received: early_stopping={recipe.early_stopping}, validation_split=0"
        )
    if recipe.balanced_sampling:
        train = with_all_classes_alike(train)
    outputs(model, train)
    check_repeated_augmentation(recipe.repeated_augmentation, recipe.batch_size)
    ImageSizes.for_model(model, recipe)
    check_recipe(recipe, train.size, placement_of(model))
    if teacher is not None:
        check_teacher(teacher, model, train, placement_of(model))
    steps = steps_per_epoch(train, recipe.batch_size)
    if (total := steps * recipe.epochs_of(steps)) < recipe.gradient_accumulation_steps:
        raise ValueError(
            f"gradient_accumulation_steps must be at most {total}, the number of training steps. "
            f"Received: gradient_accumulation_steps={recipe.gradient_accumulation_steps}"
        )
    return train, validation


def as_splits(train: Data, validation: Data | None, count: int) -> tuple[Split, Split | None]:
    """Training and validation images as `Split`s with the same classes.

    Args:
        train, validation: as in `fit`.
        count: number of classes, if neither of the two has names of classes.

    Raises:
        ValueError, TypeError: see `fit`.
    """
    classes = names_of(train) or names_of(validation) or numbered(count)
    train = as_split("train", train, classes)
    return train, None if validation is None else as_split("validation", validation, classes)


def _few(classes: Sequence[str]) -> str:
    """The classes for an error; there may be thousands."""
    return f"{', '.join(classes[:10])}{f' and {len(classes) - 10} more' if len(classes) > 10 else ''}"
