"""Exponential moving average of a model (`ema_decay` of a recipe).

Validation uses the average, and the training results in it. The optimizers of Keras average the weights. This file
averages the statistics of batch norm, as torchvision and timm do: the latest statistics do not fit averaged weights.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import keras

from keras_resnet._internal.keras_graph import all_layers, moving_averages
from keras_resnet.training.optimizers import innermost


@contextlib.contextmanager
def average_weights(model: keras.Model) -> Iterator[None]:
    """Gives `model` the averages of weights and statistics inside the block; nothing changes if there are none."""
    swap_average(model)
    try:
        yield
    finally:
        swap_average(model)


def swap_average(model: keras.Model) -> None:
    """Exchanges weights and statistics of a compiled model with their averages; does nothing if there are none."""
    optimizer = innermost(model.optimizer)
    if not optimizer.use_ema:
        return
    weights = zip(model.trainable_variables, moving_averages(optimizer), strict=True)
    for variable, average in [*weights, *optimizer.statistics]:
        value = keras.ops.copy(variable.value)
        variable.assign(average.value)
        average.assign(value)


def create_average_statistics(model: keras.Model) -> None:
    """Creates variables in the optimizer for the averages of the statistics, so that checkpoints contain them.

    Does nothing if the recipe has no `ema_decay`.
    """
    optimizer = innermost(model.optimizer)
    if optimizer.use_ema:
        # Not set as an attribute: Keras would track the variables, and count them twice.
        optimizer.__dict__["statistics"] = [
            (variable, optimizer.add_variable_from_reference(variable, "average", initializer="zeros"))
            for variable in _statistics(model)
        ]


def update_average_statistics(model: keras.Model, steps: int, first: bool) -> None:
    """Updates the averages of the statistics once for several steps, with the statistics after the last step.

    Args:
        model: a compiled model.
        steps: number of steps since the last call.
        first: True for the first call of a training; the averages then start as the present statistics.
    """
    optimizer = innermost(model.optimizer)
    if not optimizer.use_ema:
        return
    if hasattr(model, "jax_state_sync"):
        model.jax_state_sync()  # on JAX the variables get their values only when asked
    decay = 0.0 if first else optimizer.ema_momentum**steps
    for variable, average in optimizer.statistics:
        average.assign(decay * average.value + (1 - decay) * variable.value)


def _statistics(model: keras.Model) -> list[Any]:
    """The moving statistics of all trainable batch norms; the statistics of frozen ones do not change."""
    norms = (layer for layer in all_layers(model) if isinstance(layer, keras.layers.BatchNormalization))
    return [variable for norm in norms if norm.trainable for variable in (norm.moving_mean, norm.moving_variance)]


class EvaluateAverage(keras.callbacks.Callback):
    """Makes Keras use the averages of weights and statistics during validation."""

    def on_test_begin(self, logs: Any = None) -> None:
        """Replaces weights and statistics by their averages."""
        swap_average(self.model)

    def on_test_end(self, logs: Any = None) -> None:
        """Restores weights and statistics."""
        swap_average(self.model)
