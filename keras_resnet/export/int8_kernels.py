"""Convolution in 8 bits: TensorFlow's own oneDNN kernel, which a plain SavedModel can hold.

The kernel is private to TensorFlow and is only in its builds for x86, so `available` tries it. TensorFlow puts it into
graphs that other tools have quantised, which is why its rules are not written down but in its source, mkl_conv_ops.cc.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf

CONVOLUTION = "_FusedQuantizedConv2D"
DEPTHWISE = "_FusedQuantizedDepthwiseConv2D"
DENSE_CHANNELS = 64  # of a grouped convolution are computed as one; 32 and 128 were slower, and so is bfloat16
TINY = 1e-6

Padding = str | Sequence[Sequence[int]]  # "SAME", "VALID" or ((top, bottom), (left, right))


class Span(NamedTuple):
    """The least and the most that each channel of a tensor has been, (C,)."""

    least: np.ndarray
    most: np.ndarray


class Quantised(NamedTuple):
    """Numbers in 8 bits, worth `step * tensor + low`.

    `tensor` (N, H, W, C) is quint8, the one type that the kernel adds: it takes a qint8 summand, and then cuts the sum
    off at half its range. `low` (C,) is zero after a ReLU, and below it where there are negative numbers.
    """

    tensor: tf.Tensor
    step: float
    low: np.ndarray


class Filters(NamedTuple):
    """A convolution in float32: what the kernel is made of.

    `kernel` is (height, width, C / groups, F), or with the operation `DEPTHWISE` (height, width, C, 1).
    """

    operation: str
    kernel: np.ndarray
    bias: np.ndarray
    strides: Sequence[int] = (1, 1)
    padding: Padding = "VALID"
    dilations: Sequence[int] = (1, 1)

    def groups(self, x: Quantised) -> int:
        """Of how many groups the convolution of `x` is."""
        return 1 if self.operation == DEPTHWISE else len(x.low) // self.kernel.shape[2]


@functools.cache
def available() -> bool:
    """Whether this TensorFlow has the kernels, and they are exact on this processor; they are tried, once.

    One without VNNI adds two products in 16 bits, and cuts off what is beyond: two of 255 * 127 are.
    """
    ones = tf.ones((1, 2, 2, 16))
    try:
        return abs(float(_tried(ones)) - 2) < 0.1 and abs(float(_summed(ones)) - 16) < 0.2
    except (tf.errors.OpError, ValueError, RuntimeError):  # unknown operation, attribute or kernel
        return False


@tf.function(autograph=False)
def _summed(ones: tf.Tensor) -> tf.Tensor:
    """Sixteen times one, the largest products that there are."""
    zero = np.zeros(16, "float32")
    every = Filters(CONVOLUTION, np.ones((1, 1, 16, 16), "float32"), zero)
    return tf.reduce_max(dequantise(convolve(quantise(ones, Span(zero, zero + 1)), every, Span(zero, zero + 16))))


@tf.function(autograph=False)
def _tried(ones: tf.Tensor) -> tf.Tensor:
    """One plus one."""
    zero = np.zeros(16, "float32")
    same = Filters(CONVOLUTION, np.eye(16, dtype="float32")[None, None], zero)
    each = Filters(DEPTHWISE, np.ones((1, 1, 16, 1), "float32"), zero)
    shortcut = quantise(ones, Span(zero, zero + 1))
    branch = convolve(shortcut, each, Span(zero, zero + 1))
    return tf.reduce_max(dequantise(convolve(branch, same, Span(zero, zero + 2), shortcut)))


def quantise(x: tf.Tensor, span: Span) -> Quantised:
    """Floating point to 8 bits.

    Args:
        x: (N, H, W, C).
        span: what is to fit; what lies outside becomes the nearest number that does.

    Returns:
        The same to half a step; all channels have the same `low`.
    """
    least = min(float(span.least.min()), 0.0)
    most = max(float(span.most.max()), least + TINY)
    numbers = tf.cast(x, tf.float32)
    made = tf.raw_ops.QuantizeV2(
        input=numbers - least if least else numbers,
        min_range=0.0,
        max_range=most - least,
        T=tf.quint8,
        mode="SCALED",
        round_mode="HALF_TO_EVEN",
    )
    return Quantised(made.output, (most - least) / 255, np.full(x.shape[-1], least, "float32"))


def dequantise(x: Quantised) -> tf.Tensor:
    """The numbers in float32, (N, H, W, C)."""
    numbers = tf.cast(as_integers(x), tf.float32) * x.step
    return numbers + tf.constant(x.low) if x.low.any() else numbers


def as_integers(x: Quantised) -> tf.Tensor:
    """The tensor as uint8, which more of TensorFlow can handle than quint8."""
    return tf.bitcast(x.tensor, tf.uint8)


def as_quantised(x: tf.Tensor) -> tf.Tensor:
    """And back."""
    return tf.bitcast(x, tf.quint8)


def convolve(x: Quantised, filters: Filters, span: Span, summand: Quantised | None = None) -> Quantised:
    """`convolution + bias + summand`, held within `span`.

    The kernel ends in a ReLU, so a ReLU of the network's own is a span that starts at zero. Otherwise the bias moves
    each channel up, so that its least number is the one that the ReLU gives.

    Args:
        x: what is convolved; its `low` must be zero where there is padding.
        filters: the convolution. Grouped ones are computed densely, some groups at a time, and take no summand.
        span: of the result.
        summand: of the shape of the result, and no constant. Its memory is used for the result: all else that reads
            it must be upstream of `x`, or TensorFlow crashes (it says that it cannot forward it, and goes on).
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
    # All channels have one step; those that need less of it than others have room on both sides.
    widths = span.most - span.least
    low = np.where(span.least.min() < 0, span.least - (widths.max() - widths) / 2, 0).astype("float32")
    step = max(float((span.most - low).max()), TINY) / 255
    tensor = _node(x, filters, weights, most.reshape(-1), bias - low, step, summand)
    return Quantised(tensor, step, low)


def _grouped(x: Quantised, filters: Filters, span: Span) -> Quantised:
    """The kernel knows no groups. Beside what 64 channels take at once, the zeros between them cost little."""
    groups, width, made = filters.groups(x), filters.kernel.shape[2], filters.kernel.shape[3] // filters.groups(x)
    at_once = max(DENSE_CHANNELS // width, 1)
    firsts = range(0, groups, at_once)
    inputs = tf.split(as_integers(x), [width * min(at_once, groups - first) for first in firsts], -1)
    least, most = span.least.min(), span.most.max()  # one step for all
    parts = []
    for first, part in zip(firsts, inputs, strict=True):
        last = min(first + at_once, groups)
        ins, outs = slice(first * width, last * width), slice(first * made, last * made)
        kernel = np.zeros((*filters.kernel.shape[:2], part.shape[-1], outs.stop - outs.start), "float32")
        for g in range(first, last):
            rows, columns = (slice((g - first) * size, (g - first + 1) * size) for size in (width, made))
            kernel[:, :, rows, columns] = filters.kernel[..., g * made : (g + 1) * made]
        within = Span(np.full_like(span.least[outs], least), np.full_like(span.most[outs], most))
        some = Quantised(as_quantised(part), x.step, x.low[ins])
        parts.append(convolve(some, filters._replace(kernel=kernel, bias=filters.bias[outs]), within))
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
    """Adds the operation to the graph that is being traced."""
    device = [x.tensor, tf.constant(weights.astype(tf.qint8.as_numpy_dtype), tf.qint8), tf.constant(bias, tf.float32)]
    host = [*_range(x.step), tf.constant(-most), tf.constant(most)]
    fused = ["BiasAdd", "Relu", "Requantize"]
    if summand is not None:
        device.append(summand.tensor)
        host += _range(summand.step)
        fused.insert(1, "Sum")
    host += _range(step)
    if isinstance(filters.padding, str):
        padding, around = filters.padding, []
    else:
        padding, around = "EXPLICIT", [0, 0, *filters.padding[0], *filters.padding[1], 0, 0]
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
        "explicit_paddings": _list(i=around),
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
