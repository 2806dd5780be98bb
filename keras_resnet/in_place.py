"""For a while, a plain Keras model computes some layers in another way; what it is and what it saves stay the same.

What yields here is a context manager. Inside, layers have another `call` or dtype policy; outside, they have their
own again. Configuration, names and variables are never touched, so a callback that saves the model in mid-training
saves plain Keras layers too.
"""

from __future__ import annotations

import contextlib
import functools
import types
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import keras

from keras_resnet.arguments import one_of

POLICIES = {"float32": "float32", "bfloat16": "mixed_bfloat16", "float16": "mixed_float16"}


@contextlib.contextmanager
def calls_replaced(replacements: Mapping[keras.layers.Layer, Callable[..., Any]]) -> Iterator[None]:
    """Gives layers another `call`, a function `(layer, inputs, ...)` with the arguments of the layer's own.

    Of contexts inside each other the inner one counts, and leaves the outer one as it was.
    """
    before = {layer: vars(layer).get("call") for layer in replacements}
    for layer, call in replacements.items():
        layer.__dict__["call"] = types.MethodType(call, layer)  # past Keras' attribute tracking
    try:
        yield
    finally:
        for layer, call in before.items():
            if call is None:
                del layer.__dict__["call"]
            else:
                layer.__dict__["call"] = call


def forget_functions(model: keras.Model) -> None:
    """Whatever Keras traced of the model as it was is traced anew, as the model is then."""
    model.train_function = model.test_function = model.predict_function = None


@contextlib.contextmanager
def computing_in(model: keras.Model, name: str) -> Iterator[None]:
    """Lets `model` compute in `name`, as if it had been built under that policy; variables stay float32.

    The two ends stay float32: what prepares the pixels, and all from the pooling before the classifier to the output.

    Args:
        model: a functional model with float32 variables.
        name: "float32", "bfloat16" or "float16".

    Raises:
        ValueError: `name` is none of these.
    """
    one_of("precision", name, tuple(POLICIES))
    before = {layer: layer.dtype_policy for layer in between_the_ends(model)}
    for layer, policy in before.items():
        layer.dtype_policy = POLICIES[name]
        layer.__dict__["get_config"] = functools.partial(_config_with, layer, policy)
    try:
        yield
    finally:
        for layer, policy in before.items():
            layer.dtype_policy = policy
            del layer.__dict__["get_config"]


def _config_with(layer: Any, policy: Any) -> dict[str, Any]:
    """The configuration of a layer as if it had another policy."""
    now, layer.dtype_policy = layer.dtype_policy, policy
    try:
        return type(layer).get_config(layer)
    finally:
        layer.dtype_policy = now


def layers_of(model: keras.Model) -> list[keras.layers.Layer]:
    """All layers below `model`, those of models inside it and those models too."""
    return list(model._flatten_layers(include_self=False))


def between_the_ends(model: keras.Model) -> list[keras.layers.Layer]:
    """The layers that compute in another type under a mixed policy."""
    pixels = (keras.layers.InputLayer, keras.layers.Normalization, keras.layers.Rescaling)
    ends = {layer for layer in layers_of(model) if isinstance(layer, pixels)}
    tensor = model.output
    # From the output back, through vectors only: the pooling turns a map of rank 4 into one.
    while len(tensor.shape) == 2:
        node = tensor._keras_history.operation._inbound_nodes[tensor._keras_history.node_index]
        ends.add(node.operation)
        if len(node.input_tensors) != 1:
            break
        tensor = node.input_tensors[0]
    return [layer for layer in layers_of(model) if layer not in ends]
