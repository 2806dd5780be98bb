"""Probabilities from the outputs of a model, which may be logits."""

from __future__ import annotations

from collections.abc import Callable

import keras
import numpy as np

from keras_resnet._internal.keras_graph import producer


def probabilities_of(model: keras.Model) -> Callable[[np.ndarray], np.ndarray]:
    """A function from outputs (N, classes) of a model to probabilities: the softmax, if the model gives logits.

    Args:
        model: a functional model. If its last layer has a softmax or a sigmoid, outputs are probabilities; if it has
            no activation, they are logits. Outputs of other layers are probabilities if each row sums to 1.
    """
    last = producer(model.outputs[0]).operation
    if isinstance(last, keras.layers.Softmax) or getattr(last, "activation", None) in (
        keras.activations.softmax,
        keras.activations.sigmoid,
    ):
        return lambda outputs: outputs
    has_no_activation = getattr(last, "activation", None) is keras.activations.linear

    def from_outputs(outputs: np.ndarray) -> np.ndarray:
        if not has_no_activation and outputs.min() >= 0 and np.allclose(outputs.sum(-1), 1, atol=1e-3):
            return outputs
        shifted = np.exp(outputs - outputs.max(-1, keepdims=True))
        return shifted / shifted.sum(-1, keepdims=True)

    return from_outputs
