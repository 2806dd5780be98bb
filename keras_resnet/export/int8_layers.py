"""The 8-bit form of each kind of layer.

A value between two layers is of one of four kinds:

- `Float`: floating point, which is bfloat16 near the pixels and float32 after a pooling.
- `Quantised`: 8 bits.
- `Pending`: a convolution that is not in the graph yet, because the addition or the ReLU after it will be part of the
  same operation.
- `Padded`: a value whose zero padding is not in the graph yet, because the convolution after it will do the padding.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from keras_resnet.export.int8_kernels import (
    CONVOLUTION,
    DEPTHWISE,
    Filters,
    Quantised,
    Span,
    as_integers,
    as_quantised,
    convolve,
    dequantise,
    quantise,
)
from keras_resnet.export.network import TRAINING_ONLY

Layer = Any
FEWEST_CHANNELS = 16  # with fewer input channels 8 bits are not worth it, for example with the three of pixels


class Float(NamedTuple):
    """A floating-point tensor (N, H, W, C), and the span to quantise it with."""

    tensor: tf.Tensor
    span: Span


class Padded(NamedTuple):
    """A value with zeros around it: ((top, bottom), (left, right))."""

    value: Float | Quantised
    padding: Sequence[Sequence[int]]


class Pending(NamedTuple):
    """The arguments of `convolve`. `span` is that of the convolution, or of the last layer that is fused with it."""

    x: Quantised
    filters: Filters
    span: Span
    summand: Quantised | None = None


Value = Float | Quantised | Padded | Pending
Lowering = Callable[[Layer, Sequence[Value], Span], Value]


def settled(value: Value) -> Float | Quantised | Padded:
    """The value; the convolution of a `Pending` one is added to the graph."""
    return convolve(*value) if isinstance(value, Pending) else value


def dequantized(value: Value) -> Float:
    """The value in floating point; pending operations are added to the graph."""
    value = settled(value)
    if isinstance(value, Quantised):
        return Float(dequantise(value), Span(value.low, value.low + 255 * value.step))
    if isinstance(value, Padded):
        tensor, span = dequantized(value.value)
        zeros = [(0, 0), *value.padding, (0, 0)]
        return Float(tf.pad(tensor, zeros), Span(np.minimum(span.least, 0), np.maximum(span.most, 0)))
    return value


def _in_8_bits(value: Value) -> Quantised:
    value = settled(value)
    return value if isinstance(value, Quantised) else quantise(*dequantized(value))


def _array(weight: Any) -> np.ndarray:
    with tf.init_scope():  # outside the graph that is being traced
        return keras.ops.convert_to_numpy(weight).astype("float32")


def _same(layer: Layer, inputs: Sequence[Value], span: Span) -> Value:
    return inputs[0]


def _preprocessed(layer: Layer, inputs: Sequence[Value], span: Span) -> Value:
    """Normalisation, computed in float32; the result is bfloat16."""
    x = dequantized(inputs[0]).tensor
    if isinstance(layer, keras.layers.Rescaling):
        x = x * np.float32(layer.scale) + np.float32(layer.offset)
    else:
        mean, variance = (_array(v) for v in (layer.mean, layer.variance))
        deviation = np.maximum(np.sqrt(variance), keras.config.epsilon())
        x = x * deviation + mean if layer.invert else (x - mean) / deviation
    return Float(tf.cast(x, tf.bfloat16), span)


def _convolution(layer: Layer, inputs: Sequence[Value], span: Span) -> Value:
    depthwise = isinstance(layer, keras.layers.DepthwiseConv2D)
    x, padding = inputs[0], layer.padding.upper()
    if isinstance(x, Padded) and padding == "VALID":
        x, padding = x
    kernel = _array(layer.kernel)
    outputs = kernel.shape[2] * kernel.shape[3] if depthwise else kernel.shape[3]
    filters = Filters(
        DEPTHWISE if depthwise else CONVOLUTION,
        kernel,
        _array(layer.bias) if layer.use_bias else np.zeros(outputs, "float32"),
        layer.strides,
        padding,
        layer.dilation_rate,
    )
    x = settled(x)
    if _stays_floating(x, filters):
        return Float(layer.activation(_float_convolution(dequantized(x).tensor, filters)), span)
    pending = Pending(_in_8_bits(x), filters, span)
    if layer.activation is keras.activations.linear:
        return pending
    if layer.activation is keras.activations.relu:
        return settled(pending)
    activation = getattr(layer.activation, "__name__", layer.activation)
    raise ValueError(f"activation must be linear or relu in int8. Received: {activation} in layer {layer.name!r}")


def _stays_floating(x: Float | Quantised | Padded, filters: Filters) -> bool:
    """Whether a convolution is computed in floating point.

    These are convolutions of pixels and of gates, cheap ones whose input is in floating point, and those whose zero
    padding is not zero in 8 bits.
    """
    padded = filters.padding != "VALID" and filters.kernel.shape[:2] != (1, 1)
    if isinstance(x, Quantised):
        return padded and bool(x.low.any())
    tensor, span = dequantized(x)
    small = filters.kernel.shape[2] < FEWEST_CHANNELS or tensor.shape[1:3] == (1, 1)
    return small or filters.operation == DEPTHWISE or (padded and bool(span.least.min() < 0))


def _float_convolution(x: tf.Tensor, filters: Filters) -> tf.Tensor:
    kernel, bias = tf.constant(filters.kernel, x.dtype), tf.constant(filters.bias, x.dtype)
    explicit = not isinstance(filters.padding, str)
    padding = [[0, 0], *filters.padding, [0, 0]] if explicit else filters.padding
    strides = [1, *filters.strides, 1]
    if filters.operation == DEPTHWISE:
        x = tf.nn.depthwise_conv2d(x, kernel, strides, padding, dilations=filters.dilations)
    else:
        x = tf.nn.conv2d(x, kernel, strides, padding, dilations=filters.dilations)
    return tf.nn.bias_add(x, bias)


def _activation(layer: Layer, inputs: Sequence[Value], span: Span) -> Value:
    """A ReLU becomes part of the convolution before it, whose span then starts at zero."""
    (x,) = inputs
    if not _is_relu(layer) or isinstance(x, Float | Padded):
        return Float(layer(dequantized(x).tensor), span)
    return settled((x if isinstance(x, Pending) else _identity_convolution(x, span))._replace(span=span))


def _is_relu(layer: Layer) -> bool:
    """Whether the layer clips values below zero and above the span, and changes no others."""
    if isinstance(layer, keras.layers.ReLU):
        return bool(layer.threshold == layer.negative_slope == 0)
    return layer.activation is keras.activations.relu


def _identity_convolution(x: Quantised, span: Span) -> Pending:
    """A convolution that changes no value, for the next layer to be fused with."""
    channels = len(x.low)
    return Pending(x, Filters(DEPTHWISE, np.ones((1, 1, channels, 1), "float32"), np.zeros(channels, "float32")), span)


def _addition(layer: Layer, inputs: Sequence[Value], span: Span) -> Value:
    if len(inputs) > 2 or all(isinstance(x, Float) for x in inputs):
        return Float(tf.add_n([dequantized(x).tensor for x in inputs]), span)
    skip, branch = inputs
    if isinstance(skip, Pending) and isinstance(
        branch, Float
    ):  # the shortcut is a projection, and the branch has a gate
        skip, branch = branch, skip
    if not isinstance(branch, Pending) or branch.filters.groups(branch.x) > 1:
        branch = _identity_convolution(_in_8_bits(branch), span)
    return branch._replace(span=span, summand=_in_8_bits(skip))


def _gated(layer: Layer, inputs: Sequence[Value], span: Span) -> Value:
    x, gate = settled(inputs[0]), dequantized(inputs[1]).tensor
    if not isinstance(x, Quantised):
        return Float(dequantized(x).tensor * gate, span)
    # The gate is a single pixel, so operations on it are cheap; each pass over `x` is expensive.
    scaled = tf.cast(as_integers(x), tf.float32) * (gate * x.step)
    return Float(scaled + gate * x.low if x.low.any() else scaled, span)


def _zero_padding(layer: Layer, inputs: Sequence[Value], span: Span) -> Value:
    x = settled(inputs[0])
    if layer.data_format == "channels_last":
        return Padded(dequantized(x) if isinstance(x, Padded) else x, layer.padding)
    # With data_format="channels_first" the layer pads width and channels. The zero channels are those of option A.
    width, channels = layer.padding
    x = _in_8_bits(x)
    tensor = as_quantised(tf.pad(as_integers(x), [(0, 0), (0, 0), width, channels]))
    return Quantised(tensor, x.step, np.pad(x.low, channels))


def _max_pooling(layer: Layer, inputs: Sequence[Value], span: Span) -> Value:
    x = settled(inputs[0])
    down, right = layer.strides
    if layer.pool_size == (1, 1) and (down, right) != (1, 1):
        if isinstance(x, Quantised):
            return x._replace(tensor=as_quantised(as_integers(x)[:, ::down, ::right]))
        return Float(dequantized(x).tensor[:, ::down, ::right], span)
    if isinstance(x, Quantised):
        return x._replace(tensor=_pooled(tf.raw_ops.QuantizedMaxPool, layer, x.tensor))
    return Float(tf.nn.max_pool2d(dequantized(x).tensor, layer.pool_size, layer.strides, layer.padding.upper()), span)


def _average_pooling(layer: Layer, inputs: Sequence[Value], span: Span) -> Value:
    x = settled(inputs[0])
    if isinstance(x, Quantised):
        return x._replace(tensor=_pooled(tf.raw_ops.QuantizedAvgPool, layer, x.tensor))
    return Float(tf.nn.avg_pool2d(dequantized(x).tensor, layer.pool_size, layer.strides, layer.padding.upper()), span)


def _pooled(operation: Callable[..., Any], layer: Layer, x: tf.Tensor) -> tf.Tensor:
    sides = {"ksize": [1, *layer.pool_size, 1], "strides": [1, *layer.strides, 1], "padding": layer.padding.upper()}
    # The operation returns the range without change, and does not use it otherwise.
    return operation(input=x, min_input=0.0, max_input=1.0, **sides).output


def _global_pooling(layer: Layer, inputs: Sequence[Value], span: Span) -> Value:
    x = settled(inputs[0])
    if isinstance(x, Quantised):
        mean = _mean(tf.cast(as_integers(x), tf.float32)) * x.step + x.low
    else:
        mean = _mean(tf.cast(dequantized(x).tensor, tf.float32))
    return Float(mean if layer.keepdims else mean[:, 0, 0], span)


def _mean(x: tf.Tensor) -> tf.Tensor:
    _, *sides, _ = x.shape
    if None in sides:
        return tf.reduce_mean(x, (1, 2), keepdims=True)
    return tf.nn.avg_pool2d(x, sides, 1, "VALID")  # the same result, up to three times as fast


def _reshaped(layer: Layer, inputs: Sequence[Value], span: Span) -> Value:
    return Float(tf.reshape(dequantized(inputs[0]).tensor, (-1, *layer.target_shape)), span)


def _convolution_along_channels(layer: Layer, inputs: Sequence[Value], span: Span) -> Value:
    x, kernel = dequantized(inputs[0]).tensor, tf.constant(_array(layer.kernel))
    x = tf.nn.conv1d(x, kernel, layer.strides[0], layer.padding.upper())
    if layer.use_bias:
        x = x + tf.constant(_array(layer.bias))
    return Float(layer.activation(x), span)


def _dense(layer: Layer, inputs: Sequence[Value], span: Span) -> Value:
    x = dequantized(inputs[0]).tensor @ tf.constant(_array(layer.kernel))
    return Float(layer.activation(x + tf.constant(_array(layer.bias)) if layer.use_bias else x), span)


LOWERINGS: dict[type, Lowering] = {
    keras.layers.Normalization: _preprocessed,
    keras.layers.Rescaling: _preprocessed,
    keras.layers.Conv2D: _convolution,
    keras.layers.DepthwiseConv2D: _convolution,
    keras.layers.Activation: _activation,
    keras.layers.ReLU: _activation,
    keras.layers.Add: _addition,
    keras.layers.Multiply: _gated,
    keras.layers.ZeroPadding2D: _zero_padding,
    keras.layers.MaxPooling2D: _max_pooling,
    keras.layers.AveragePooling2D: _average_pooling,
    keras.layers.GlobalAveragePooling2D: _global_pooling,
    keras.layers.Reshape: _reshaped,
    keras.layers.Conv1D: _convolution_along_channels,
    keras.layers.Dense: _dense,
    **dict.fromkeys(TRAINING_ONLY, _same),
}
