"""ReLU's gradient, and ReLU with the addition before it, as compiled loops: for TensorFlow on a CPU.

TensorFlow's own take bfloat16 value by value, in one pass each. On a processor with AMX, of 32x56x56x256, a ReLU after
an addition takes four times as long as one loop that XLA made; there ResNet-50 trains 1.1 times as fast, ResNet-20,
whose tensors are small, 0.95 times: so there is a least size. A ReLU after a batch norm stays, as TensorFlow joins the
two forwards.
"""

from __future__ import annotations

import contextlib
import functools
from collections import defaultdict
from typing import Any

import keras
import tensorflow as tf

from keras_resnet._internal.keras_graph import all_layers, number_of_calls
from keras_resnet.runtime.calls import replaced_calls

LEAST = 3_000_000  # elements of a tensor


def compiled_relu(model: keras.Model) -> contextlib.AbstractContextManager[None]:
    """Lets the bfloat16 ReLUs of `model`, and additions that one alone reads, run compiled; the numbers are the same.

    On other backends and devices nothing changes, nor in float32, of which TensorFlow's own are as fast.
    """
    if keras.backend.backend() != "tensorflow" or tf.config.list_logical_devices("GPU") or not _compiles():
        return contextlib.nullcontext()
    replaced: dict[keras.layers.Layer, Any] = {layer: _relu_of for layer in all_layers(model) if _is_relu(layer)}
    readers = _readers(model)
    for layer in all_layers(model):
        if _adds_two_alike(layer):
            found = readers[id(layer.output)]
            if len(found) == 1 and found[0] in replaced:
                replaced |= {layer: _add_and_relu_of, found[0]: _passed_on}
    return replaced_calls(replaced)


def _is_relu(layer: Any) -> bool:
    # One that is called several times may follow an addition here and something else there.
    activation = type(layer) is keras.layers.Activation and layer.activation is keras.activations.relu
    return activation and layer.compute_dtype == "bfloat16" and number_of_calls(layer) == 1


def _adds_two_alike(layer: Any) -> bool:
    # Of other shapes Keras repeats values, in another way than TensorFlow does.
    once = type(layer) is keras.layers.Add and number_of_calls(layer) == 1
    return once and len(layer.input) == 2 and layer.input[0].shape == layer.input[1].shape


def _readers(model: keras.Model) -> dict[int, list[Any]]:
    """The layers that read a tensor, by its id; None for the end of a model."""
    found: dict[int, list[Any]] = defaultdict(list)
    for graph in (model, *all_layers(model)):
        for node in (node for nodes in getattr(graph, "_nodes_by_depth", {}).values() for node in nodes):
            for tensor in node.input_tensors:
                found[id(tensor)].append(node.operation)
        for tensor in graph.outputs if isinstance(graph, keras.Model) else ():
            found[id(tensor)].append(None)
    return found


def _is_large(x: tf.Tensor) -> bool:
    return (x.shape.num_elements() or 0) >= LEAST


def _relu_of(layer: Any, x: tf.Tensor) -> tf.Tensor:
    return _relu(x) if _is_large(x) else tf.nn.relu(x)


def _add_and_relu_of(layer: Any, summands: list[tf.Tensor]) -> tf.Tensor:
    return _add_and_relu(*summands) if _is_large(summands[0]) else tf.nn.relu(tf.add(*summands))


def _passed_on(layer: Any, x: tf.Tensor) -> tf.Tensor:
    return x


@tf.custom_gradient
def _relu(x: tf.Tensor) -> Any:
    y = tf.nn.relu(x)
    return y, lambda upstream: _gradient(upstream, y)


@tf.custom_gradient
def _add_and_relu(x: tf.Tensor, residual: tf.Tensor) -> Any:
    y = _sum_above_zero(x, residual)

    def gradient(upstream: tf.Tensor) -> Any:
        both = _gradient(upstream, y)
        return both, both

    return y, gradient


@tf.function(jit_compile=True, autograph=False)
def _sum_above_zero(x: tf.Tensor, residual: tf.Tensor) -> tf.Tensor:
    return tf.nn.relu(x + residual)


@tf.function(jit_compile=True, autograph=False)
def _gradient(upstream: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
    return tf.where(y > 0, upstream, tf.zeros_like(upstream))


@functools.cache
def _compiles() -> bool:
    """Whether this TensorFlow has a compiler for this device; trying is the one test that is right."""
    try:
        return bool(_gradient(tf.ones(1), tf.ones(1))[0] == 1)
    except tf.errors.OpError:
        return False
