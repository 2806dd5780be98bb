"""Optimizers with the weight decay of the published recipes: on kernels only, and not on batch norm and biases.

Goyal et al. 2017 (arXiv:1706.02677) and He et al. 2018 (arXiv:1812.01187) use no decay for batch norm and biases. The
shape of a variable tells whether it decays, so it is the same after a training is resumed. Keras has a list of
variables without decay, but loses it when an optimizer is saved.

Each class takes the rate of a variable as the argument of `update_step`, for weight decay too.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import keras
from keras import ops

from keras_resnet._internal.keras_graph import index_of, moments_of
from keras_resnet.training.recipe import BaseRecipe

Optimizer: TypeAlias = keras.optimizers.Optimizer


def decays(variable: Any) -> bool:
    """Whether a variable has weight decay: kernels have two dimensions or more; scales and biases have one."""
    return len(variable.shape) > 1


class SGD(keras.optimizers.SGD):
    """SGD with weight decay as the gradient of an L2 penalty, as in torch: the momentum includes it.

    In Keras' own SGD the momentum does not include the weight decay.

    Args:
        penalty: factor of the weight decay.
        options: arguments of `keras.optimizers.SGD`.
    """

    def __init__(self, *, penalty: float, **options: Any) -> None:
        super().__init__(**options)
        self.penalty = penalty

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """Updates one variable."""
        if decays(variable):
            gradient = ops.cast(gradient, variable.dtype) + self.penalty * variable
        super().update_step(gradient, variable, learning_rate)


class Adam(keras.optimizers.Adam):
    """Adam with weight decay as the gradient of an L2 penalty, as in torch: the moments include it.

    In Keras' own Adam the moments do not include the weight decay, which makes it AdamW.

    Args:
        penalty: factor of the weight decay.
        options: arguments of `keras.optimizers.Adam`.
    """

    def __init__(self, *, penalty: float, **options: Any) -> None:
        super().__init__(**options)
        self.penalty = penalty

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """Updates one variable."""
        gradient = ops.cast(gradient, variable.dtype)
        if decays(variable):
            gradient = gradient + self.penalty * variable
        update = adam_update(self, gradient, variable)
        self.assign_sub(variable, ops.cast(learning_rate, variable.dtype) * update)


class AdamW(Adam):
    """Adam with decoupled weight decay (arXiv:1711.05101), which is in proportion to the learning rate as in torch.

    Keras' own AdamW computes the decay from the rate of the schedule, so all variables would have that rate.
    """

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """Updates one variable."""
        update = adam_update(self, ops.cast(gradient, variable.dtype), variable)
        if decays(variable):
            update = update + self.penalty * variable
        self.assign_sub(variable, ops.cast(learning_rate, variable.dtype) * update)


class Lamb(keras.optimizers.Lamb):
    """LAMB (arXiv:1904.00962) as in timm: the trust ratio includes the weight decay; both apply to kernels only.

    Args:
        penalty: factor of the weight decay.
        options: arguments of `keras.optimizers.Lamb`.
    """

    def __init__(self, *, penalty: float, **options: Any) -> None:
        super().__init__(**options)
        self.penalty = penalty

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """Updates one variable."""
        update = adam_update(self, ops.cast(gradient, variable.dtype), variable)
        if decays(variable):
            update = update + self.penalty * variable
            weight_norm, update_norm = (ops.sqrt(ops.sum(ops.square(x))) for x in (variable, update))
            trust = ops.where(
                (weight_norm > 0) & (update_norm > 0),
                weight_norm / ops.maximum(update_norm, keras.config.epsilon()),
                1.0,
            )
            update = trust * update
        self.assign_sub(variable, ops.cast(learning_rate, variable.dtype) * update)


def adam_update(optimizer: Any, gradient: Any, variable: Any) -> Any:
    """Updates the moments of a variable, and returns the update of Adam, without rate and weight decay.

    It is the moving mean of the gradient by the root of its moving mean square, both without their bias to zero.

    Args:
        optimizer: an `Adam` or `Lamb`.
        gradient: gradient in the type of the variable.
        variable: the variable. Its moments begin with the update `optimizer.starts` of its number; without that
            attribute with the first update.
    """
    dtype, step = variable.dtype, optimizer.iterations + 1
    if (starts := getattr(optimizer, "starts", None)) is not None:
        step = step - starts[index_of(optimizer, variable)]
    mean, square = moments_of(optimizer, variable)
    optimizer.assign_add(mean, (1 - optimizer.beta_1) * (gradient - mean))
    optimizer.assign_add(square, (1 - optimizer.beta_2) * (ops.square(gradient) - square))

    def unbiased(moment: Any, beta: float) -> Any:
        return moment / (1 - ops.power(ops.cast(beta, dtype), ops.cast(step, dtype)))

    return unbiased(mean, optimizer.beta_1) / (ops.sqrt(unbiased(square, optimizer.beta_2)) + optimizer.epsilon)


def sgd(recipe: BaseRecipe, rate: Any, common: dict[str, Any]) -> Optimizer:
    """Stochastic gradient descent with Nesterov or plain momentum."""
    options = {"momentum": recipe.momentum, "nesterov": recipe.nesterov, **common}
    return SGD(learning_rate=rate, penalty=recipe.weight_decay, **options)


def adam(recipe: BaseRecipe, rate: Any, common: dict[str, Any]) -> Optimizer:
    """Adam (arXiv:1412.6980) with torch's epsilon."""
    return Adam(learning_rate=rate, penalty=recipe.weight_decay, epsilon=1e-8, **common)


def adamw(recipe: BaseRecipe, rate: Any, common: dict[str, Any]) -> Optimizer:
    """Adam with decoupled weight decay, with torch's epsilon."""
    return AdamW(learning_rate=rate, penalty=recipe.weight_decay, epsilon=1e-8, **common)


def lamb(recipe: BaseRecipe, rate: Any, common: dict[str, Any]) -> Optimizer:
    """LAMB with timm's epsilon."""
    return Lamb(learning_rate=rate, penalty=recipe.weight_decay, epsilon=1e-6, **common)


def innermost(optimizer: Optimizer) -> Optimizer:
    """The optimizer inside a `LossScaleOptimizer`; another optimizer is returned as it is."""
    return getattr(optimizer, "inner_optimizer", optimizer)


OPTIMIZERS: dict[str, Callable[[BaseRecipe, Any, dict[str, Any]], Optimizer]] = {
    "sgd": sgd,
    "adam": adam,
    "adamw": adamw,
    "lamb": lamb,
}


def optimizer(recipe: BaseRecipe, rate: Any) -> Optimizer:
    """Creates the optimizer of a recipe.

    Args:
        recipe: gives the name and the options of the optimizer.
        rate: learning rate: a number, or a schedule that takes the number of the update.

    Returns:
        A Keras optimizer that is not built yet.

    Example:
        >>> from keras_resnet.training import Recipe
        >>> from keras_resnet.training.optimizers import optimizer
        >>> optimizer(Recipe(momentum=0.8), 0.1).momentum
        0.8
    """
    common = {
        "global_clipnorm": recipe.clip_norm,
        "gradient_accumulation_steps": recipe.gradient_accumulation_steps
        if recipe.gradient_accumulation_steps > 1
        else None,
        "use_ema": recipe.ema_decay > 0,
        # The decay for one step: Keras also updates the average in steps that only accumulate gradients.
        "ema_momentum": recipe.ema_decay ** (1 / recipe.gradient_accumulation_steps),
    }
    created = OPTIMIZERS[recipe.optimizer](recipe, rate, common)
    # Only float16 needs a scaled loss. Keras would choose by the policy, and lose the scale when a training is resumed
    # under another policy.
    return keras.optimizers.LossScaleOptimizer(created) if recipe.precision == "float16" else created
