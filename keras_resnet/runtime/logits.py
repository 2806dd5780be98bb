"""The output of a model without its softmax or sigmoid, while it trains."""

from __future__ import annotations

import contextlib
from typing import Any

import keras

from keras_resnet._internal.keras_graph import producer
from keras_resnet.runtime.calls import replaced_calls


def logits(model: keras.Model) -> contextlib.AbstractContextManager[None]:
    """Takes the softmax or sigmoid off the output: losses are exact and stable on logits alone.

    Raises:
        ValueError: the last layer is none that has an activation of that kind, or none at all.
    """
    head = producer(model.output).operation
    if isinstance(head, keras.layers.Softmax):
        return replaced_calls({head: lambda layer, inputs, mask=None: inputs})
    kinds = (keras.activations.softmax, keras.activations.sigmoid, keras.activations.linear)
    if getattr(head, "activation", None) not in kinds:
        raise ValueError(
            "model must end in a layer with a softmax, a sigmoid or no activation, such as Dense. "
            f"Received: {type(head).__name__} {head.name!r}"
        )
    return replaced_calls({head: _without_activation})


def _without_activation(layer: Any, inputs: Any, *arguments: Any, **options: Any) -> Any:
    activation, layer.activation = layer.activation, keras.activations.linear
    try:
        return type(layer).call(layer, inputs, *arguments, **options)
    finally:
        layer.activation = activation
