"""What TensorFlow reaches here: FLOP/s of convolutions and of products of matrices, in float32 and bfloat16.

The convolutions are the 3x3 ones of a ResNet-50 at 32 images, with nothing behind them: to reduce their output to a
number takes up to a quarter of its time in bfloat16. Which is fastest differs from machine to machine; each is tried in
every round. As in training, filters are variables, whose layout oneDNN changes at each call: what serves constants can
be beyond, and so can engines with kernels of their own.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

from benchmarks.measure import repeated
from benchmarks.workers import Turn

SHAPES = ((56, 64), (28, 128), (14, 256), (7, 512))  # side, channels
KERNEL = 3
BATCH = 32
SHARE = 0.5  # seconds of each shape, so that of all the turn takes two
ROWS = 2048  # of the square matrices


def convolution(dtype: str) -> Turn:
    """The fastest convolution of `SHAPES`: its FLOP/s."""
    import tensorflow as tf

    def of_shape(side: int, channels: int) -> Callable[[], float]:
        x = tf.cast(tf.random.normal((BATCH, side, side, channels)), dtype)
        filters = tf.cast(tf.random.normal((KERNEL, KERNEL, channels, channels)), dtype)
        convolve = tf.function(lambda x, filters: tf.nn.conv2d(x, filters, 1, "SAME"))
        flops = 2 * BATCH * side**2 * channels**2 * KERNEL**2
        # An operation on a CPU is done when its function is back.
        return lambda: repeated(flops, lambda: convolve(x, filters), SHARE)

    rates = [of_shape(*shape) for shape in SHAPES]
    return lambda *_: max(rate() for rate in rates)  # whatever the others are asked for


def product(dtype: str) -> Turn:
    """A product of two square matrices: its FLOP/s."""
    import tensorflow as tf

    matrix = tf.cast(tf.random.normal((ROWS, ROWS)), dtype)
    multiply = tf.function(tf.matmul)
    return lambda *_: repeated(2 * ROWS**3, lambda: multiply(matrix, matrix))


KINDS = {"convolutions": convolution, "matrices": product}


def names(precision: str) -> list[str]:
    """Of the ceilings in this precision."""
    return [f"{kind} in {precision}" for kind in KINDS]


def ceilings(*precisions: str) -> dict[str, Callable[[], Turn]]:
    """The subjects of these precisions, for the same rounds as what they bound."""
    return {
        name: functools.partial(of, precision)
        for precision in precisions
        for name, of in zip(names(precision), KINDS.values())
    }
