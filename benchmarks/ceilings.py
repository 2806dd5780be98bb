"""The highest FLOP/s of TensorFlow on this machine: convolutions and matrix products, in float32 and bfloat16.

The convolutions are the 3x3 convolutions of a ResNet-50 with 32 images. Nothing follows them, because it would take up
to a quarter of the convolution's time in bfloat16 to reduce its output to a number. The fastest convolution differs
between machines, so every round tries all of them. As in training, the filters are variables, whose layout oneDNN
changes at each call. So a network with constant filters, or an engine with other kernels, can be faster than this.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

from benchmarks.measure import repeated
from benchmarks.workers import Turn

SHAPES = ((56, 64), (28, 128), (14, 256), (7, 512))  # side, channels
KERNEL = 3
BATCH = 32
SHARE = 0.5  # seconds for each shape, so that the turn takes two seconds
ROWS = 2048  # number of rows of the square matrices


def convolution(dtype: str) -> Turn:
    """A turn that returns the FLOP/s of the fastest convolution of `SHAPES`."""
    import tensorflow as tf

    def of_shape(side: int, channels: int) -> Callable[[], float]:
        x = tf.cast(tf.random.normal((BATCH, side, side, channels)), dtype)
        filters = tf.cast(tf.random.normal((KERNEL, KERNEL, channels, channels)), dtype)
        convolve = tf.function(lambda x, filters: tf.nn.conv2d(x, filters, 1, "SAME"))
        flops = 2 * BATCH * side**2 * channels**2 * KERNEL**2
        # On a CPU, an operation has finished when its function returns.
        return lambda: repeated(flops, lambda: convolve(x, filters), SHARE)

    rates = [of_shape(*shape) for shape in SHAPES]
    return lambda *_: max(rate() for rate in rates)  # ignores the arguments of the other subjects


def product(dtype: str) -> Turn:
    """A turn that returns the FLOP/s of a product of two square matrices."""
    import tensorflow as tf

    matrix = tf.cast(tf.random.normal((ROWS, ROWS)), dtype)
    multiply = tf.function(tf.matmul)
    return lambda *_: repeated(2 * ROWS**3, lambda: multiply(matrix, matrix))


KINDS = {"convolutions": convolution, "matrices": product}


def names(precision: str) -> list[str]:
    """Names of the ceilings in a precision."""
    return [f"{kind} in {precision}" for kind in KINDS]


def ceilings(*precisions: str) -> dict[str, Callable[[], Turn]]:
    """The ceilings of these precisions as subjects, for the same rounds as the subjects whose speed they limit."""
    return {
        name: functools.partial(of, precision)
        for precision in precisions
        for name, of in zip(names(precision), KINDS.values())
    }
