"""Batch-norm folding: batch norms become part of the convolutions before them, in a model of plain Keras layers."""

from __future__ import annotations

from collections import Counter
from typing import Any, TypeAlias

import keras
import numpy as np

from keras_resnet._internal.keras_graph import functional_graph, nested_graphs, nodes_of, producer
from keras_resnet.export.graphs import copy_layer
from keras_resnet.resnet import let_keras_recurse

Layer: TypeAlias = Any  # keras.layers.Layer, whose attributes differ by kind
# Exactly these classes: a derived class may use its weights in another way.
FOLDABLE = (keras.layers.Conv1D, keras.layers.Conv2D, keras.layers.DepthwiseConv2D, keras.layers.Dense)


def fold_batch_norm(model: keras.Model) -> keras.Model:
    """A copy of a network for inference, without batch norms, with the same outputs.

    A batch norm that follows a convolution becomes part of its kernel and bias (Jacob et al. 2017, arXiv:1712.05877,
    section 3.2). A batch norm elsewhere, as in pre-activation blocks, becomes one scale and shift: a depthwise 1x1
    convolution, which TensorFlow computes in one pass with the ReLU after it.

    Args:
        model: a functional or sequential model, with or without nested models, under any dtype policy.

    Returns:
        A model with its own weights. The layers that stay have their names. Its outputs differ from those of `model` by
        rounding only.

    Raises:
        TypeError: `model` is neither functional nor sequential, or its input is not known.

    Example:
        >>> import keras_resnet as kr
        >>> model = kr.ResNet20()
        >>> len(model.layers) - len(kr.export.fold_batch_norm(model).layers)
        19
    """
    graph = functional_graph(model)
    let_keras_recurse(len(graph.operations) // 5)
    # Not `model` itself: Keras would compile the copy of a compiled model.
    plain = keras.Model(graph.input, graph.output, name=model.name)
    graphs = nested_graphs(plain)
    live = {node.operation for graph in graphs for node in nodes_of(graph) if node.arguments.kwargs.get("training")}
    norms = _foldable(graphs, live)
    convolutions = {convolution: norm for norm, convolution in norms.items()}
    originals: dict[Any, Any] = {}

    def clone(operation: Any) -> Any:
        if not isinstance(operation, keras.layers.Layer):
            return operation
        if operation in norms:
            copy = keras.layers.Identity(name=operation.name)
        elif operation in convolutions:
            copy = copy_layer(operation, use_bias=True)
        elif _scales_channels(operation) and operation not in live:
            copy = keras.layers.DepthwiseConv2D(1, dtype=operation.dtype_policy, name=operation.name)
        elif _normalises_channels(operation):
            copy = _rescaling(operation)
        else:
            copy = copy_layer(operation)
        originals[copy] = operation
        return copy

    def call(copy: Any, *arguments: Any, **options: Any) -> Any:
        original = originals.get(copy, copy)
        if original in norms:
            return arguments[0]
        # A convolution does not take the arguments `mask` and `training` of a batch norm.
        return copy(*arguments, **options) if type(copy) is type(original) else copy(arguments[0])

    folded = keras.models.clone_model(plain, clone_function=clone, call_function=call, recursive=True)
    for copy, original in originals.items():
        if original in convolutions:
            copy.set_weights(_folded_weights(original, convolutions[original]))
        elif type(copy) is not type(original):
            copy.set_weights(_depthwise_weights(original) if copy.weights else [])
        else:
            copy.set_weights(original.get_weights())
    return folded


def _foldable(graphs: list[Any], live: set[Layer]) -> dict[Layer, Layer]:
    """Batch norms that can be folded -> the layer before each, whose output no other layer reads.

    Batch norms in `live` are not among them: they are called with `training` and use the statistics of a batch.
    """
    calls = Counter(node.operation for graph in graphs for node in nodes_of(graph))
    foldable = {}
    for graph in graphs:
        readers = Counter(id(tensor) for node in nodes_of(graph) for tensor in node.input_tensors)
        readers.update(map(id, graph.outputs))
        for node in nodes_of(graph):
            norm = node.operation
            if type(norm) is not keras.layers.BatchNormalization or norm in live:
                continue
            tensor = node.input_tensors[0]
            before = producer(tensor).operation
            only_reader = calls[norm] == calls[before] == readers[id(tensor)] == 1
            if only_reader and _can_take(before, norm):
                foldable[norm] = before
    return foldable


def _can_take(layer: Layer, norm: Layer) -> bool:
    """Whether `layer` is linear, and has weights for each of the channels that `norm` normalises."""
    if type(layer) not in FOLDABLE or layer.activation is not keras.activations.linear:
        return False
    last = getattr(layer, "data_format", "channels_last") == "channels_last"
    return norm.axis in ((-1, norm.input_spec.ndim - 1) if last else (1,))


def _scales_channels(layer: Layer) -> bool:
    """Whether `layer` is a batch norm of images with the channels last, as TensorFlow's kernel needs them."""
    kind = type(layer) is keras.layers.BatchNormalization
    return kind and layer.input_spec.ndim == 4 and layer.axis in (-1, 3)


def _normalises_channels(layer: Layer) -> bool:
    """Whether `layer` is a `Normalization` with one mean for each channel, and is not inverted."""
    kind = type(layer) is keras.layers.Normalization and not layer.invert
    return kind and np.shape(layer.mean)[-1:] == (np.size(layer.mean),)


def _rescaling(layer: Layer) -> Layer:
    """A `Rescaling` that computes the same as a `Normalization`: its numbers are configuration and not tensors."""
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


def _folded_weights(layer: Layer, norm: Layer) -> list[np.ndarray]:
    """Kernel and bias of a layer with a batch norm folded into them."""
    scale, shift = _affine(norm)
    kernel = np.asarray(layer.kernel, "float64")
    bias = np.asarray(layer.bias, "float64") if layer.use_bias else 0.0
    # The last two axes of a depthwise kernel are the channels.
    by_channel = scale.reshape(kernel.shape[-2:]) if isinstance(layer, keras.layers.DepthwiseConv2D) else scale
    return [kernel * by_channel, bias * scale + shift]


def _depthwise_weights(norm: Layer) -> list[np.ndarray]:
    """Kernel and bias of the depthwise 1x1 convolution that computes a batch norm."""
    scale, shift = _affine(norm)
    return [scale.reshape((1, 1, -1, 1)), shift]
