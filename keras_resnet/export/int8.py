"""Static 8-bit quantisation: a Keras graph with folded batch norms becomes TensorFlow operations, most on integers.

Calibration images give the range of each tensor (Jacob et al. 2017, arXiv:1712.05877).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_resnet._internal.keras_graph import nodes_of
from keras_resnet.export.int8_kernels import Span
from keras_resnet.export.int8_layers import LOWERINGS, Float, Value, dequantized, settled
from keras_resnet.export.network import TRAINING_ONLY, Features, Part, feature_extractor

BATCH = 16  # calibration images in one batch


def quantised(model: keras.Model, images: np.ndarray, part: Part = feature_extractor) -> Features:
    """The layers before the classifier in 8 bits, as a function for `tf.function` to trace.

    Call it only if `int8_kernels.available()` is True. Convolutions read quint8 and 8-bit weights, with one scale for
    each output channel. The first convolution is in bfloat16, and the layers after the last pooling are in float32.

    Args:
        model: a network of this library with a classifier, of float32 layers, from `fold_batch_norm`.
        images: calibration images, raw pixels (N, H, W, C). Values outside the range that they give are clipped.
        part: function that gives the layers before the features: `feature_extractor` or `map_extractor`.

    Returns:
        A function from pixels, float32 (N, H, W, C), to features, float32. All weights are constants in the graph that
        calls it.

    Raises:
        ValueError: `model` has layers without an 8-bit form, or does not end in a classifier; or there are no images.

    Example:
        >>> import keras_resnet as kr, numpy as np, tensorflow as tf
        >>> from keras_resnet.export.folding import fold_batch_norm
        >>> from keras_resnet.export.int8 import quantised
        >>> model = fold_batch_norm(kr.ResNet20())
        >>> serve = quantised(model, np.random.uniform(0, 255, (8, 32, 32, 3)))
        >>> embedding = tf.function(serve)(tf.zeros((1, 32, 32, 3)))  # doctest: +SKIP
    """
    if images.ndim != 4 or not len(images):
        raise ValueError(f"images must be a batch (N, H, W, C) with N at least 1. Received: shape {images.shape}")
    network = part(model)
    nodes = [node for node in nodes_of(network) if not node.is_input]
    unknown = sorted({_described(node.operation) for node in nodes if type(node.operation) not in LOWERINGS})
    if unknown:
        raise ValueError(
            f"model must have only layers that have an 8-bit form. Received: {', '.join(unknown)}; use bfloat16 instead"
        )
    spans = _calibrated(network, nodes, images)

    def serve(pixels: tf.Tensor) -> tf.Tensor:
        start = Float(tf.cast(pixels, tf.float32), spans[id(network.inputs[0])])
        values = _lowered(nodes, {id(network.inputs[0]): start}, spans)
        return dequantized(values[id(network.outputs[0])]).tensor

    return serve


def _described(operation: Any) -> str:
    return f"{type(operation).__name__} {operation.name!r}"


def _calibrated(model: keras.Model, nodes: Sequence[Any], images: np.ndarray) -> dict[int, Span]:
    """The span of each tensor of the graph over all images, by the id of the Keras tensor."""
    tensors = [model.inputs[0], *(node.outputs[0] for node in nodes)]

    # TensorFlow reduces each tensor as soon as it is computed, so this needs no more memory than a forward pass.
    @tf.function(input_signature=[tf.TensorSpec(model.inputs[0].shape)], autograph=False)
    def extremes(batch: tf.Tensor) -> list[tuple[tf.Tensor, tf.Tensor]]:
        values = {id(tensors[0]): batch}
        for node in nodes:
            arguments, options = node.arguments.fill_in(values)
            values[id(node.outputs[0])] = node.operation(*arguments, **options)
        results = [values[id(tensor)] for tensor in tensors]
        return [
            tuple(reduce(x, tuple(range(len(x.shape) - 1))) for reduce in (tf.reduce_min, tf.reduce_max))
            for x in results
        ]

    batches = [extremes(images[i : i + BATCH].astype("float32")) for i in range(0, len(images), BATCH)]
    return {
        id(tensor): Span(np.min([least for least, _ in spans], 0), np.max([most for _, most in spans], 0))
        for tensor, *spans in zip(tensors, *batches, strict=True)
    }


def _lowered(nodes: Sequence[Any], values: dict[int, Value], spans: dict[int, Span]) -> dict[int, Value]:
    """Adds the operations of all nodes to the graph that is being traced.

    Args:
        nodes: the nodes of the Keras graph, in the order of computation.
        values: the value of each input, by the id of its Keras tensor.
        spans: the span of each tensor, by the id of the Keras tensor.

    Returns:
        `values`, with the value of each other tensor too.
    """
    readers: dict[int, list[Any]] = defaultdict(list)
    makers = {id(node.outputs[0]): node for node in nodes}
    for node in nodes:
        for tensor in node.input_tensors:
            readers[id(tensor)].append(node)
    for node in nodes:
        inputs = [values[id(tensor)] for tensor in node.input_tensors]
        if isinstance(node.operation, keras.layers.Add) and not _is_last(node, readers, makers):
            inputs = [dequantized(value) for value in inputs]  # in floating point, so that no memory is reused
        output = id(node.outputs[0])
        value = LOWERINGS[type(node.operation)](node.operation, inputs, spans[output])
        # A convolution that two layers read is computed now; one that a single layer reads may be fused with it.
        values[output] = settled(value) if len(readers[output]) > 1 else value
    return values


def _is_last(addition: Any, readers: dict[int, list[Any]], makers: dict[int, Any]) -> bool:
    """Whether the addition is the last to read its two inputs, so that it may write the sum into the shortcut's memory.

    All other layers that read the shortcut must lead to the branch, and no other layer may read the branch. A copy of
    the shortcut does not help: TensorFlow merges equal operations, and so equal copies.
    """
    if len(addition.input_tensors) != 2:
        return False
    shortcut, branch = map(id, addition.input_tensors)
    others = {id(node) for node in readers[shortcut] if node is not addition}
    stack, seen = [branch], {shortcut}
    while others and stack:
        tensor = stack.pop()
        if tensor in seen or tensor not in makers:
            continue
        seen.add(tensor)
        others.discard(id(makers[tensor]))
        stack.extend(map(id, makers[tensor].input_tensors))
    not_shared = len(readers[branch]) == 1 and not _shares_memory(makers.get(shortcut))
    return not_shared and not others and shortcut != branch


def _shares_memory(maker: Any) -> bool:
    """Whether the output of a node is its input, in the same memory."""
    return maker is not None and type(maker.operation) in TRAINING_ONLY
