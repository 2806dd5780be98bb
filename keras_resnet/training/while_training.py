"""How a plain Keras model computes while it trains: all of it, in the one order that is right."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import keras

from keras_resnet.grouped_convolutions import native_in_training
from keras_resnet.in_place import computing_in, forget_functions
from keras_resnet.training.compiled_relu import compiled_relu
from keras_resnet.training.fused_batch_norm import fused
from keras_resnet.training.kernel_gradients import products
from keras_resnet.training.logits import logits


@contextlib.contextmanager
def while_training(model: keras.Model, precision: str) -> Iterator[None]:
    """Lets `model` give logits, compute in `precision`, and run on the quickest kernels there are for that.

    Args:
        model: a functional model with float32 variables; synchronised by now, where it trains on many devices.
        precision: "float32", "bfloat16" or "float16".

    Raises:
        ValueError: the model ends in something else than logits or probabilities, or `precision` is none of these.
    """
    with (
        logits(model),
        computing_in(model, precision),
        native_in_training(model),
        # These look at what is bfloat16 by now.
        fused(model),
        compiled_relu(model),
        products(model),
    ):
        try:
            yield
        finally:
            forget_functions(model)
