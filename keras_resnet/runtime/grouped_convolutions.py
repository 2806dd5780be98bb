"""Grouped convolutions with TensorFlow's kernel instead of XLA.

Keras compiles each grouped convolution with XLA, because TensorFlow's kernel was once broken on CPUs. It works in
TensorFlow 2.21. For 8 images of 28x28x128, 32 groups and bfloat16, forward and backward pass take 9 ms with that
kernel, and 24 seconds with XLA. The forward pass alone is 10 to 25 times as fast as with XLA.
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
    """Makes the grouped convolutions of `model` use TensorFlow's kernel inside the block.

    Nothing changes on other backends.

    Args:
        model: a Keras model.
    """
    grouped = [layer for layer in all_layers(model) if _fits(layer)]
    if not grouped or keras.backend.backend() != "tensorflow":
        yield
        return
    # Only the function for prediction is traced again. The function for training stays, because a callback may evaluate
    # in the middle of a training.
    try:
        with replaced_calls(dict.fromkeys(grouped, _convolve)):
            model.predict_function = None
            yield
    finally:
        model.predict_function = None


def without_xla_in_training(model: keras.Model) -> contextlib.AbstractContextManager[None]:
    """`without_xla`, if TensorFlow has gradients for grouped convolutions; on a CPU that needs oneDNN.

    Args:
        model: a Keras model.
    """
    return (
        without_xla(model) if keras.backend.backend() == "tensorflow" and _has_gradients() else contextlib.nullcontext()
    )


def _fits(layer: Any) -> bool:
    # A layer whose `call` is replaced already is in a training; the traced functions of that training must stay.
    is_unchanged = type(layer) is keras.layers.Conv2D and "call" not in vars(layer)
    return is_unchanged and layer.groups > 1 and layer.data_format == "channels_last"


def _convolve(layer: Any, inputs: Any) -> Any:
    import tensorflow as tf  # noqa: PLC0415

    kernel = keras.ops.convert_to_tensor(layer.kernel)
    y = tf.nn.conv2d(inputs, kernel, layer.strides, layer.padding.upper(), dilations=layer.dilation_rate)
    # TensorFlow would fuse convolution, bias and ReLU. Without oneDNN, which it does not use on processors without
    # AVX-512, the fused kernel then fails for groups. A check of the shape prevents the fusion, in exports too.
    y = tf.ensure_shape(y, (None, None, None, layer.filters))
    if layer.use_bias:
        y = tf.nn.bias_add(y, keras.ops.convert_to_tensor(layer.bias))
    return layer.activation(y)


@functools.cache
def _has_gradients() -> bool:
    """Whether TensorFlow has gradients for grouped convolutions. The only reliable test on all devices is to try."""
    import tensorflow as tf  # noqa: PLC0415

    x, kernel = tf.ones((1, 2, 2, 4)), tf.ones((1, 1, 2, 4))
    with tf.GradientTape() as tape:
        tape.watch((x, kernel))
        y = tf.nn.conv2d(x, kernel, 1, "SAME")
    try:
        return tape.gradient(y, (x, kernel)) is not None
    except tf.errors.OpError:
        return False
