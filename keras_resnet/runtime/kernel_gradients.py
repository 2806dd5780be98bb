"""Gradients of convolutions' kernels as products of matrices, for TensorFlow on a CPU.

oneDNN's gradient of a kernel is the slowest part of a training step in bfloat16: on a processor with AMX a third of
ResNet-50's. A product of two matrices is two to three times as fast where the kernel is 1x1. Of a 3x3 kernel it takes
nine; of 32 images, milliseconds of oneDNN and of the nine there: 58 and 15 at 7x7 with 512 channels, 72 and 19 if
strided to that, 24 and 17 at 14x14 with 256, 50 and 55 at 28x28 with 256, 14 and 24 at 28x28 with 128. With AVX512_BF16
and no AMX oneDNN is not so slow: in turns, a step of ResNet-50 took 2.71 s with all of this and 2.75 s without, one of
ResNet-18 1.05 s and 1.09 s.
"""

from __future__ import annotations

import contextlib
from typing import Any

import keras
import tensorflow as tf

from keras_resnet._internal.keras_graph import all_layers
from keras_resnet.runtime.calls import replaced_calls

# Inputs times outputs of a kernel larger than 1x1. In nets those of many channels have the smaller maps; of a
# Wide ResNet's 256 channels at 28x28 the gradient takes 55 ms in place of oneDNN's 50 (above).
LEAST = 128 * 256


def gradients_by_matmul(model: keras.Model) -> contextlib.AbstractContextManager[None]:
    """Lets the bfloat16 convolutions of `model` take that way: 1x1, and others of many channels.

    Grouped ones stay as they are, and larger ones that are dilated or whose padding depends on their input's size. On
    other backends and devices nothing changes, nor in float32, where the nine products are mostly slower (0.75 to 1.6
    times as fast).
    """
    if keras.backend.backend() != "tensorflow" or tf.config.list_logical_devices("GPU"):
        return contextlib.nullcontext()
    return replaced_calls({layer: _call for layer in all_layers(model) if _fits(layer)})


def _fits(layer: Any) -> bool:
    plain = (
        type(layer) is keras.layers.Conv2D
        and layer.compute_dtype == "bfloat16"
        and layer.groups == 1
        and layer.data_format == "channels_last"
        and layer.strides[0] == layer.strides[1]
    )
    if not plain or layer.kernel_size == (1, 1):
        return plain
    # "same" pads a strided one by what its size leaves over.
    padded_alike = layer.padding == "valid" or (layer.padding == "same" and layer.strides == (1, 1))
    inputs, outputs = layer.kernel.shape[2:]
    return padded_alike and layer.dilation_rate == (1, 1) and inputs * outputs >= LEAST


def _call(layer: Any, x: tf.Tensor) -> tf.Tensor:
    y = _convolution(x, tf.convert_to_tensor(layer.kernel), layer.strides[0], layer.padding.upper())
    if layer.use_bias:
        y = tf.nn.bias_add(y, tf.convert_to_tensor(layer.bias))
    return layer.activation(y)


def _convolution(x: tf.Tensor, kernel: tf.Tensor, stride: int, padding: str) -> tf.Tensor:
    @tf.custom_gradient
    def convolved(x: tf.Tensor, kernel: tf.Tensor) -> Any:
        def gradient(upstream: tf.Tensor) -> Any:
            of_x = tf.raw_ops.Conv2DBackpropInput(
                input_sizes=tf.shape(x),
                filter=kernel,
                out_backprop=upstream,
                strides=[1, stride, stride, 1],
                padding=padding,
            )
            padded = _as_same(x, *kernel.shape[:2]) if padding == "SAME" else x
            return of_x, _of_kernel(padded, upstream, kernel.shape, stride)

        return tf.nn.conv2d(x, kernel, stride, padding), gradient

    return convolved(x, kernel)


def _as_same(x: tf.Tensor, height: int, width: int) -> tf.Tensor:
    """Padded as "same" pads for a kernel without a stride: the odd row or column at the end."""
    if (height, width) == (1, 1):
        return x
    return tf.pad(x, [(0, 0), *(((size - 1) // 2, size // 2) for size in (height, width)), (0, 0)])


def _of_kernel(x: tf.Tensor, upstream: tf.Tensor, shape: tf.TensorShape, stride: int) -> tf.Tensor:
    """What each position of the kernel has read, times the gradient of what it gave, summed over all that it gave."""
    height, width, inputs, outputs = shape
    rows, columns = (stride * (tf.shape(upstream)[axis] - 1) + 1 for axis in (1, 2))
    of_outputs = tf.reshape(upstream, (-1, outputs))

    def product(row: int, column: int) -> tf.Tensor:
        read = x if (height, width) == (1, 1) else x[:, row : row + rows, column : column + columns]
        if stride > 1:  # a pooling of single pixels, as a slice with strides takes ten times as long
            read = tf.nn.max_pool2d(read, 1, stride, "VALID")
        return tf.matmul(tf.reshape(read, (-1, inputs)), of_outputs, transpose_a=True)

    return tf.reshape(tf.stack([product(row, column) for row in range(height) for column in range(width)]), shape)
