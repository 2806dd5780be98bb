"""Everything that changes the computation of a plain Keras model in training, in the only correct order."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import keras

from keras_resnet.runtime.calls import forget_traces
from keras_resnet.runtime.compiled_relu import compiled_relu
from keras_resnet.runtime.fused_batch_norm import fused_batch_norms
from keras_resnet.runtime.grouped_convolutions import without_xla_in_training
from keras_resnet.runtime.kernel_gradients import gradients_by_matmul
from keras_resnet.runtime.logits import logits
from keras_resnet.runtime.precision import compute_precision


@contextlib.contextmanager
def train_mode(model: keras.Model, precision: str) -> Iterator[None]:
    """Makes `model` return logits, compute in `precision`, and use the fastest kernels for it inside the block.

    Args:
        model: a functional model with float32 variables. If it trains on several devices, its batch norms must be
            synchronized before.
        precision: "float32", "bfloat16" or "float16".

    Raises:
        ValueError: the output of the model is not logits, a softmax or a sigmoid, or `precision` has another value.
    """
    with logits(model), quick_training(model, precision):
        yield


@contextlib.contextmanager
def quick_training(model: keras.Model, precision: str) -> Iterator[None]:
    """Makes `model` compute in `precision`, and use the fastest kernels for its training inside the block.

    Args:
        model, precision: as in `train_mode`, but with any outputs.

    Raises:
        ValueError: `precision` has another value.
    """
    with (
        compute_precision(model, precision),
        without_xla_in_training(model),
        # These must come after `compute_precision`: they apply to layers that compute in bfloat16.
        fused_batch_norms(model),
        compiled_relu(model),
        gradients_by_matmul(model),
    ):
        try:
            yield
        finally:
            forget_traces(model)
