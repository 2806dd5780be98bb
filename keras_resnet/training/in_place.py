"""While it trains, a plain Keras model computes some layers in another way; what it is and what it saves stay the same.

Each function here is a context manager. Inside, layers have another `call` or dtype policy; outside, they have their
own again. Configuration, names and variables are never touched, so a callback that saves the model in mid-training
saves plain Keras layers too.
"""

from __future__ import annotations

import contextlib
import types
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import keras


@contextlib.contextmanager
def calls_replaced(replacements: Mapping[keras.layers.Layer, Callable[..., Any]]) -> Iterator[None]:
    """Gives layers another `call`, a function `(layer, inputs, ...)` with the arguments of the layer's own."""
    for layer, call in replacements.items():
        layer.__dict__["call"] = types.MethodType(call, layer)  # past Keras' attribute tracking
    try:
        yield
    finally:
        for layer in replacements:
            del layer.__dict__["call"]


def logits(model: keras.Model) -> contextlib.AbstractContextManager[None]:
    """Takes the softmax or sigmoid off the output: losses are exact and stable on logits alone.

    Raises:
        ValueError: the last layer is none that has an activation of that kind, or none at all.
    """
    head = model.output._keras_history.operation
    if isinstance(head, keras.layers.Softmax):
        return calls_replaced({head: lambda layer, inputs, mask=None: inputs})
    kinds = (keras.activations.softmax, keras.activations.sigmoid, keras.activations.linear)
    if getattr(head, "activation", None) not in kinds:
        raise ValueError(
            "model must end in a layer with a softmax, a sigmoid or no activation, such as Dense. "
            f"Received: {type(head).__name__} {head.name!r}"
        )
    return calls_replaced({head: _without_activation})


def _without_activation(layer: Any, inputs: Any, *arguments: Any, **options: Any) -> Any:
    activation, layer.activation = layer.activation, keras.activations.linear
    try:
        return type(layer).call(layer, inputs, *arguments, **options)
    finally:
        layer.activation = activation
