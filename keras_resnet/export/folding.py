"""Batch norms become part of the convolutions before them; the network stays one of plain Keras layers."""

from __future__ import annotations

from collections import Counter
from typing import Any, TypeAlias

import keras
import numpy as np

from keras_resnet._internal.keras_graph import functional_graph, nested_graphs, nodes_of, producer
from keras_resnet.export.graphs import copy_layer
from keras_resnet.resnet import let_keras_recurse

Layer: TypeAlias = Any  # keras.layers.Layer, whose attributes differ by kind
# Not what is derived from them, which may use its weights in another way.
FOLDABLE = (keras.layers.Conv1D, keras.layers.Conv2D, keras.layers.DepthwiseConv2D, keras.layers.Dense)


def fold_batch_norm(model: keras.Model) -> keras.Model:
    """A network for inference without batch norms, which answers as `model` does.

    A batch norm of what a convolution gives goes into its kernel and bias (Jacob et al. 2017, arXiv:1712.05877, section
    3.2). One that stands elsewhere, as in pre-activation blocks, becomes one scale and shift: a depthwise 1x1
    convolution, which TensorFlow computes in one pass with the ReLU after it.

    Args:
        model: a functional or sequential model, with or without models inside it, under any dtype policy.

    Returns:
        A model with weights of its own, and the names of the layers that are left. It computes the same but for
        rounding.

    Raises:
        TypeError: `model` is of another kind.

    Example:
        >>> import keras_resnet as kr
        >>> model = kr.ResNet20()
        >>> len(model.layers) - len(kr.export.fold_batch_norm(model).layers)
        19
    """
    graph = functional_graph(model)
    let_keras_recurse(len(graph.operations) // 5)
    # Not the model itself: one that is compiled would be compiled again.
    plain = keras.Model(graph.input, graph.output, name=model.name)
    graphs = nested_graphs(plain)
    live = {node.operation for graph in graphs for node in nodes_of(graph) if node.arguments.kwargs.get("training")}
    norms = _foldable(graphs, live)
    convolutions = {convolution: norm for norm, convolution in norms.items()}
    originals: dict[Any, Any] = {}

    def cloned(operation: Any) -> Any:
        if not isinstance(operation, keras.layers.Layer):
            return operation
        if operation in norms:
            made = keras.layers.Identity(name=operation.name)
        elif operation in convolutions:
            made = copy_layer(operation, use_bias=True)
        elif _scales_channels(operation) and operation not in live:
            made = keras.layers.DepthwiseConv2D(1, dtype=operation.dtype_policy, name=operation.name)
        elif _normalises_channels(operation):
            made = _rescaling(operation)
        else:
            made = copy_layer(operation)
        originals[made] = operation
        return made

    def called(made: Any, *arguments: Any, **options: Any) -> Any:
        original = originals.get(made, made)
        if original in norms:
            return arguments[0]
        # A batch norm's mask and training mean nothing to a convolution.
        return made(*arguments, **options) if type(made) is type(original) else made(arguments[0])

    folded = keras.models.clone_model(plain, clone_function=cloned, call_function=called, recursive=True)
    for made, original in originals.items():
        if original in convolutions:
            made.set_weights(_joined(original, convolutions[original]))
        elif type(made) is not type(original):
            made.set_weights(_scale_and_shift(original) if made.weights else [])
        else:
            made.set_weights(original.get_weights())
    return folded


def _foldable(graphs: list[Any], live: set[Layer]) -> dict[Layer, Layer]:
    """Batch norms, and for each the layer whose output it alone reads; none of those that use a batch's statistics."""
    calls = Counter(node.operation for graph in graphs for node in nodes_of(graph))
    found = {}
    for graph in graphs:
        readers = Counter(id(tensor) for node in nodes_of(graph) for tensor in node.input_tensors)
        readers.update(map(id, graph.outputs))
        for node in nodes_of(graph):
            norm = node.operation
            if type(norm) is not keras.layers.BatchNormalization or norm in live:
                continue
            tensor = node.input_tensors[0]
            before = producer(tensor).operation
            alone = calls[norm] == calls[before] == readers[id(tensor)] == 1
            if alone and _gives_channels(before, norm):
                found[norm] = before
    return found


def _gives_channels(layer: Layer, norm: Layer) -> bool:
    """Whether `layer` is linear, and each of its outputs' channels has a row of weights that `norm` can go into."""
    if type(layer) not in FOLDABLE or layer.activation is not keras.activations.linear:
        return False
    last = getattr(layer, "data_format", "channels_last") == "channels_last"
    return norm.axis in ((-1, norm.input_spec.ndim - 1) if last else (1,))


def _scales_channels(layer: Layer) -> bool:
    """Whether `layer` is a batch norm of images, of channels that come last as TensorFlow's kernel wants them."""
    kind = type(layer) is keras.layers.BatchNormalization
    return kind and layer.input_spec.ndim == 4 and layer.axis in (-1, 3)


def _normalises_channels(layer: Layer) -> bool:
    kind = type(layer) is keras.layers.Normalization and not layer.invert
    return kind and np.shape(layer.mean)[-1:] == (np.size(layer.mean),)


def _rescaling(layer: Layer) -> Layer:
    """What a normalisation of pixels does, with numbers in the place of tensors that a graph would have to be given."""
    mean, variance = (np.asarray(x, "float64").ravel() for x in (layer.mean, layer.variance))
    scale = 1 / np.maximum(np.sqrt(variance), keras.config.epsilon())
    lists = {"scale": scale.tolist(), "offset": (-mean * scale).tolist()}
    return keras.layers.Rescaling(**lists, dtype=layer.dtype_policy, name=layer.name)


def _affine(norm: Layer) -> tuple[np.ndarray, np.ndarray]:
    """Scale and shift of each channel, in float64."""
    mean, variance = (np.asarray(x, "float64") for x in (norm.moving_mean, norm.moving_variance))
    gamma = np.asarray(norm.gamma, "float64") if norm.scale else 1.0
    beta = np.asarray(norm.beta, "float64") if norm.center else 0.0
    scale = gamma / np.sqrt(variance + norm.epsilon)
    return scale, beta - mean * scale


def _joined(layer: Layer, norm: Layer) -> list[np.ndarray]:
    scale, shift = _affine(norm)
    kernel = np.asarray(layer.kernel, "float64")
    bias = np.asarray(layer.bias, "float64") if layer.use_bias else 0.0
    # A depthwise kernel has the channels in its last two axes.
    by_channel = scale.reshape(kernel.shape[-2:]) if isinstance(layer, keras.layers.DepthwiseConv2D) else scale
    return [kernel * by_channel, bias * scale + shift]


def _scale_and_shift(norm: Layer) -> list[np.ndarray]:
    scale, shift = _affine(norm)
    return [scale.reshape((1, 1, -1, 1)), shift]
