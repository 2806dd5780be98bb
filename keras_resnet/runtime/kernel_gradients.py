"""Gradients of convolution kernels as matrix products: for TensorFlow on a CPU.

oneDNN's gradient of the kernels is the slowest part of a training step in bfloat16: a third of the step of ResNet-50 on
a processor with AMX. For a 1x1 kernel, a matrix product is two to three times as fast. A 3x3 kernel needs nine matrix
products. Measured on that processor for 3x3 kernels and 32 images:

    output, channels             oneDNN    nine products
    7x7, 512                     58 ms     15 ms
    7x7, 512, with a stride      72 ms     19 ms
    14x14, 256                   24 ms     17 ms
    28x28, 256                   50 ms     55 ms
    28x28, 128                   14 ms     24 ms

On a processor with AVX512_BF16 and without AMX, oneDNN is less slow. Measured alternately, a step of ResNet-50 took
2.71 s with all matrix products and 2.75 s without them; a step of ResNet-18 took 1.05 s and 1.09 s. On a processor
without bfloat16 (AVX2 only), which emulates it, a step of ResNet-18 took 24.3 s and 29.8 s.
"""

from __future__ import annotations

import contextlib
from typing import Any

import keras
import tensorflow as tf

from keras_resnet._internal.keras_graph import all_layers
from keras_resnet.runtime.calls import replaced_calls

# Smallest product of input and output channels for kernels larger than 1x1. In most networks, layers with many channels
# have small maps. In a Wide ResNet with 256 channels at 28x28 the gradient takes 55 ms, and 50 ms with oneDNN (above).
LEAST = 128 * 256


def gradients_by_matmul(model: keras.Model) -> contextlib.AbstractContextManager[None]:
    """Makes bfloat16 convolutions of `model` compute kernel gradients as matrix products inside the block.

    This applies to 1x1 kernels, and to larger kernels with many channels. Some convolutions keep TensorFlow's gradient:
    grouped ones, and larger kernels with dilation or with a padding that depends on the input size. Nothing changes on
    other backends and devices. Nothing changes in float32 either: nine products are mostly slower there (0.75 to 1.6
    times as fast).

    Args:
        model: a Keras model.
    """
    if keras.backend.backend() != "tensorflow" or tf.config.list_logical_devices("GPU"):
        return contextlib.nullcontext()
    return replaced_calls({layer: _call for layer in all_layers(model) if _fits(layer)})


def _fits(layer: Any) -> bool:
    is_simple = (
        type(layer) is keras.layers.Conv2D
        and layer.compute_dtype == "bfloat16"
        and layer.groups == 1
        and layer.data_format == "channels_last"
        and layer.strides[0] == layer.strides[1]
    )
    if not is_simple or layer.kernel_size == (1, 1):
        return is_simple
    # With "same" and a stride, the padding depends on the input size.
    has_fixed_padding = layer.padding == "valid" or (layer.padding == "same" and layer.strides == (1, 1))
    inputs, outputs = layer.kernel.shape[2:]
    return has_fixed_padding and layer.dilation_rate == (1, 1) and inputs * outputs >= LEAST


def _call(layer: Any, x: tf.Tensor) -> tf.Tensor:
    y = _convolution(x, tf.convert_to_tensor(layer.kernel), layer.strides[0], layer.padding.upper())
    if layer.use_bias:
        y = tf.nn.bias_add(y, tf.convert_to_tensor(layer.bias))
    return layer.activation(y)


def _convolution(x: tf.Tensor, kernel: tf.Tensor, stride: int, padding: str) -> tf.Tensor:
    @tf.custom_gradient
    def convolve(x: tf.Tensor, kernel: tf.Tensor) -> Any:
        def gradient(upstream: tf.Tensor) -> Any:
            input_gradient = tf.raw_ops.Conv2DBackpropInput(
                input_sizes=tf.shape(x),
                filter=kernel,
                out_backprop=upstream,
                strides=[1, stride, stride, 1],
                padding=padding,
            )
            padded = _pad_same(x, *kernel.shape[:2]) if padding == "SAME" else x
            return input_gradient, _kernel_gradient(padded, upstream, kernel.shape, stride)

        return tf.nn.conv2d(x, kernel, stride, padding), gradient

    return convolve(x, kernel)


def _pad_same(x: tf.Tensor, height: int, width: int) -> tf.Tensor:
    """Pads like "same" for a kernel without stride: an odd row or column is added at the end."""
    if (height, width) == (1, 1):
        return x
    return tf.pad(x, [(0, 0), *(((size - 1) // 2, size // 2) for size in (height, width)), (0, 0)])


def _kernel_gradient(x: tf.Tensor, upstream: tf.Tensor, shape: tf.TensorShape, stride: int) -> tf.Tensor:
    """For each position of the kernel, the product of its inputs with the gradient of the outputs, summed over pixels.

    Args:
        x: padded input (N, H, W, inputs).
        upstream: gradient of the output (N, H', W', outputs).
        shape: shape of the kernel (height, width, inputs, outputs).
        stride: stride of the convolution.

    Returns:
        The gradient of the kernel.
    """
    height, width, inputs, outputs = shape
    rows, columns = (stride * (tf.shape(upstream)[axis] - 1) + 1 for axis in (1, 2))
    output_gradient = tf.reshape(upstream, (-1, outputs))

    def product(row: int, column: int) -> tf.Tensor:
        pixels = x if (height, width) == (1, 1) else x[:, row : row + rows, column : column + columns]
        if stride > 1:  # max-pooling of single pixels; a slice with strides takes ten times as long
            pixels = tf.nn.max_pool2d(pixels, 1, stride, "VALID")
        return tf.matmul(tf.reshape(pixels, (-1, inputs)), output_gradient, transpose_a=True)

    return tf.reshape(tf.stack([product(row, column) for row in range(height) for column in range(width)]), shape)
