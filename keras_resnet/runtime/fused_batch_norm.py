"""Batch norm through TensorFlow's fused kernel, with Keras' own statistics, for a CPU.

Keras 3's own is a chain of elementwise operations, in float32 under any policy. What both kernels make of
training is in `python -m benchmarks train`, whose stock `fit` has Keras' own.
"""

from __future__ import annotations

import contextlib
from typing import Any

import keras
import tensorflow as tf

from keras_resnet._internal.keras_graph import all_layers
from keras_resnet.runtime.calls import replaced_calls

# Of other numbers of channels the kernel takes bfloat16 one by one: of 12 a step forwards and back takes 24 ms where
# float32 takes 3 (128 images of 28x28).
VECTOR = 16


def fused_batch_norms(model: keras.Model) -> contextlib.AbstractContextManager[None]:
    """Lets the batch norms of `model` run on the fused kernel; outside TensorFlow nothing changes.

    Those that the kernel does not fit keep their own: other axes than the last, batch renormalisation, and
    statistics that are synchronised between devices.
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
    learns = bool(training and layer.trainable)
    out = tf.raw_ops.FusedBatchNormV3(
        x=inputs if channels % VECTOR == 0 else tf.cast(inputs, tf.float32),
        scale=tf.convert_to_tensor(layer.gamma) if layer.scale else tf.ones([channels]),
        offset=tf.convert_to_tensor(layer.beta) if layer.center else tf.zeros([channels]),
        mean=tf.zeros([0]) if learns else mean,
        variance=tf.zeros([0]) if learns else variance,
        epsilon=layer.epsilon,
        exponential_avg_factor=1.0,
        is_training=learns,
    )
    if learns:
        values = tf.cast(tf.size(inputs) // channels, tf.float32)
        biased = out.batch_variance * ((values - 1) / values)  # the kernel's is unbiased, Keras' moving one is not
        layer.moving_mean.assign(mean * layer.momentum + out.batch_mean * (1 - layer.momentum))
        layer.moving_variance.assign(variance * layer.momentum + biased * (1 - layer.momentum))
    return tf.cast(out.y, inputs.dtype)
