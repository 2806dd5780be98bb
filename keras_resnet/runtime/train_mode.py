"""How a plain Keras model computes while it trains: all of it, in the one order that is right."""

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
    """Lets `model` give logits, compute in `precision`, and run on the quickest kernels there are for that.

    Args:
        model: a functional model with float32 variables; synchronised by now, where it trains on many devices.
        precision: "float32", "bfloat16" or "float16".

    Raises:
        ValueError: the model ends in something else than logits or probabilities, or `precision` is none of these.
    """
    with (
        logits(model),
        compute_precision(model, precision),
        without_xla_in_training(model),
        # These look at what is bfloat16 by now.
        fused_batch_norms(model),
        compiled_relu(model),
        gradients_by_matmul(model),
    ):
        try:
            yield
        finally:
            forget_traces(model)
