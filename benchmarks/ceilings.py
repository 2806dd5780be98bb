"""What this machine can do at most: FLOP/s of convolutions and of products of matrices, in float32 and bfloat16.

The convolutions are those of a ResNet-50, with nothing behind them: to reduce their output to a number takes up to a
quarter of its time in bfloat16. Which is fastest differs from machine to machine; each is tried in every round.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable

from benchmarks.workers import Turn

SHAPES = ((56, 64, 3), (28, 128, 3), (14, 256, 3), (28, 512, 1), (14, 1024, 1))  # side, channels, kernel
BATCH = 32
ROWS = 2048  # of the square matrices
SECONDS = 1.0  # a turn takes at least that: what is timed for less comes out far apart on a shared machine


def convolution(dtype: str) -> Turn:
    """The fastest convolution of `SHAPES`: its FLOP/s."""
    import tensorflow as tf

    def of_shape(side: int, channels: int, kernel: int) -> Callable[[], float]:
        x = tf.cast(tf.random.normal((BATCH, side, side, channels)), dtype)
        filters = tf.cast(tf.random.normal((kernel, kernel, channels, channels)), dtype)
        convolve = tf.function(lambda x, filters: tf.nn.conv2d(x, filters, 1, "SAME"))
        flops = 2 * BATCH * side**2 * channels**2 * kernel**2
        return lambda: _rate(flops, lambda: convolve(x, filters), SECONDS / len(SHAPES))

    rates = [of_shape(*shape) for shape in SHAPES]
    return lambda *_: max(rate() for rate in rates)  # whatever the others are asked for


def product(dtype: str) -> Turn:
    """A product of two square matrices: its FLOP/s."""
    import tensorflow as tf

    matrix = tf.cast(tf.random.normal((ROWS, ROWS)), dtype)
    multiply = tf.function(tf.matmul)
    return lambda *_: _rate(2 * ROWS**3, lambda: multiply(matrix, matrix), SECONDS)


def _rate(flops: float, compute: Callable[[], object], seconds: float) -> float:
    began, count = time.perf_counter(), 0
    while count == 0 or time.perf_counter() - began < seconds:
        compute()  # an operation on a CPU is done when its function is back
        count += 1
    return flops * count / (time.perf_counter() - began)


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
