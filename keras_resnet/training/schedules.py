"""Learning rate schedules: a linear warm-up, then a schedule of Keras."""

from __future__ import annotations

from typing import Any

import keras
from keras.optimizers.schedules import CosineDecay, LearningRateSchedule, PiecewiseConstantDecay

from keras_resnet.training.recipe import BaseRecipe, Recipe


class WarmUp(LearningRateSchedule):
    """A linear warm-up from zero, followed by another schedule.

    Args:
        peak: learning rate at the end of the warm-up.
        steps: number of steps of the warm-up.
        then: schedule after the warm-up; its step 0 is the first step after the warm-up.
    """

    def __init__(self, peak: float, steps: int, then: LearningRateSchedule) -> None:
        self.peak, self.steps, self.then = peak, steps, then

    def __call__(self, step: Any) -> Any:
        step = keras.ops.cast(step, "float32")
        rising = self.peak * step / max(self.steps, 1)
        return keras.ops.where(step < self.steps, rising, self.then(keras.ops.maximum(step - self.steps, 0.0)))

    def get_config(self) -> dict[str, Any]:
        return {"peak": self.peak, "steps": self.steps, "then": self.then}


def cosine(recipe: BaseRecipe, steps: int, warmup: int) -> LearningRateSchedule:
    """Half a cosine from the highest rate to zero (arXiv:1608.03983)."""
    return CosineDecay(recipe.learning_rate, max(steps - warmup, 1))


def stepwise(recipe: BaseRecipe, steps: int, warmup: int) -> LearningRateSchedule:
    """Divides the rate by 10 after each milestone; milestones are fractions of the whole training."""
    # Keras needs at least one boundary, so the end of the training is added.
    boundaries = [round(fraction * steps) - warmup for fraction in (*recipe.milestones, 1)]
    rates = [recipe.learning_rate * 0.1**number for number in range(len(boundaries) + 1)]
    return PiecewiseConstantDecay(boundaries, rates)


# Schedules after the warm-up; the training has `steps` steps, and the warm-up is the first `warmup` of them.
SCHEDULES = {"cosine": cosine, "steps": stepwise}


def schedule(recipe: Recipe, steps: int) -> WarmUp:
    """The learning rate schedule of a recipe.

    Args:
        recipe: gives the highest rate, the warm-up and the schedule.
        steps: number of steps of the training.

    Returns:
        A Keras schedule, a function of the number of the step.

    Example:
        >>> from keras_resnet.training import Recipe
        >>> from keras_resnet.training.schedules import schedule
        >>> rate = schedule(Recipe(learning_rate=0.5, warmup=0.5), 4)
        >>> [round(float(rate(step)), 2) for step in range(4)]
        [0.0, 0.25, 0.5, 0.25]
    """
    return with_warm_up(recipe, steps, round(recipe.warmup * steps))


def with_warm_up(recipe: BaseRecipe, steps: int, warmup: int) -> WarmUp:
    """The learning rate schedule of a recipe of any kind.

    Args:
        recipe: gives the highest rate and the schedule.
        steps: number of steps of the training.
        warmup: how many of them, the first ones, are the warm-up.

    Returns:
        A Keras schedule, a function of the number of the step.
    """
    return WarmUp(recipe.learning_rate, warmup, SCHEDULES[recipe.schedule](recipe, steps, warmup))
