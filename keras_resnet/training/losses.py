"""Losses on logits (N, classes), in float32."""

from __future__ import annotations

from collections.abc import Callable

import keras

LOSSES: dict[str, Callable[[], keras.losses.Loss]] = {
    "categorical_crossentropy": lambda: keras.losses.CategoricalCrossentropy(from_logits=True),
    # Of a sigmoid for each class, mean over classes, as timm has it: an image may show several (arXiv:2110.00476).
    "binary_crossentropy": lambda: keras.losses.BinaryCrossentropy(from_logits=True),
}
# What turns the logits that a loss trained into probabilities.
ACTIVATIONS = {"categorical_crossentropy": "softmax", "binary_crossentropy": "sigmoid"}
