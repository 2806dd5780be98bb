"""Rematerialization (Chen et al. 2016, arXiv:1604.06174): less memory for more computation.

The forward pass keeps only the inputs of the blocks. The backward pass computes all other tensors again. The
`RematScope` of Keras does not work in TensorFlow's graphs, and a batch norm that is computed twice updates its moving
statistics twice per step. Here a block is a pure function: from its input and its variables to its output and the new
values of its variables, which are assigned once.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras

from keras_resnet._internal.keras_graph import functional_graph, nodes_of, single_input, takes_training
from keras_resnet.runtime.calls import replaced_calls


class Segment:
    """A part of a graph with one input tensor and one output tensor.

    Args:
        nodes: nodes of the graph, in the order of computation.
        source: input tensor.
        target: output tensor.
    """

    def __init__(self, nodes: Sequence[Any], source: Any, target: Any) -> None:
        self.nodes, self.source, self.target = nodes, source, target
        layers = dict.fromkeys(node.operation for node in nodes)  # each layer once, in order
        variables = (variable for layer in layers for variable in getattr(layer, "variables", ()))
        self.variables = list({id(variable): variable for variable in variables}.values())

    def __call__(self, x: Any, training: bool | None) -> Any:
        """The output tensor for the input `x`."""
        values = {id(self.source): x}
        for node in self.nodes:
            arguments, options = node.arguments.fill_in(values)
            if takes_training(node.operation):
                options["training"] = training
            result = node.operation(*arguments, **options)
            values.update(zip(map(id, node.outputs), keras.tree.flatten(result), strict=True))
        return values[id(self.target)]


@contextlib.contextmanager
def remat_blocks(model: keras.Model) -> Iterator[None]:
    """Makes `model` recompute its blocks in the backward pass, inside the block of `with`; the results are the same.

    A block of the model is the part between two tensors of the residual stream. Such a tensor is read by more than one
    layer, and no connection leads past it.

    Args:
        model: a functional model with one input and one output.
    """
    graph = functional_graph(model)
    segments = _segments(graph)

    def call(model: Any, inputs: Any, training: bool | None = None, mask: None = None) -> Any:
        x = single_input(graph, inputs)
        for segment in segments:
            x = _recomputed(segment, x, training) if training else segment(x, training)
        return x

    with replaced_calls({model: call}):
        yield


def _recomputed(segment: Segment, x: Any, training: bool | None) -> Any:
    trainable = [variable for variable in segment.variables if variable.trainable]
    states = [variable for variable in segment.variables if not variable.trainable]

    # Copies, because the variables get new values before the backward pass.
    before = [keras.ops.copy(variable.value) for variable in states]

    def pure(x: Any, *values: Any) -> tuple[Any, ...]:
        with keras.StatelessScope(state_mapping=[*zip(trainable, values), *zip(states, before)]) as scope:
            y = segment(x, training)
        return y, *(scope.get_current_value(variable) for variable in states)

    remat = _remat_in_tensorflow if keras.backend.backend() == "tensorflow" else keras.remat
    y, *updates = remat(pure)(x, *(keras.ops.convert_to_tensor(variable) for variable in trainable))
    for variable, update in zip(states, updates, strict=True):
        variable.assign(update)
    return y


def _remat_in_tensorflow(function: Callable[..., tuple[Any, ...]]) -> Callable[..., tuple[Any, ...]]:
    """`keras.remat` for TensorFlow, for first derivatives only.

    Keras uses `tf.recompute_grad`, which searches the whole graph before each block for variables: the time to trace a
    network grows with the square of its depth.
    """
    import tensorflow as tf  # noqa: PLC0415

    @tf.custom_gradient
    def rematerialized(*arguments: Any) -> Any:
        def gradient(*upstream: Any) -> Any:
            # The dependency delays the computation until the gradient is known. New tensors prevent TensorFlow from
            # using the results of the forward pass.
            with tf.control_dependencies(upstream):
                copies = [tf.identity(argument) for argument in arguments]
            with tf.GradientTape() as tape:
                tape.watch(copies)
                results = function(*copies)
            return tape.gradient(results, copies, upstream)

        return function(*arguments), gradient

    return rematerialized


def _segments(model: keras.Model) -> list[Segment]:
    nodes = [node for node in nodes_of(model) if not node.is_input]
    readers: dict[int, int] = {}  # for each tensor, the number of nodes that still have to read it
    for node in nodes:
        for tensor in node.input_tensors:
            readers[id(tensor)] = readers.get(id(tensor), 0) + 1
    branching = {tensor for tensor, count in readers.items() if count > 1}
    segments, source, part = [], model.inputs[0], []
    open_tensors = {id(source)}
    for node in nodes:
        part.append(node)
        for tensor in node.input_tensors:
            readers[id(tensor)] -= 1
            if not readers[id(tensor)]:
                open_tensors.discard(id(tensor))
        open_tensors.update(map(id, node.outputs))
        (target,) = node.outputs
        if open_tensors == {id(target)} and (id(target) in branching or target is model.outputs[0]):
            segments.append(Segment(part, source, target))
            source, part = target, []
    return segments
