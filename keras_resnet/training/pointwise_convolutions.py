"""Gradients of 1x1 convolutions' kernels as products of matrices, for TensorFlow on a CPU.

oneDNN's product of two bfloat16 matrices is two to three times as fast as its gradient of the convolution's kernel,
which is the slowest part of a training step (benchmarks, `train`).
"""

from __future__ import annotations

import contextlib
from typing import Any

import keras
import tensorflow as tf

from keras_resnet.in_place import calls_replaced, layers_of


def pointwise(model: keras.Model) -> contextlib.AbstractContextManager[None]:
    """Lets the bfloat16 1x1 convolutions of `model` take that way.

    On other backends and devices nothing changes, nor in float32, of which both are as fast.
    """
    if keras.backend.backend() != "tensorflow" or tf.config.list_logical_devices("GPU"):
        return contextlib.nullcontext()
    return calls_replaced({layer: _call for layer in layers_of(model) if _fits(layer)})


def _fits(layer: Any) -> bool:
    return (
        type(layer) is keras.layers.Conv2D
        and layer.kernel_size == (1, 1)
        and layer.compute_dtype == "bfloat16"
        and layer.groups == 1
        and layer.data_format == "channels_last"
        and layer.strides[0] == layer.strides[1]
    )


def _call(layer: Any, x: tf.Tensor) -> tf.Tensor:
    y = _convolution(x, tf.convert_to_tensor(layer.kernel), layer.strides[0])
    if layer.use_bias:
        y = tf.nn.bias_add(y, tf.convert_to_tensor(layer.bias))
    return layer.activation(y)


def _convolution(x: tf.Tensor, kernel: tf.Tensor, stride: int) -> tf.Tensor:
    @tf.custom_gradient
    def convolved(x: tf.Tensor, kernel: tf.Tensor) -> Any:
        def gradient(upstream: tf.Tensor) -> Any:
            of_x = tf.raw_ops.Conv2DBackpropInput(
                input_sizes=tf.shape(x),
                filter=kernel,
                out_backprop=upstream,
                strides=[1, stride, stride, 1],
                padding="VALID",
            )
            # A pooling of single pixels, as a slice with strides takes ten times as long.
            read = x if stride == 1 else tf.nn.max_pool2d(x, 1, stride, "VALID")
            rows, columns = (tf.reshape(tensor, (-1, tensor.shape[-1])) for tensor in (read, upstream))
            return of_x, tf.reshape(tf.matmul(rows, columns, transpose_a=True), kernel.shape)

        return tf.nn.conv2d(x, kernel, stride, "VALID"), gradient

    return convolved(x, kernel)
