"""The precision that a model computes in for a while: float32, bfloat16 or float16."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator
from typing import Any

import keras

from keras_resnet._internal.keras_graph import all_layers, functional_graph, producer
from keras_resnet._internal.validation import one_of

POLICIES = {"float32": "float32", "bfloat16": "mixed_bfloat16", "float16": "mixed_float16"}


@contextlib.contextmanager
def compute_precision(model: keras.Model, name: str) -> Iterator[None]:
    """Makes `model` compute in another precision inside the block, as if it had been built under that policy.

    Variables stay float32, and so do both ends of the network: the preprocessing of pixels, and all layers from the
    pooling before the classifier to the output.

    Args:
        model: a functional model with float32 variables.
        name: "float32", "bfloat16" or "float16".

    Raises:
        ValueError: `name` is none of these.
    """
    one_of("precision", name, tuple(POLICIES))
    before = {layer: layer.dtype_policy for layer in inner_layers(model)}
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


def inner_layers(model: keras.Model) -> list[keras.layers.Layer]:
    """The layers that a mixed precision policy changes: all but those of the two ends."""
    pixels = (keras.layers.InputLayer, keras.layers.Normalization, keras.layers.Rescaling)
    layers = all_layers(model)
    ends = {layer for layer in layers if isinstance(layer, pixels)}
    tensor = functional_graph(model).outputs[0]
    # From the output backwards while the tensors are vectors: the input of the pooling has rank 4.
    while len(tensor.shape) == 2:
        node = producer(tensor)
        ends.add(node.operation)
        if len(node.input_tensors) != 1:
            break
        tensor = node.input_tensors[0]
    return [layer for layer in layers if layer not in ends]
