"""`find_rate`: proposes a learning rate after a short training in which it rises (Smith 2017, arXiv:1506.01186)."""

from __future__ import annotations

import contextlib
import dataclasses
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import keras
import numpy as np
from keras.optimizers.schedules import ExponentialDecay

from keras_resnet._internal.validation import integer
from keras_resnet.data import steps_per_epoch
from keras_resnet.data.as_split import Data
from keras_resnet.runtime.restoring import restored_variables
from keras_resnet.training.fitting import fit, prepare_splits
from keras_resnet.training.optimizers import innermost
from keras_resnet.training.recipe import Recipe
from keras_resnet.training.recipes import recipe_named
from keras_resnet.training.resuming import DivergedError

# The lowest and the highest rate. With more than five decades, 100 steps are too few for a loss that falls visibly.
RANGES = {"sgd": (1e-4, 10.0), "adam": (1e-5, 1.0), "adamw": (1e-5, 1.0), "lamb": (1e-5, 1.0)}
# fastai smooths with 0.98, which delays the minimum by half of 100 steps.
SMOOTHING = 0.9
DIVERGED = 4  # as in fastai: the training ends at so many times the lowest smoothed loss
SKIPPED = 10  # as in fastai: the first tenth of the steps is not looked at, because the average has too few losses
FALL = 0.99  # a loss that stays above this part of its first value does not fall


class RateCurve(NamedTuple):
    """The loss of a short training in which the learning rate rises, and the rate that follows from it.

    Attributes:
        rates: learning rate of each update.
        losses: loss of the batches of each update.
        smoothed: moving average of `losses`.
        proposal: a tenth of the rate at the lowest smoothed loss, with two digits.
    """

    rates: list[float]
    losses: list[float]
    smoothed: list[float]
    proposal: float


def find_rate(
    model: keras.Model,
    recipe: Recipe | str,
    train: Data,
    validation: Data | None = None,
    steps: int = 100,
    teacher: keras.Model | None = None,
) -> RateCurve:
    """Proposes the highest learning rate of a recipe, for its optimizer, batches, augmentation, loss and precision.

    Trains for a few steps while the rate rises exponentially (Smith 2017, arXiv:1506.01186): from 0.0001 to 10 for sgd,
    and from 0.00001 to 1 for the other optimizers. It ends before if the loss is four times the lowest one (fastai).
    The proposal is a tenth of the rate at which the smoothed loss is lowest, which is the rule `minimum` of fastai's
    `lr_find`: at the minimum itself the loss is about to rise. The first tenth of the steps does not count. The weights
    of `model` do not change.

    Args:
        model, recipe, train, validation: as for `kr.training.fit`. The validation images are not used; without them the
            recipe's `validation_split` is held out. `learning_rate`, `schedule`, `warmup` and `unfreeze_epochs` of the
            recipe do not matter: all layers are trained that are not frozen.
        steps: number of updates, at least 20. Small data is used in several epochs.
        teacher: as for `kr.training.fit`.

    Returns:
        The proposal, and the curve from which it follows.

    Raises:
        ValueError: as `fit`; or the loss does not fall at any rate.
        TypeError: as `fit`, or `steps` is not an integer.

    Example:
        >>> import keras_resnet as kr
        >>> model = kr.ResNet20(input_shape=(32, 32, 1))
        >>> digits = kr.data.load("digits", "train")
        >>> kr.training.find_rate(model, "one_cycle", digits).proposal  # doctest: +SKIP
        0.11
    """
    recipe = recipe_named(recipe)
    integer("steps", steps, 20)
    train, _ = prepare_splits(model, recipe, train, validation, teacher)
    repeats, epoch = recipe.gradient_accumulation_steps, steps_per_epoch(train, recipe.batch_size)
    short = dataclasses.replace(
        recipe,
        epochs=-(-steps * repeats // epoch),
        iterations=0,
        train_sizes=recipe.train_sizes[:1],
        validation_split=0.0,
        early_stopping=0,
        unfreeze_epochs=0,  # the rate is that of the whole network
    )
    rising = _RisingRate(*RANGES[recipe.optimizer], steps, repeats)
    with restored_variables(model), contextlib.suppress(DivergedError):  # the end of the curve
        fit(model, short, train, callbacks=[rising], teacher=teacher)
    return rising.curve()


class _RisingRate(keras.callbacks.Callback):
    """Replaces the schedule of a training by a rate that rises exponentially, and ends the training.

    Args:
        lowest, highest: rates of the first and the last update.
        updates: number of updates, at least 2.
        repeats: number of steps of an update.
    """

    def __init__(self, lowest: float, highest: float, updates: int, repeats: int) -> None:
        super().__init__()
        self.repeats, self.steps = repeats, updates * repeats
        self.rate = ExponentialDecay(lowest, self.steps - 1, highest / lowest)
        self.losses: list[float] = []  # of each step
        self.sum = 0.0  # of the losses of the epoch

    def on_train_begin(self, logs: Any = None) -> None:
        """Replaces the schedule."""
        innermost(self.model.optimizer).learning_rate = self.rate

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Keras' mean of the losses begins anew."""
        self.sum = 0.0

    def on_train_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Records the loss of the step, and ends the training after the last step or if the loss diverges."""
        total = float((logs or {})["loss"]) * (batch + 1)
        loss, self.sum = total - self.sum, total
        if math.isfinite(loss):
            self.losses.append(loss)
        smoothed = _smoothed(self._updates())
        diverged = not math.isfinite(loss) or (smoothed and smoothed[-1] > DIVERGED * min(smoothed))
        if diverged or len(self.losses) == self.steps:
            self.model.stop_training = True

    def _updates(self) -> list[float]:
        """The mean loss of each whole update."""
        whole = len(self.losses) // self.repeats * self.repeats
        return np.reshape(self.losses[:whole], (-1, self.repeats)).mean(1).tolist()

    def curve(self) -> RateCurve:
        """The curve and the proposal.

        Raises:
            ValueError: the smoothed loss does not fall.
        """
        losses = self._updates()
        last_steps = (np.arange(len(losses)) + 1) * self.repeats - 1  # the steps that update the weights
        rates = [float(self.rate(step)) for step in last_steps]
        smoothed = _smoothed(losses)
        first = self.steps // self.repeats // SKIPPED
        best = first + int(np.argmin(smoothed[first:])) if len(smoothed) > first else None
        if best is None or smoothed[best] > FALL * smoothed[first]:
            raise ValueError(
                "the loss must fall at some learning rate, so that one can be proposed; a larger batch_size or less "
                f"augmentation may help. Received: {len(losses)} steps with losses from "
                f"{min(losses, default=math.nan):.3g} to {max(losses, default=math.nan):.3g}"
            )
        return RateCurve(rates, losses, smoothed, float(f"{rates[best] / 10:.2g}"))


def _smoothed(values: list[float]) -> list[float]:
    """The exponential moving average of values, without its bias to zero.

    Example:
        >>> from keras_resnet.training.rate_finder import _smoothed
        >>> [round(value, 2) for value in _smoothed([1.0, 1.0, 3.0])]
        [1.0, 1.0, 1.74]
    """
    average, smoothed = 0.0, []
    for number, value in enumerate(values, 1):
        average = SMOOTHING * average + (1 - SMOOTHING) * value
        smoothed.append(average / (1 - SMOOTHING**number))
    return smoothed
