"""A network as functions of TensorFlow, with its weights as constants in the graph.

Constants, where a variable would be read anew at each step, let TensorFlow prepare the kernels of its convolutions
once, and join convolution, bias, addition and ReLU: 1.1 to 1.3 times as fast (benchmarks, `serve`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from keras_resnet._internal.keras_graph import producer
from keras_resnet.export.graphs import copy_layer
from keras_resnet.runtime.grouped_convolutions import without_xla
from keras_resnet.runtime.precision import inner_layers

Features = Callable[[tf.Tensor], tf.Tensor]  # pixels (N, H, W, C) -> embedding (N, F), both float32
ACTIVATIONS = {
    keras.activations.softmax: tf.nn.softmax,
    keras.activations.sigmoid: tf.nn.sigmoid,
    keras.activations.linear: tf.nn.softmax,  # logits: what is served is probabilities
}


class Head(NamedTuple):
    """The classifier that a model ends in: the dense layer, what makes probabilities of its answer, what it reads."""

    layer: Any
    activation: Callable[[tf.Tensor], tf.Tensor]
    embedding: keras.KerasTensor


def classifier(model: keras.Model) -> Head:
    """The dense layer that a functional model ends in, and the softmax or sigmoid in it or after it.

    Raises:
        ValueError: it ends in something else, or a single output has no activation: that is no probability.
    """
    made = [producer(tensor) for tensor in keras.tree.flatten(model.output)]
    if len(made) == 1 and isinstance(made[0].operation, (keras.layers.Softmax, keras.layers.Activation)):
        made.insert(0, producer(made[0].input_tensors[0]))
    layer, last = made[0].operation, made[-1].operation
    activation = _activation(last)
    alone = layer is last or _activation(layer) is keras.activations.linear
    if (
        len(model.outputs) > 1
        or not isinstance(layer, keras.layers.Dense)
        or activation not in ACTIVATIONS
        or not alone
    ):
        raise ValueError(
            "model must end in a Dense layer with a softmax, a sigmoid or no activation (include_top=True). "
            f"Received: one that ends in {last!r}"
        )
    if len(made[0].input_tensors[0].shape) != 2:
        shape = made[0].input_tensors[0].shape
        raise ValueError(f"model must end in a Dense layer that reads vectors (N, F). Received: one that reads {shape}")
    if layer.units == 1 and activation is keras.activations.linear:
        raise ValueError("model must end in probabilities: a single output needs a sigmoid. Received: no activation")
    return Head(layer, ACTIVATIONS[activation], made[0].input_tensors[0])


def _activation(layer: Any) -> Any:
    if isinstance(layer, keras.layers.Softmax):
        return keras.activations.softmax if layer.axis == -1 else None
    return getattr(layer, "activation", None)


def feature_extractor(model: keras.Model) -> keras.Model:
    """From pixels to embeddings."""
    return keras.Model(model.input, classifier(model).embedding)


def float_features(model: keras.Model, precision: str) -> Features:
    """What comes before the classifier, computed in float32 or bfloat16.

    Args:
        model: of float32 layers, with a classifier.
        precision: "float32" or "bfloat16"; the two ends are float32 always.
    """
    before = feature_extractor(model)
    if precision != "float32":
        before = _of_type(before, precision)
    state = before.trainable_variables, before.non_trainable_variables
    values = [[variable.numpy() for variable in variables] for variables in state]

    def features(pixels: tf.Tensor) -> tf.Tensor:
        constants = [[tf.constant(value) for value in part] for part in values]
        with without_xla(before):
            return before.stateless_call(*constants, pixels, training=False)[0]

    return features


def scores(model: keras.Model) -> Callable[[tf.Tensor], tf.Tensor]:
    """The classifier: probabilities, float32 (N, classes), from embeddings (N, F)."""
    layer, activation, _ = classifier(model)
    kernel = layer.kernel.numpy()
    bias = layer.bias.numpy() if layer.use_bias else 0.0
    return lambda embedding: activation(tf.matmul(embedding, tf.constant(kernel)) + bias)


def _of_type(model: keras.Model, precision: str) -> keras.Model:
    """A copy whose weights are of that type too, so that none is cast while it serves."""
    inner = set(inner_layers(model))

    def cloned(layer: Any) -> Any:
        if not isinstance(layer, keras.layers.Layer):
            return layer
        return copy_layer(layer, dtype=precision) if layer in inner else copy_layer(layer)

    copy = keras.models.clone_model(model, clone_function=cloned, recursive=True)
    copy.set_weights(model.get_weights())
    return copy
