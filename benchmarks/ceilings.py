"""What this machine can do at most: FLOP/s of convolutions and of products of matrices, in float32 and bfloat16.

The convolution is the fastest of a ResNet-50's, with nothing behind it: to reduce its output to a number takes up to a
quarter of its time in bfloat16.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

from benchmarks.measure import timed
from benchmarks.workers import Turn

SHAPES = ((56, 64, 3), (28, 128, 3), (14, 256, 3), (28, 512, 1), (14, 1024, 1))  # side, channels, kernel
BATCH = 32
ROWS = 2048  # of the square matrices
REPEATS = 5


def convolution(dtype: str) -> Turn:
    """The fastest convolution of `SHAPES`: its FLOP/s."""
    import tensorflow as tf  # noqa: PLC0415

    def of_shape(side: int, channels: int, kernel: int) -> Turn:
        x = tf.cast(tf.random.normal((BATCH, side, side, channels)), dtype)
        filters = tf.cast(tf.random.normal((kernel, kernel, channels, channels)), dtype)
        convolve = tf.function(lambda x, filters: tf.nn.conv2d(x, filters, 1, "SAME"))
        return _turn(2 * BATCH * side**2 * channels**2 * kernel**2, lambda: convolve(x, filters))

    turns = [of_shape(*shape) for shape in SHAPES]
    for turn in turns:
        turn()
    return max(turns, key=lambda turn: max(turn() for _ in range(3)))


def product(dtype: str) -> Turn:
    """A product of two square matrices: its FLOP/s."""
    import tensorflow as tf  # noqa: PLC0415

    matrix = tf.cast(tf.random.normal((ROWS, ROWS)), dtype)
    multiply = tf.function(tf.matmul)
    return _turn(2 * ROWS**3, lambda: multiply(matrix, matrix))


def _turn(flops: float, compute: Callable[[], object]) -> Turn:
    def act() -> None:
        for _ in range(REPEATS):
            compute()  # an operation on a CPU is done when its function is back

    turn = timed(REPEATS * flops, act)
    return lambda *_: turn()  # whatever the others are asked for


def ceilings(*precisions: str) -> dict[str, Callable[[], Turn]]:
    """The subjects of these precisions, for the same rounds as what they bound."""
    kinds = {"convolutions": convolution, "matrices": product}
    return {f"{kind} in {dtype}": functools.partial(of, dtype) for dtype in precisions for kind, of in kinds.items()}
