"""The moving average of the weights, where a recipe asks for one: what is measured and what a training results in."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import keras

from keras_resnet.training.optimizers import innermost


@contextlib.contextmanager
def averaged(model: keras.Model) -> Iterator[None]:
    """Lets `model` have the average weights that its optimizer keeps; where it keeps none, nothing changes."""
    swap(model)
    try:
        yield
    finally:
        swap(model)


def swap(model: keras.Model) -> None:
    """Exchanges the weights of a compiled model with their averages."""
    optimizer = innermost(model.optimizer)
    if not optimizer.use_ema:
        return
    for weight, average in zip(model.trainable_variables, optimizer._model_variables_moving_average, strict=True):
        held = keras.ops.copy(weight.value)
        weight.assign(average.value)
        average.assign(held)


class AveragedInTests(keras.callbacks.Callback):
    """Measures the average weights on the validation images."""

    def on_test_begin(self, logs: Any = None) -> None:
        """Weights become averages."""
        swap(self.model)

    def on_test_end(self, logs: Any = None) -> None:
        """And weights again."""
        swap(self.model)
