"""Grouped convolutions on TensorFlow's own kernel.

Keras compiles each of them with XLA, since they once were broken on CPUs. In TensorFlow 2.21 they are not: of 8 images
of 28x28x128 in 32 groups and bfloat16, a step forwards and back takes 9 ms, and 24 seconds with XLA; forwards alone is
10 to 25 times as fast.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator
from typing import Any

import keras

from keras_resnet._internal.keras_graph import all_layers
from keras_resnet.runtime.calls import replaced_calls


@contextlib.contextmanager
def without_xla(model: keras.Model) -> Iterator[None]:
    """Lets the grouped convolutions of `model` be TensorFlow's own; on other backends nothing changes."""
    grouped = [layer for layer in all_layers(model) if _fits(layer)]
    if not grouped or keras.backend.backend() != "tensorflow":
        yield
        return
    # What was traced for prediction is traced anew. What trains stays: a callback may evaluate in its midst.
    try:
        with replaced_calls(dict.fromkeys(grouped, _convolve)):
            model.predict_function = None
            yield
    finally:
        model.predict_function = None


def without_xla_in_training(model: keras.Model) -> contextlib.AbstractContextManager[None]:
    """`without_xla`, if this TensorFlow has their gradients too, which on a CPU are oneDNN's."""
    return (
        without_xla(model) if keras.backend.backend() == "tensorflow" and _has_gradients() else contextlib.nullcontext()
    )


def _fits(layer: Any) -> bool:
    # One with another `call` is in a training already, whose functions are not to be forgotten.
    mine = type(layer) is keras.layers.Conv2D and "call" not in vars(layer)
    return mine and layer.groups > 1 and layer.data_format == "channels_last"


def _convolve(layer: Any, inputs: Any) -> Any:
    import tensorflow as tf  # noqa: PLC0415

    kernel = keras.ops.convert_to_tensor(layer.kernel)
    found = tf.nn.conv2d(inputs, kernel, layer.strides, layer.padding.upper(), dilations=layer.dilation_rate)
    # TensorFlow would join bias and ReLU to it, and without oneDNN (which it leaves out where there is no AVX-512) then
    # refuses groups when it computes. A shape that is to be looked at stands between them, in exports too.
    found = tf.ensure_shape(found, (None, None, None, layer.filters))
    if layer.use_bias:
        found = tf.nn.bias_add(found, keras.ops.convert_to_tensor(layer.bias))
    return layer.activation(found)


@functools.cache
def _has_gradients() -> bool:
    """Trying is the one test that is right on every device and build."""
    import tensorflow as tf  # noqa: PLC0415

    x, kernel = tf.ones((1, 2, 2, 4)), tf.ones((1, 1, 2, 4))
    with tf.GradientTape() as tape:
        tape.watch((x, kernel))
        y = tf.nn.conv2d(x, kernel, 1, "SAME")
    try:
        return tape.gradient(y, (x, kernel)) is not None
    except tf.errors.OpError:
        return False
