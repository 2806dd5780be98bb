"""Optimizers with the weight decay that the recipes were published with: on kernels only, never batch norm or bias.

Goyal et al. 2017 (arXiv:1706.02677) and He et al. 2018 (arXiv:1812.01187) leave those out. Which variables decay is
told by their shape and set anew whenever an optimizer is made, so that it is the same after a resume; Keras' own list
is lost when an optimizer is saved.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import keras
from keras import ops

from keras_resnet._internal.keras_graph import moments_of_lamb
from keras_resnet.training.recipe import Recipe

Optimizer: TypeAlias = keras.optimizers.Optimizer


def decays(variable: Any) -> bool:
    """Whether weight decay is on a variable: kernels have two dimensions or more, scales and biases one."""
    return len(variable.shape) > 1


class SGD(keras.optimizers.SGD):
    """Weight decay is the gradient of an L2 penalty, as in torch; that of Keras' own stays outside of the momentum."""

    def __init__(self, *, penalty: float, **options: Any) -> None:
        super().__init__(**options)
        self.penalty = penalty

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """One step for one variable."""
        if decays(variable):
            gradient = ops.cast(gradient, variable.dtype) + self.penalty * variable
        super().update_step(gradient, variable, learning_rate)


class Lamb(keras.optimizers.Lamb):
    """LAMB (arXiv:1904.00962) as timm trains with it: the decay inside of the trust ratio, and both on kernels only."""

    def __init__(self, *, penalty: float, **options: Any) -> None:
        super().__init__(**options)
        self.penalty = penalty

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """One step for one variable."""
        kind, step = variable.dtype, self.iterations + 1
        gradient = ops.cast(gradient, kind)
        mean, square = moments_of_lamb(self, variable)
        self.assign_add(mean, (1 - self.beta_1) * (gradient - mean))
        self.assign_add(square, (1 - self.beta_2) * (ops.square(gradient) - square))
        unbiased = [
            moment / (1 - ops.power(ops.cast(beta, kind), ops.cast(step, kind)))
            for moment, beta in ((mean, self.beta_1), (square, self.beta_2))
        ]
        update = unbiased[0] / (ops.sqrt(unbiased[1]) + self.epsilon)
        if decays(variable):
            update = update + self.penalty * variable
            size, length = (ops.sqrt(ops.sum(ops.square(x))) for x in (variable, update))
            trust = ops.where((size > 0) & (length > 0), size / ops.maximum(length, keras.config.epsilon()), 1.0)
            update = trust * update
        self.assign_sub(variable, ops.cast(learning_rate, kind) * update)


def sgd(recipe: Recipe, rate: Any, common: dict[str, Any]) -> Optimizer:
    """Stochastic gradient descent with momentum, Nesterov's or plain."""
    options = {"momentum": recipe.momentum, "nesterov": recipe.nesterov, **common}
    return SGD(learning_rate=rate, penalty=recipe.weight_decay, **options)


def adamw(recipe: Recipe, rate: Any, common: dict[str, Any]) -> Optimizer:
    """Adam with decoupled weight decay (arXiv:1711.05101)."""
    return keras.optimizers.AdamW(learning_rate=rate, weight_decay=recipe.weight_decay, epsilon=1e-8, **common)


def lamb(recipe: Recipe, rate: Any, common: dict[str, Any]) -> Optimizer:
    """LAMB with timm's epsilon."""
    return Lamb(learning_rate=rate, penalty=recipe.weight_decay, epsilon=1e-6, **common)


def innermost(optimizer: Optimizer) -> Optimizer:
    """The one that steps, where another scales the loss for it."""
    return getattr(optimizer, "inner_optimizer", optimizer)


OPTIMIZERS: dict[str, Callable[[Recipe, Any, dict[str, Any]], Optimizer]] = {"sgd": sgd, "adamw": adamw, "lamb": lamb}


def optimizer(recipe: Recipe, rate: Any, variables: Sequence[Any]) -> Optimizer:
    """The optimizer of a recipe.

    Args:
        recipe: gives its name and its options.
        rate: the learning rate, a number or a schedule by update.
        variables: the trainable variables of the model.

    Returns:
        A Keras optimizer, not yet built.
    """
    common = {
        "global_clipnorm": recipe.clip_norm,
        "gradient_accumulation_steps": recipe.gradient_accumulation_steps
        if recipe.gradient_accumulation_steps > 1
        else None,
        "use_ema": recipe.ema_decay > 0,
        # Of a step; Keras averages at those that only accumulate too.
        "ema_momentum": recipe.ema_decay ** (1 / recipe.gradient_accumulation_steps),
    }
    made = OPTIMIZERS[recipe.optimizer](recipe, rate, common)
    made.exclude_from_weight_decay(var_list=[variable for variable in variables if not decays(variable)])
    # Keras would add a scaling of its own, which a resume under another policy loses; and only float16 needs one.
    return keras.optimizers.LossScaleOptimizer(made) if recipe.precision == "float16" else made
