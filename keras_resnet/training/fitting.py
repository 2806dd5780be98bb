"""Fitting a model to a split by a recipe."""

from __future__ import annotations

import contextlib
import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np

from keras_resnet._internal.keras_graph import forget_compile_arguments
from keras_resnet.data import Split, steps_per_epoch
from keras_resnet.data.corrupt import name_corrupt_files
from keras_resnet.evaluation.accuracy import check_channels, outputs
from keras_resnet.runtime.remat import remat_blocks
from keras_resnet.runtime.train_mode import train_mode
from keras_resnet.training import checkpoints
from keras_resnet.training.batches import Sides, training_batches, validation_batches
from keras_resnet.training.distribution import check, clip_gradients_of_all_devices, place, synchronized_batch_norm
from keras_resnet.training.ema import EvaluateAverage, create_average_statistics
from keras_resnet.training.losses import LOSSES
from keras_resnet.training.optimizers import optimizer
from keras_resnet.training.recipe import Recipe
from keras_resnet.training.resuming import CHECKPOINTS, LearningRateInLogs, ResumeCallback
from keras_resnet.training.schedules import schedule


class Result(NamedTuple):
    """What came of a training.

    Attributes:
        history: loss, accuracy, val_loss, val_accuracy and learning_rate by epoch.
        best_epoch: from 1, if one was chosen.
        seconds: of training and validation, those before a resume too.
        last_weights: of the last epoch, as `model.set_weights` takes them.
    """

    history: dict[str, list[float]]
    best_epoch: int | None
    seconds: float
    last_weights: list[np.ndarray]


def fit(
    model: keras.Model,
    recipe: Recipe,
    train: Split,
    validation: Split | None = None,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    directory: str | os.PathLike[str] | None = None,
) -> Result:
    """Trains a model by a recipe; with a `directory`, what was stopped or killed goes on when it is called again.

    A model that was built under `keras_resnet.training.distribution.devices` is trained on those devices, in as many
    steps and with the same result as on one: `batch_size` is of all together.

    The model itself is the result. With `validation_split` in the recipe it has the weights of the epoch with the best
    accuracy on the images held out of `train`, otherwise those of the last epoch. With `ema_decay` these are the moving
    average of the weights.

    Args:
        model: takes square images (N, H, W, C) with fixed sides, or with sides of None if the recipe has `train_sizes`;
            ends in a softmax, a sigmoid or logits (N, classes).
        recipe: one of `RECIPES`, or your own.
        train: what to learn from.
        validation: measured after each epoch, for the curves; nothing is chosen by it. None with `validation_split`.
        callbacks: Keras callbacks. What they save is a plain Keras model; one that sets `stop_training` ends the
            training, for good. What they remember themselves is not in the checkpoints.
        directory: for checkpoints, after each epoch and on SIGTERM and Ctrl-C, and for history.csv; or None.

    Returns:
        What came of it; `history` is as Keras has it, with the epochs before a resume.

    Raises:
        ValueError: the model does not fit the split's images or classes, those are fewer than two, a file is no
            readable image, `directory` holds a training with other settings, another process trains in it, or the
            recipe cannot be followed on several devices; or, as `DivergedError`, the loss is no finite number any more.
        KeyboardInterrupt: as `Stopped`, on SIGTERM or Ctrl-C, after saving.

    Example:
        >>> import keras_resnet as kr
        >>> model = kr.ResNet20(input_shape=(32, 32, 1))
        >>> digits = kr.data.load("digits", "train")
        >>> kr.training.fit(model, kr.training.RECIPES["one_cycle"], digits)  # doctest: +SKIP
    """
    train, validation = parts(model, recipe, train, validation)
    sides, where = Sides.of(model, recipe), place(model)
    steps = steps_per_epoch(train, recipe.batch_size)
    epochs = recipe.epochs_of(steps)
    keras.utils.set_random_seed(recipe.seed)

    with contextlib.ExitStack() as stack:
        stack.enter_context(synchronized_batch_norm(model, where))
        stack.enter_context(train_mode(model, recipe.precision))
        if recipe.remat:
            stack.enter_context(remat_blocks(model))
        _compile(model, recipe, epochs * steps)
        if where.devices > 1 and keras.backend.backend() == "tensorflow":
            clip_gradients_of_all_devices(model.optimizer)
        if directory is not None and where.process == 0:
            stack.enter_context(checkpoints.exclusive(Path(directory) / CHECKPOINTS))
        resume = ResumeCallback(model, recipe, train, steps, None if directory is None else Path(directory), where)
        state = resume.state
        listeners = CallbacksOfSeveralFits(
            [EvaluateAverage(), LearningRateInLogs(), *callbacks, resume],
            add_history=True,  # Keras' fit returns it
            model=model,
            epochs=epochs,
            steps=steps,
            verbose=0,
        )
        checks = None
        if validation is not None:
            total, validation = validation.size, validation.shard(*where.shard)
            checks = validation_batches(validation, total, recipe, sides, where)
        stack.enter_context(resume.stop_on_signals())
        stack.enter_context(name_corrupt_files(train, *([validation] if validation else [])))
        # How many images a validation gives is not known before it ends, where corrupt ones are skipped.
        stack.enter_context(warnings.catch_warnings())
        warnings.filterwarnings("ignore", "Your input ran out of data")
        listeners.begin()
        while state.epoch < epochs and not state.ended:
            # What is left of an epoch that was stopped in its middle is a fit of its own.
            until = state.epoch + 1 if state.step else epochs
            model.fit(
                training_batches(train, recipe, sides, where, state.epoch * steps + state.step, epochs * steps),
                initial_epoch=state.epoch,
                epochs=until,
                steps_per_epoch=steps - state.step,
                validation_data=checks,
                callbacks=listeners,
                verbose=0,
                shuffle=False,
            )
        listeners.end()
        last = resume.finish()
    return Result(state.history, state.best_epoch, state.seconds, last)


def parts(model: keras.Model, recipe: Recipe, train: Split, validation: Split | None) -> tuple[Split, Split | None]:
    """What `fit` learns from and what it measures by, after every check that can be made before a training.

    Raises:
        ValueError: see `fit`.
    """
    check_channels(model, train)
    if len(train.classes) < 2:
        raise ValueError(f"train must have at least two classes. Received: {train.classes}")
    if recipe.validation_split:
        if validation is not None:
            raise ValueError(
                f"validation must be None where the recipe has validation_split. Received: {recipe.validation_split}"
            )
        train, validation = train.hold_out(recipe.validation_split, recipe.seed)
    outputs(model, train)
    Sides.of(model, recipe)
    check(recipe, train.size, place(model))
    steps = steps_per_epoch(train, recipe.batch_size)
    if (total := steps * recipe.epochs_of(steps)) < recipe.gradient_accumulation_steps:
        raise ValueError(
            f"gradient_accumulation_steps must be at most {total}, the number of steps. "
            f"Received: {recipe.gradient_accumulation_steps}"
        )
    return train, validation


class CallbacksOfSeveralFits(keras.callbacks.CallbackList):
    """Callbacks for which several calls of Keras' `fit` are one training: TensorBoard's, say, ends for good."""

    def begin(self) -> None:
        """The training begins."""
        super().on_train_begin()

    def end(self) -> None:
        """The training is over."""
        super().on_train_end()

    def on_train_begin(self, logs: Any = None) -> None:
        """A call of `fit` begins."""

    def on_train_end(self, logs: Any = None) -> None:
        """A call of `fit` is over."""


def _compile(model: keras.Model, recipe: Recipe, steps: int) -> None:
    model.compile(
        optimizer=optimizer(
            recipe, schedule(recipe, steps // recipe.gradient_accumulation_steps), model.trainable_variables
        ),
        loss=LOSSES[recipe.loss](),
        weighted_metrics=[keras.metrics.CategoricalAccuracy(name="accuracy")],
        auto_scale_loss=False,  # float16 has its own scaling from `optimizer`
        # On TensorFlow's CPU, XLA halves the speed (measured on ResNet-20); JAX always compiles.
        jit_compile="auto" if keras.backend.backend() != "tensorflow" else False,
    )
    # The recipe's optimizer is of this package: with it in the file no model that is saved would load in plain Keras.
    forget_compile_arguments(model)
    create_average_statistics(model)
    # Keras would put the average in place of the weights whenever its `fit` ends, which here is no end of training.
    model.optimizer.__dict__["finalize_variable_values"] = lambda variables: None
