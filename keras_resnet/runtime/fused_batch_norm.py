"""Batch norm with TensorFlow's fused kernel and the moving statistics of Keras: for a CPU.

Batch norm of Keras 3 is a chain of elementwise operations, in float32 under any policy. `python -m benchmarks train`
compares the speed: its stock `fit` uses the batch norm of Keras.
"""

from __future__ import annotations

import contextlib
from typing import Any

import keras
import tensorflow as tf

from keras_resnet._internal.keras_graph import all_layers
from keras_resnet.runtime.calls import replaced_calls

# If the number of channels is not divisible by this, the kernel processes bfloat16 one value at a time: with 12
# channels, forward and backward pass take 24 ms, and 3 ms in float32 (128 images of 28x28).
VECTOR = 16


def fused_batch_norms(model: keras.Model) -> contextlib.AbstractContextManager[None]:
    """Makes the batch norms of `model` use the fused kernel inside the block; nothing changes on other backends.

    Some batch norms do not fit the kernel, and keep the computation of Keras: those along another axis than the last,
    with batch renormalization, or with statistics that are synchronized between devices.

    Args:
        model: a functional model.
    """
    if keras.backend.backend() != "tensorflow":
        return contextlib.nullcontext()
    return replaced_calls({layer: _fused for layer in all_layers(model) if _fits(layer)})


def _fits(layer: keras.layers.Layer) -> bool:
    return (
        type(layer) is keras.layers.BatchNormalization
        and not (layer.renorm or layer.synchronized)
        and layer.input_spec.ndim == 4
        and layer.axis in (-1, 3)
    )


def _fused(layer: Any, inputs: tf.Tensor, training: bool | None = None, mask: None = None) -> tf.Tensor:
    channels = inputs.shape[-1]
    mean, variance = (tf.convert_to_tensor(value) for value in (layer.moving_mean, layer.moving_variance))
    uses_batch = bool(training and layer.trainable)
    out = tf.raw_ops.FusedBatchNormV3(
        x=inputs if channels % VECTOR == 0 else tf.cast(inputs, tf.float32),
        scale=tf.convert_to_tensor(layer.gamma) if layer.scale else tf.ones([channels]),
        offset=tf.convert_to_tensor(layer.beta) if layer.center else tf.zeros([channels]),
        mean=tf.zeros([0]) if uses_batch else mean,
        variance=tf.zeros([0]) if uses_batch else variance,
        epsilon=layer.epsilon,
        exponential_avg_factor=1.0,
        is_training=uses_batch,
    )
    if uses_batch:
        count = tf.cast(tf.size(inputs) // channels, tf.float32)
        biased = out.batch_variance * (
            (count - 1) / count
        )  # the kernel's variance is unbiased, Keras uses the biased one
        layer.moving_mean.assign(mean * layer.momentum + out.batch_mean * (1 - layer.momentum))
        layer.moving_variance.assign(variance * layer.momentum + biased * (1 - layer.momentum))
    return tf.cast(out.y, inputs.dtype)
