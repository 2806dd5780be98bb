"""Replaces the `call` of single layers of a model for a while."""

from __future__ import annotations

import contextlib
import types
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import keras


@contextlib.contextmanager
def replaced_calls(replacements: Mapping[keras.layers.Layer, Callable[..., Any]]) -> Iterator[None]:
    """Gives layers another `call` inside the block. Configuration, names and variables of the layers do not change.

    A callback that saves the model inside the block saves plain Keras layers. Blocks can be nested: the inner one
    counts, and at its end the layers have the `call` of the outer one again.

    Args:
        replacements: for each layer a function `(layer, inputs, ...)` with the arguments of the layer's own `call`.
    """
    before = {layer: vars(layer).get("call") for layer in replacements}
    for layer, call in replacements.items():
        layer.__dict__["call"] = types.MethodType(call, layer)  # not tracked by Keras as an attribute
    try:
        yield
    finally:
        for layer, call in before.items():
            if call is None:
                del layer.__dict__["call"]
            else:
                layer.__dict__["call"] = call


def forget_traces(model: keras.Model) -> None:
    """Makes Keras trace the functions of `fit`, `evaluate` and `predict` anew when they are called next."""
    model.train_function = model.test_function = model.predict_function = None
