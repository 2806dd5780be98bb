"""The moving average of a model, where a recipe asks for one: what is measured and what a training results in.

Keras' optimizers average the weights. The statistics of batch norm are averaged here, as torchvision and timm do: those
of the latest weights do not fit weights of many steps ago.
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
    """Lets `model` have the average weights that its optimizer keeps; where it keeps none, nothing changes."""
    swap_average(model)
    try:
        yield
    finally:
        swap_average(model)


def swap_average(model: keras.Model) -> None:
    """Exchanges the weights and statistics of a compiled model with their averages."""
    optimizer = innermost(model.optimizer)
    if not optimizer.use_ema:
        return
    weights = zip(model.trainable_variables, moving_averages(optimizer), strict=True)
    for variable, average in [*weights, *zip(_statistics(model), optimizer.statistics, strict=True)]:
        held = keras.ops.copy(variable.value)
        variable.assign(average.value)
        average.assign(held)


def create_average_statistics(model: keras.Model) -> None:
    """Gives the optimizer, where it averages, variables for the averages of the statistics: checkpoints have them."""
    optimizer = innermost(model.optimizer)
    if optimizer.use_ema:
        # Past Keras' attribute tracking, which would count them twice.
        optimizer.__dict__["statistics"] = [
            optimizer.add_variable_from_reference(variable, "average", initializer="zeros")
            for variable in _statistics(model)
        ]


def update_average_statistics(model: keras.Model, steps: int, first: bool) -> None:
    """Moves the averages of the statistics by what `steps` steps would: of the model as it is after them.

    Args:
        model: compiled.
        steps: since the last call.
        first: whether there was none; then the averages begin with the statistics of now.
    """
    optimizer = innermost(model.optimizer)
    if not optimizer.use_ema:
        return
    if hasattr(model, "jax_state_sync"):
        model.jax_state_sync()  # between the steps variables have no values on JAX
    kept = 0.0 if first else optimizer.ema_momentum**steps
    for variable, average in zip(_statistics(model), optimizer.statistics, strict=True):
        average.assign(kept * average.value + (1 - kept) * variable.value)


def _statistics(model: keras.Model) -> list[Any]:
    """Of the batch norms that learn; those of frozen ones stay as they are."""
    norms = (layer for layer in all_layers(model) if isinstance(layer, keras.layers.BatchNormalization))
    return [variable for norm in norms if norm.trainable for variable in (norm.moving_mean, norm.moving_variance)]


class EvaluateAverage(keras.callbacks.Callback):
    """Measures the average weights on the validation images."""

    def on_test_begin(self, logs: Any = None) -> None:
        """Weights become averages."""
        swap_average(self.model)

    def on_test_end(self, logs: Any = None) -> None:
        """And weights again."""
        swap_average(self.model)
