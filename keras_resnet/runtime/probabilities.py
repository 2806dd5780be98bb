"""Probabilities from the outputs of a model, which may be logits."""

from __future__ import annotations

from collections.abc import Callable

import keras
import numpy as np

from keras_resnet._internal.keras_graph import last_layer

ROUNDING = 0.01  # of bfloat16


def probabilities_of(model: keras.Model) -> Callable[[np.ndarray], np.ndarray]:
    """A function from outputs (N, classes) of a model to probabilities: the softmax, if the model gives logits.

    Args:
        model: a functional or sequential model. It gives logits if its last layer has no activation, such as
            `Dense(10)`, and several outputs. The outputs of another model are returned as they are, except for images
            with a number outside of [0, 1]: those are no probabilities, so they are taken for logits too.
    """
    last = last_layer(model)
    if last.output.shape[-1] == 1:
        return lambda outputs: outputs
    return _softmax if getattr(last, "activation", None) is keras.activations.linear else _softmax_where_needed


def _softmax_where_needed(outputs: np.ndarray) -> np.ndarray:
    are_probabilities = ((outputs >= -ROUNDING) & (outputs <= 1 + ROUNDING)).all(-1, keepdims=True)
    return outputs if are_probabilities.all() else np.where(are_probabilities, outputs, _softmax(outputs))


def _softmax(outputs: np.ndarray) -> np.ndarray:
    shifted = np.exp(outputs - outputs.max(-1, keepdims=True))
    return shifted / shifted.sum(-1, keepdims=True)
