"""A network as functions of TensorFlow, with its weights as constants in the graph.

Constants, where a variable would be read anew at each step, let TensorFlow prepare the kernels of its convolutions
once, and join convolution, bias, addition and ReLU: 1.1 to 1.3 times as fast (benchmarks, `serve`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from keras_resnet.grouped_convolutions import native
from keras_resnet.in_place import between_the_ends

Features = Callable[[tf.Tensor], tf.Tensor]  # pixels (N, H, W, C) -> embedding (N, F), both float32
ACTIVATIONS = {
    keras.activations.softmax: tf.nn.softmax,
    keras.activations.sigmoid: tf.nn.sigmoid,
    keras.activations.linear: tf.nn.softmax,  # logits: what is served is probabilities
}


def classifier(model: keras.Model) -> Any:
    """The dense layer that a model ends in.

    Raises:
        ValueError: it ends in another one, or that has an activation of another kind.
    """
    layer = model.output._keras_history.operation if isinstance(model.output, keras.KerasTensor) else None
    if not isinstance(layer, keras.layers.Dense) or layer.activation not in ACTIVATIONS:
        raise ValueError(
            "model must end in a Dense layer with a softmax, a sigmoid or no activation (include_top=True). "
            f"Received: one that ends in {layer!r}"
        )
    return layer


def floating(model: keras.Model, precision: str) -> Features:
    """What comes before the classifier, computed in float32 or bfloat16.

    Args:
        model: of float32 variables, with a classifier.
        precision: "float32" or "bfloat16"; the two ends are float32 always.
    """
    before = keras.Model(model.input, classifier(model).input)
    if precision != "float32":
        before = _of_type(before, precision)
    state = before.trainable_variables, before.non_trainable_variables
    values = [[variable.numpy() for variable in variables] for variables in state]

    def features(pixels: tf.Tensor) -> tf.Tensor:
        constants = [[tf.constant(value) for value in part] for part in values]
        with native(before):
            return before.stateless_call(*constants, pixels, training=False)[0]

    return features


def scores(model: keras.Model) -> Callable[[tf.Tensor], tf.Tensor]:
    """The classifier: probabilities, float32 (N, classes), from embeddings (N, F)."""
    layer = classifier(model)
    kernel, activation = layer.kernel.numpy(), ACTIVATIONS[layer.activation]
    bias = layer.bias.numpy() if layer.use_bias else 0.0
    return lambda embedding: activation(tf.matmul(embedding, tf.constant(kernel)) + bias)


def _of_type(model: keras.Model, precision: str) -> keras.Model:
    """A copy whose weights are of that type too, so that none is cast while it serves."""
    inner = set(between_the_ends(model))

    def cloned(layer: Any) -> Any:
        if not isinstance(layer, keras.layers.Layer):
            return layer
        config = layer.get_config()
        return type(layer).from_config({**config, "dtype": precision} if layer in inner else config)

    copy = keras.models.clone_model(model, clone_function=cloned, recursive=True)
    copy.set_weights(model.get_weights())
    return copy
