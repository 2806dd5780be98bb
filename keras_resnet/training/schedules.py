"""Learning rates by step: a linear warm-up, then one of Keras' schedules."""

from __future__ import annotations

from typing import Any

import keras
from keras.optimizers.schedules import CosineDecay, LearningRateSchedule, PiecewiseConstantDecay

from keras_resnet.training.recipe import Recipe


class WarmUp(LearningRateSchedule):
    """Climbs in a straight line for `steps` steps, then is `then`, whose first step is the first after that."""

    def __init__(self, peak: float, steps: int, then: LearningRateSchedule) -> None:
        self.peak, self.steps, self.then = peak, steps, then

    def __call__(self, step: Any) -> Any:
        step = keras.ops.cast(step, "float32")
        climbing = self.peak * step / max(self.steps, 1)
        return keras.ops.where(step < self.steps, climbing, self.then(keras.ops.maximum(step - self.steps, 0.0)))

    def get_config(self) -> dict[str, Any]:
        return {"peak": self.peak, "steps": self.steps, "then": self.then}


def cosine(recipe: Recipe, steps: int, warmup: int) -> LearningRateSchedule:
    """Half a cosine from the peak to zero (arXiv:1608.03983)."""
    return CosineDecay(recipe.learning_rate, max(steps - warmup, 1))


def stepwise(recipe: Recipe, steps: int, warmup: int) -> LearningRateSchedule:
    """A tenth of it after each of the recipe's milestones, which are shares of the whole training."""
    # Keras wants one boundary at least: the end is none of the recipe's.
    boundaries = [round(share * steps) - warmup for share in (*recipe.milestones, 1)]
    rates = [recipe.learning_rate * 0.1**fall for fall in range(len(boundaries) + 1)]
    return PiecewiseConstantDecay(boundaries, rates)


# What follows the warm-up, in a training of `steps` updates of which it takes `warmup`.
SCHEDULES = {"cosine": cosine, "steps": stepwise}


def schedule(recipe: Recipe, steps: int) -> WarmUp:
    """The learning rate of a training of `steps` updates."""
    warmup = round(recipe.warmup * steps)
    return WarmUp(recipe.learning_rate, warmup, SCHEDULES[recipe.schedule](recipe, steps, warmup))
