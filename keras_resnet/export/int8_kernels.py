"""Convolution in 8 bits with TensorFlow's own oneDNN kernel, so that a plain SavedModel can contain it.

The kernel is private to TensorFlow, and only builds for x86 have it, so `available` tries it. TensorFlow puts it into
graphs that other tools have quantised. Its rules are not documented; they are in its source, mkl_conv_ops.cc.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf

CONVOLUTION = "_FusedQuantizedConv2D"
DEPTHWISE = "_FusedQuantizedDepthwiseConv2D"
# Channels of a grouped convolution that become one dense convolution; 32 and 128 were slower, and so is bfloat16.
DENSE_CHANNELS = 64
TINY = 1e-6  # smallest width of a span, so that no step is 0

Padding = str | Sequence[Sequence[int]]  # "SAME", "VALID" or ((top, bottom), (left, right))


class Span(NamedTuple):
    """The smallest and the largest value of each channel of a tensor, both (C,)."""

    least: np.ndarray
    most: np.ndarray


class Quantised(NamedTuple):
    """A tensor in 8 bits; its values are `step * tensor + low`.

    Attributes:
        tensor: quint8 (N, H, W, C). quint8 is the only type that the kernel adds correctly: it accepts a qint8 summand,
            but then clips the sum at half of its range.
        step: difference between two neighbouring values.
        low: the value of 0 in each channel, (C,): zero after a ReLU, negative for channels with negative values.
    """

    tensor: tf.Tensor
    step: float
    low: np.ndarray


class Filters(NamedTuple):
    """A convolution in float32, from which the 8-bit convolution is made.

    Attributes:
        operation: `CONVOLUTION` or `DEPTHWISE`.
        kernel: (height, width, C / groups, F), or for `DEPTHWISE` (height, width, C, 1).
        bias: one number for each output channel.
        strides: along height and width.
        padding: "SAME", "VALID" or ((top, bottom), (left, right)).
        dilations: along height and width.
    """

    operation: str
    kernel: np.ndarray
    bias: np.ndarray
    strides: Sequence[int] = (1, 1)
    padding: Padding = "VALID"
    dilations: Sequence[int] = (1, 1)

    def groups(self, x: Quantised) -> int:
        """The number of groups when the convolution is applied to `x`."""
        return 1 if self.operation == DEPTHWISE else len(x.low) // self.kernel.shape[2]


@functools.cache
def available() -> bool:
    """Whether this TensorFlow has the kernels, and they are exact on this processor. They are tried once.

    A processor without VNNI adds two products in 16 bits and clips the sum; two products of 255 * 127 exceed 16 bits.
    """
    ones = tf.ones((1, 2, 2, 16))
    try:
        return abs(float(_one_plus_one(ones)) - 2) < 0.1 and abs(float(_sum_of_16_ones(ones)) - 16) < 0.2
    except (tf.errors.OpError, ValueError, RuntimeError):  # unknown operation, attribute or kernel
        return False


@tf.function(autograph=False)
def _sum_of_16_ones(ones: tf.Tensor) -> tf.Tensor:
    """The sum of 16 ones by a 1x1 convolution; in 8 bits they are the largest possible products, 255 * 127."""
    zero = np.zeros(16, "float32")
    sum_filters = Filters(CONVOLUTION, np.ones((1, 1, 16, 16), "float32"), zero)
    return tf.reduce_max(dequantise(convolve(quantise(ones, Span(zero, zero + 1)), sum_filters, Span(zero, zero + 16))))


@tf.function(autograph=False)
def _one_plus_one(ones: tf.Tensor) -> tf.Tensor:
    """One plus one, by a depthwise convolution, a convolution and an addition: all that the kernels must have."""
    zero = np.zeros(16, "float32")
    identity = Filters(CONVOLUTION, np.eye(16, dtype="float32")[None, None], zero)
    depthwise_identity = Filters(DEPTHWISE, np.ones((1, 1, 16, 1), "float32"), zero)
    shortcut = quantise(ones, Span(zero, zero + 1))
    branch = convolve(shortcut, depthwise_identity, Span(zero, zero + 1))
    return tf.reduce_max(dequantise(convolve(branch, identity, Span(zero, zero + 2), shortcut)))


def quantise(x: tf.Tensor, span: Span) -> Quantised:
    """Quantises floating point to 8 bits.

    Args:
        x: tensor (N, H, W, C) of a floating-point type.
        span: range of the values. Values outside it are clipped.

    Returns:
        The values, rounded to the nearest step. All channels have the same `low`.
    """
    least = min(float(span.least.min()), 0.0)
    most = max(float(span.most.max()), least + TINY)
    numbers = tf.cast(x, tf.float32)
    quantised = tf.raw_ops.QuantizeV2(
        input=numbers - least if least else numbers,
        min_range=0.0,
        max_range=most - least,
        T=tf.quint8,
        mode="SCALED",
        round_mode="HALF_TO_EVEN",
    )
    return Quantised(quantised.output, (most - least) / 255, np.full(x.shape[-1], least, "float32"))


def dequantise(x: Quantised) -> tf.Tensor:
    """The values in float32, (N, H, W, C)."""
    numbers = tf.cast(as_integers(x), tf.float32) * x.step
    return numbers + tf.constant(x.low) if x.low.any() else numbers


def as_integers(x: Quantised) -> tf.Tensor:
    """The tensor as uint8, which more operations of TensorFlow accept than quint8."""
    return tf.bitcast(x.tensor, tf.uint8)


def as_quantised(x: tf.Tensor) -> tf.Tensor:
    """A uint8 tensor as quint8."""
    return tf.bitcast(x, tf.quint8)


def convolve(x: Quantised, filters: Filters, span: Span, summand: Quantised | None = None) -> Quantised:
    """`convolution + bias + summand`, clipped to `span`.

    The kernel ends in a ReLU. So a ReLU of the network is expressed by a span that starts at zero. Otherwise the bias
    shifts each channel up, so that the smallest value of the channel becomes the zero of the ReLU.

    Args:
        x: the input; its `low` must be zero if there is padding.
        filters: the convolution. A grouped convolution is computed as dense ones of some groups each, and must have no
            summand.
        span: range of the result.
        summand: a tensor of the shape of the result, which must not be a constant. The result is written into its
            memory: everything else that reads it must be upstream of `x`, or TensorFlow crashes (it logs that it cannot
            forward the buffer, and continues).

    Returns:
        The result in 8 bits.
    """
    if filters.groups(x) > 1:
        return _grouped(x, filters, span)
    axes = (0, 1) if filters.operation == DEPTHWISE else (0, 1, 2)
    most = np.abs(filters.kernel).max(axes, keepdims=True)
    most = np.where(most > 0, most, 1).astype("float32")
    weights = np.round(filters.kernel * (127 / most)).astype("int8")
    bias = filters.bias + np.sum(weights * (most / 127) * x.low[:, None], axes).reshape(-1)
    if summand is not None:
        bias = bias + summand.low
    # All channels have the same step; a channel with a narrower span has unused values on both sides of it.
    widths = span.most - span.least
    low = np.where(span.least.min() < 0, span.least - (widths.max() - widths) / 2, 0).astype("float32")
    step = max(float((span.most - low).max()), TINY) / 255
    tensor = _node(x, filters, weights, most.reshape(-1), bias - low, step, summand)
    return Quantised(tensor, step, low)


def _grouped(x: Quantised, filters: Filters, span: Span) -> Quantised:
    """A grouped convolution as several dense ones, because the kernel has no groups.

    Each dense convolution has about `DENSE_CHANNELS` channels. The zeros between the groups cost little.
    """
    groups = filters.groups(x)
    group_inputs, group_outputs = filters.kernel.shape[2], filters.kernel.shape[3] // groups
    at_once = max(DENSE_CHANNELS // group_inputs, 1)
    firsts = range(0, groups, at_once)
    inputs = tf.split(as_integers(x), [group_inputs * min(at_once, groups - first) for first in firsts], -1)
    least, most = span.least.min(), span.most.max()  # the same for all parts, so that they have the same step
    parts = []
    for first, part in zip(firsts, inputs, strict=True):
        last = min(first + at_once, groups)
        ins = slice(first * group_inputs, last * group_inputs)
        outs = slice(first * group_outputs, last * group_outputs)
        kernel = np.zeros((*filters.kernel.shape[:2], part.shape[-1], outs.stop - outs.start), "float32")
        for group in range(first, last):
            rows, columns = (
                slice((group - first) * size, (group - first + 1) * size) for size in (group_inputs, group_outputs)
            )
            kernel[:, :, rows, columns] = filters.kernel[..., group * group_outputs : (group + 1) * group_outputs]
        part_span = Span(np.full_like(span.least[outs], least), np.full_like(span.most[outs], most))
        part_input = Quantised(as_quantised(part), x.step, x.low[ins])
        parts.append(convolve(part_input, filters._replace(kernel=kernel, bias=filters.bias[outs]), part_span))
    tensor = as_quantised(tf.concat([as_integers(part) for part in parts], -1))
    return Quantised(tensor, parts[0].step, np.concatenate([part.low for part in parts]))


def _node(
    x: Quantised,
    filters: Filters,
    weights: np.ndarray,
    most: np.ndarray,
    bias: np.ndarray,
    step: float,
    summand: Quantised | None,
) -> tf.Tensor:
    """Adds the kernel's operation to the graph that is being traced; returns its output, quint8.

    Args:
        x: the input.
        filters: gives operation, strides, padding and dilations.
        weights: the kernel as integers, of magnitude 127 at most.
        most: for each output channel the weight that 127 stands for.
        bias: for each output channel, in float32.
        step: step of the output.
        summand: added before the ReLU; or None.
    """
    device = [x.tensor, tf.constant(weights.astype(tf.qint8.as_numpy_dtype), tf.qint8), tf.constant(bias, tf.float32)]
    host = [*_range(x.step), tf.constant(-most), tf.constant(most)]
    fused = ["BiasAdd", "Relu", "Requantize"]
    if summand is not None:
        device.append(summand.tensor)
        host += _range(summand.step)
        fused.insert(1, "Sum")
    host += _range(step)
    if isinstance(filters.padding, str):
        padding, explicit_padding = filters.padding, []
    else:
        padding, explicit_padding = "EXPLICIT", [0, 0, *filters.padding[0], *filters.padding[1], 0, 0]
    attributes = {
        "Tdevice_inputs": _types([tensor.dtype for tensor in device]),
        "Thost_inputs": _types([tf.float32] * len(host)),
        "Tdevice_outputs": _types([tf.quint8]),
        "Thost_outputs": _types([tf.float32] * 2),
        "Tinput": _type(tf.quint8),
        "Tfilter": _type(tf.qint8),
        "Tbias": _type(tf.float32),
        "Tsummand": _type(tf.quint8),
        "out_type": _type(tf.quint8),
        "strides": _list(i=[1, *filters.strides, 1]),
        "dilations": _list(i=[1, *filters.dilations, 1]),
        "padding": _attribute(s=padding.encode()),
        "explicit_paddings": _list(i=explicit_padding),
        "fused_ops": _list(s=[name.encode() for name in fused]),
    }
    graph = tf.compat.v1.get_default_graph()
    types = [tf.quint8, tf.float32, tf.float32]
    return graph.create_op(filters.operation, device + host, types, attrs=attributes, name="int8").outputs[0]


def _range(step: float) -> list[tf.Tensor]:
    return [tf.constant(0.0), tf.constant(255 * step, tf.float32)]


def _attribute(**value: object) -> tf.compat.v1.AttrValue:
    return tf.compat.v1.AttrValue(**value)


def _list(**values: object) -> tf.compat.v1.AttrValue:
    return _attribute(list=tf.compat.v1.AttrValue.ListValue(**values))


def _type(kind: tf.DType) -> tf.compat.v1.AttrValue:
    return _attribute(type=kind.as_datatype_enum)


def _types(kinds: Sequence[tf.DType]) -> tf.compat.v1.AttrValue:
    return _list(type=[kind.as_datatype_enum for kind in kinds])
