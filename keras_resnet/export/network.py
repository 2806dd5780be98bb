"""A network as TensorFlow functions, with its weights as constants in the graph.

A variable would be read again at each step. With constants TensorFlow prepares the kernels of the convolutions once,
and joins convolution, bias, addition and ReLU: this is 1.1 to 1.3 times as fast (benchmarks, `serve`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from keras_resnet._internal.keras_graph import producer
from keras_resnet.export.graphs import copy_layer
from keras_resnet.runtime.grouped_convolutions import without_xla
from keras_resnet.runtime.precision import inner_layers

# Pixels (N, H, W, C) -> the embedding (N, F), or the map (N, h, w, F) that `pooled` makes it from; all float32.
Features = Callable[[tf.Tensor], tf.Tensor]
Part = Callable[[keras.Model], keras.Model]  # a network -> its layers from pixels to features
Kernel = Callable[[], tf.Tensor]  # -> the weights of a classifier, float32 (F, classes)
FINITE = "finite_pixels"  # name scope of `finite_or_nan`
ACTIVATIONS = {
    keras.activations.softmax: tf.nn.softmax,
    keras.activations.sigmoid: tf.nn.sigmoid,
    keras.activations.linear: tf.nn.softmax,  # the outputs are logits, and servers answer with probabilities
}
# Layers that do something in training only; in a served network they are the identity.
TRAINING_ONLY = (
    keras.layers.Dropout,
    keras.layers.SpatialDropout2D,
    keras.layers.GaussianDropout,
    keras.layers.GaussianNoise,
    keras.layers.RandomFlip,
    keras.layers.RandomRotation,
    keras.layers.RandomTranslation,
    keras.layers.RandomZoom,
    keras.layers.RandomContrast,
    keras.layers.RandomBrightness,
    keras.layers.RandomErasing,
    keras.layers.Identity,
)


class Head(NamedTuple):
    """The classifier at the end of a model.

    Attributes:
        layer: the Dense layer.
        activation: function from the output of the layer, without its own activation, to probabilities.
        embedding: the Keras tensor that the layer reads.
    """

    layer: Any
    activation: Callable[[tf.Tensor], tf.Tensor]
    embedding: keras.KerasTensor


def classifier(model: keras.Model) -> Head:
    """The Dense layer at the end of a functional model, and the softmax or sigmoid in it or after it.

    Raises:
        ValueError: the model ends in another layer, or it has a single output without activation, which is not a
            probability.
    """
    nodes = [producer(tensor) for tensor in keras.tree.flatten(model.output)]
    if len(nodes) == 1 and isinstance(nodes[0].operation, (keras.layers.Softmax, keras.layers.Activation)):
        nodes.insert(0, producer(nodes[0].input_tensors[0]))
    layer, last = nodes[0].operation, nodes[-1].operation
    activation = _activation(last)
    single_activation = layer is last or _activation(layer) is keras.activations.linear
    if (
        len(model.outputs) > 1
        or not isinstance(layer, keras.layers.Dense)
        or activation not in ACTIVATIONS
        or not single_activation
    ):
        raise ValueError(
            "model must end in a Dense layer with a softmax, a sigmoid or no activation (include_top=True). "
            f"Received: a model that ends in {last!r}"
        )
    embedding = nodes[0].input_tensors[0]
    if len(embedding.shape) != 2:
        raise ValueError(
            "model must end in a Dense layer that reads vectors (N, F). "
            f"Received: a Dense layer that reads {embedding.shape}"
        )
    if layer.units == 1 and activation is keras.activations.linear:
        raise ValueError(
            "model must give probabilities: a single output needs a sigmoid (classifier_activation='sigmoid'). "
            "Received: one output without activation"
        )
    return Head(layer, ACTIVATIONS[activation], embedding)


def _activation(layer: Any) -> Any:
    if isinstance(layer, keras.layers.Softmax):
        return keras.activations.softmax if layer.axis == -1 else None
    return getattr(layer, "activation", None)


def feature_extractor(model: keras.Model) -> keras.Model:
    """The model from pixels (N, H, W, C) to embeddings (N, F): all layers before the classifier."""
    return keras.Model(model.input, classifier(model).embedding)


def map_extractor(model: keras.Model) -> keras.Model:
    """The model from pixels (N, H, W, C) to the map (N, h, w, F) whose average over all places is the embedding.

    Raises:
        ValueError: the classifier does not read the averages of a map, or the map has one place only.
    """
    node = producer(classifier(model).embedding)
    while _keeps_values(node):
        node = producer(node.input_tensors[0])
    if not _averages_map(node):
        raise ValueError(
            "explain: the model must end in average pooling of a map and one Dense layer, with dropout at most between "
            f"them. Received: layer {node.operation.name!r} ({type(node.operation).__name__}) before the Dense layer; "
            "export the model without explain, and use kr.explain.heat_maps, which takes other models too"
        )
    features = node.input_tensors[0]
    if features.shape[1:3] == (1, 1):
        raise ValueError(
            "explain: the map before average pooling must have more than one place. Received: a map of one place, for "
            f"images of {model.input_shape[1]}x{model.input_shape[2]} pixels; build the model for larger images"
        )
    return keras.Model(model.input, features)


def _averages_map(node: Any) -> bool:
    """Whether the call of a layer averages each channel of a map over all places."""
    layer = node.operation
    if getattr(layer, "data_format", None) != "channels_last":
        return False
    # Exactly these classes: a derived class may compute something else.
    whole = type(layer) is keras.layers.AveragePooling2D and layer.pool_size == node.input_tensors[0].shape[1:3]
    return whole or type(layer) is keras.layers.GlobalAveragePooling2D


def _keeps_values(node: Any) -> bool:
    """Whether the call of a layer changes no value in a served network; (N, 1, 1, F) may become (N, F)."""
    if type(node.operation) in (keras.layers.Flatten, keras.layers.Reshape):
        before, after = (tensors[0].shape for tensors in (node.input_tensors, node.outputs))
        return before[1:-1] in ((), (1, 1)) and before[-1] == after[-1]
    return type(node.operation) in TRAINING_ONLY and not node.arguments.kwargs.get("training")


def pooled(features: tf.Tensor) -> tf.Tensor:
    """The embedding (N, F) of features, which are the embedding itself, or a map (N, h, w, F) to be averaged."""
    return features if len(features.shape) == 2 else tf.reduce_mean(features, (1, 2))


def float_features(model: keras.Model, precision: str, part: Part = feature_extractor) -> Features:
    """The layers before the classifier, computed in float32 or bfloat16.

    Args:
        model: a network of float32 layers that ends in a classifier.
        precision: "float32" or "bfloat16". Pixels and features are float32 in both.
        part: function that gives the layers before the features: `feature_extractor` or `map_extractor`.

    Returns:
        A function from pixels (N, H, W, C) to features. The weights are constants in the graph that calls it.
    """
    before = part(model)
    if precision != "float32":
        before = in_precision(before, precision, inner_layers(before))
    outputs = with_constants(before)
    return lambda pixels: tf.cast(outputs(pixels), tf.float32)


def with_constants(model: keras.Model) -> Callable[[Any], Any]:
    """A network as a function from inputs to outputs, with its weights as constants in the graph that calls it."""
    state = model.trainable_variables, model.non_trainable_variables
    values = [[variable.numpy() for variable in variables] for variables in state]

    def outputs(inputs: Any) -> Any:
        constants = [[tf.constant(value) for value in group] for group in values]
        with without_xla(model):
            return model.stateless_call(*constants, inputs, training=False)[0]

    return outputs


def finite_or_nan(pixels: tf.Tensor, outputs: tf.Tensor) -> tf.Tensor:
    """`outputs`, float32 (N, F), but NaN for each image of `pixels` with a number that is NaN or infinite.

    Some kernels of ReLU and of max-pooling, and all integers, turn NaN into a number: the probabilities would be
    plausible and wrong.
    """
    with tf.name_scope(FINITE):
        # A comparison, because optimisers of graphs replace x - x and 0 * x by 0. Of each pixel, and not of their sum:
        # the sum is larger than 65,504, the largest number of float16, to which engines convert a network.
        is_finite = tf.reduce_all(tf.abs(pixels) < tf.float32.max, (1, 2, 3))
        return tf.where(is_finite[:, None], outputs, np.float32("nan"))


def classifier_kernel(model: keras.Model) -> Kernel:
    """The weights of the classifier as a constant in the graph that calls the function."""
    values = classifier(model).layer.kernel.numpy()
    return lambda: tf.constant(values)


def classifier_scores(model: keras.Model, kernel: Kernel | None = None) -> Callable[[tf.Tensor], tf.Tensor]:
    """The classifier as a function from embeddings (N, F) to probabilities, float32 (N, classes).

    Args:
        model: a network that ends in a classifier.
        kernel: function that gives the weights of the classifier. None: `classifier_kernel(model)`.
    """
    layer, activation, _ = classifier(model)
    weights = kernel or classifier_kernel(model)
    bias = layer.bias.numpy() if layer.use_bias else 0.0
    return lambda embedding: activation(tf.matmul(embedding, weights()) + bias)


def in_precision(model: keras.Model, precision: str, layers: Iterable[keras.layers.Layer]) -> keras.Model:
    """A copy of a network of which some layers have weights of type `precision`, so that the server casts no weight.

    Args:
        model: a functional network of float32 layers.
        precision: "bfloat16" or "float16".
        layers: these layers.
    """
    inner = set(layers)

    def clone(layer: Any) -> Any:
        if not isinstance(layer, keras.layers.Layer):
            return layer
        return copy_layer(layer, dtype=precision) if layer in inner else copy_layer(layer)

    copy = keras.models.clone_model(model, clone_function=clone, recursive=True)
    copy.set_weights(model.get_weights())
    return copy
