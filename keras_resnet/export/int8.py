"""A network in 8 bits: a folded Keras graph becomes TensorFlow operations, most of them on integers.

The ranges of what is quantised are those that calibration images have (Jacob et al. 2017, arXiv:1712.05877).
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
from keras_resnet.export.int8_layers import LOWERINGS, TRAINING_ONLY, Float, Value, dequantized, settled
from keras_resnet.export.network import Features, feature_extractor

BATCH = 16  # calibration images at a time


def quantised(model: keras.Model, images: np.ndarray) -> Features:
    """The network in 8 bits, for `tf.function`s to trace; ask `int8_kernels.available` first.

    Convolutions read quint8 and weights of 8 bits, with a scale for each output channel; the first convolution is in
    bfloat16, and what follows the last pooling in float32.

    Args:
        model: a network of this library with its top, of float32 layers, after `fold_batch_norm`.
        images: for calibration, raw pixels (N, H, W, C); what goes beyond what they show is cut off.

    Returns:
        From float32 (N, H, W, C) to what the classifier reads, (N, F). All weights are constants of the graph that
        calls it.

    Raises:
        ValueError: `model` has layers that have no 8-bit form, or does not end in a classifier; `images` has none.

    Example:
        >>> import keras_resnet as kr, numpy as np, tensorflow as tf
        >>> from keras_resnet.export.folding import fold_batch_norm
        >>> model = fold_batch_norm(kr.ResNet20())
        >>> serve = quantised(model, np.random.uniform(0, 255, (8, 32, 32, 3)))
        >>> embedding = tf.function(serve)(tf.zeros((1, 32, 32, 3)))  # doctest: +SKIP
    """
    if images.ndim != 4 or not len(images):
        raise ValueError(f"images must be a batch (N, H, W, C) with N at least 1. Received: shape {images.shape}")
    network = feature_extractor(model)
    nodes = [node for node in nodes_of(network) if not node.is_input]
    unknown = sorted({_described(node.operation) for node in nodes if type(node.operation) not in LOWERINGS})
    if unknown:
        raise ValueError(f"model must be of layers that have an 8-bit form. Received: {', '.join(unknown)}")
    spans = _calibrated(network, nodes, images)

    def serve(pixels: tf.Tensor) -> tf.Tensor:
        start = Float(tf.cast(pixels, tf.float32), spans[id(network.inputs[0])])
        values = _lowered(nodes, {id(network.inputs[0]): start}, spans)
        embedding = dequantized(values[id(network.outputs[0])]).tensor
        # Integers have no NaN: a pixel that is no number would get a confident answer.
        numbers = tf.math.is_finite(tf.reduce_sum(start.tensor, (1, 2, 3)))
        return tf.where(numbers[:, None], embedding, np.nan)

    return serve


def _described(operation: Any) -> str:
    return f"{type(operation).__name__} {operation.name!r}"


def _calibrated(model: keras.Model, nodes: Sequence[Any], images: np.ndarray) -> dict[int, Span]:
    """What each tensor of the graph has been, over all images; by the id of the Keras tensor."""
    tensors = [model.inputs[0], *(node.outputs[0] for node in nodes)]

    # Every tensor is reduced as soon as it is there, so that no more of them are kept than in an ordinary pass.
    @tf.function(input_signature=[tf.TensorSpec(model.inputs[0].shape)], autograph=False)
    def extremes(batch: tf.Tensor) -> list[tuple[tf.Tensor, tf.Tensor]]:
        values = {id(tensors[0]): batch}
        for node in nodes:
            arguments, options = node.arguments.fill_in(values)
            values[id(node.outputs[0])] = node.operation(*arguments, **options)
        found = [values[id(tensor)] for tensor in tensors]
        return [
            tuple(reduce(x, tuple(range(len(x.shape) - 1))) for reduce in (tf.reduce_min, tf.reduce_max)) for x in found
        ]

    batches = [extremes(images[i : i + BATCH].astype("float32")) for i in range(0, len(images), BATCH)]
    return {
        id(tensor): Span(np.min([least for least, _ in of], 0), np.max([most for _, most in of], 0))
        for tensor, *of in zip(tensors, *batches, strict=True)
    }


def _lowered(nodes: Sequence[Any], values: dict[int, Value], spans: dict[int, Span]) -> dict[int, Value]:
    readers: dict[int, list[Any]] = defaultdict(list)
    makers = {id(node.outputs[0]): node for node in nodes}
    for node in nodes:
        for tensor in node.input_tensors:
            readers[id(tensor)].append(node)
    for node in nodes:
        inputs = [values[id(tensor)] for tensor in node.input_tensors]
        if isinstance(node.operation, keras.layers.Add) and not _is_last(node, readers, makers):
            inputs = [dequantized(value) for value in inputs]  # nothing is written over
        output = id(node.outputs[0])
        value = LOWERINGS[type(node.operation)](node.operation, inputs, spans[output])
        # What two layers read has to be there; what one reads may become part of it.
        values[output] = settled(value) if len(readers[output]) > 1 else value
    return values


def _is_last(addition: Any, readers: dict[int, list[Any]], makers: dict[int, Any]) -> bool:
    """Whether the addition is the last to read its two inputs: all others are on the way to its branch.

    A copy of the shortcut would not do instead: TensorFlow merges equal operations, and so equal copies.
    """
    if len(addition.input_tensors) != 2:
        return False
    shortcut, branch = map(id, addition.input_tensors)
    others = {id(node) for node in readers[shortcut] if node is not addition}
    way, seen = [branch], {shortcut}
    while others and way:
        tensor = way.pop()
        if tensor in seen or tensor not in makers:
            continue
        seen.add(tensor)
        others.discard(id(makers[tensor]))
        way.extend(map(id, makers[tensor].input_tensors))
    alone = len(readers[branch]) == 1 and not _passes_on(makers.get(shortcut))
    return alone and not others and shortcut != branch


def _passes_on(maker: Any) -> bool:
    """Whether what a node gives is the very memory that it reads."""
    return maker is not None and type(maker.operation) in TRAINING_ONLY
