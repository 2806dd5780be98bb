"""Losses of logits (N, classes), computed in float32."""

from __future__ import annotations

from collections.abc import Callable

import keras

LOSSES: dict[str, Callable[[], keras.losses.Loss]] = {
    "categorical_crossentropy": lambda: keras.losses.CategoricalCrossentropy(from_logits=True),
    # A sigmoid for each class, and the mean over classes, as in timm: an image may show several classes
    # (arXiv:2110.00476).
    "binary_crossentropy": lambda: keras.losses.BinaryCrossentropy(from_logits=True),
    # arXiv:1708.02002, with its best gamma; weights of classes are a field of their own.
    "focal": lambda: keras.losses.CategoricalFocalCrossentropy(alpha=1.0, gamma=2.0, from_logits=True),
}
# For each loss, the activation that turns logits into probabilities.
ACTIVATIONS = {"categorical_crossentropy": "softmax", "binary_crossentropy": "sigmoid", "focal": "softmax"}
