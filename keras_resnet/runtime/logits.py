"""Removes softmax or sigmoid from the output of a model for a while."""

from __future__ import annotations

import contextlib
from typing import Any

import keras

from keras_resnet._internal.keras_graph import last_layer
from keras_resnet.runtime.calls import replaced_calls


def logits(model: keras.Model) -> contextlib.AbstractContextManager[None]:
    """Makes `model` return logits inside the block: losses are exact and numerically stable only on logits.

    Args:
        model: a functional or sequential model that ends in a `Softmax` layer, or in a layer with a softmax, a sigmoid
            or no activation. If it ends in a nested model, the last layer of that one counts.

    Raises:
        ValueError: the last layer is another one.

    Example:
        >>> import keras
        >>> from keras_resnet.runtime.logits import logits
        >>> inputs = keras.Input((2,))
        >>> model = keras.Model(inputs, keras.layers.Dense(1, "sigmoid", kernel_initializer="ones")(inputs))
        >>> with logits(model):
        ...     float(model(keras.ops.ones((1, 2)))[0, 0])
        2.0
    """
    head = last_layer(model)
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
