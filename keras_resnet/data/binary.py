"""Helps to read parts of files in TensorFlow graphs."""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf


def part(content: tf.Tensor, place: tf.Tensor | int, count: tf.Tensor | int) -> tf.Tensor:
    """At most `count` bytes from `place` on; fewer at the end of the content."""
    return tf.strings.substr(content, tf.minimum(place, tf.strings.length(content)), count)


def one_node(*signature: tf.TensorSpec) -> Callable[[Callable[..., tf.Tensor]], Callable[..., tf.Tensor]]:
    """Makes a function one node of a graph.

    For the branches of a reader that few files take: each node of a branch costs time, also if it is not taken. With
    inlined functions, reading a photograph of 500x375 took twice as long.

    Args:
        signature: shapes and types of the arguments.
    """
    return tf.function(input_signature=signature, autograph=False, experimental_attributes={"_noinline": True})


def unless(reason: tf.Tensor, value: tf.Tensor) -> tf.Tensor:
    """`value`; the graph raises an error with the text `reason` instead, unless that is ""."""
    # `tf.debugging.Assert` would be a `tf.cond`, which takes longer.
    with tf.control_dependencies([tf.raw_ops.Assert(condition=reason == "", data=[reason])]):
        return tf.identity(value)
