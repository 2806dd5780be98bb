"""Rematerialisation: a network keeps what goes into its blocks, and computes the rest again in the backward pass.

Chen et al. 2016 (arXiv:1604.06174). Keras' own `RematScope` does not work in TensorFlow's graphs, and to recompute a
batch norm as it is moves its statistics twice a step. Here a block is a pure function: of its input and its
variables, to its output and its variables' new values, which are assigned once.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras

from keras_resnet._internal.keras_graph import nodes_of, single_input, takes_training
from keras_resnet.runtime.calls import replaced_calls


class Segment:
    """A part of a graph that one tensor goes into and one comes out of."""

    def __init__(self, nodes: Sequence[Any], source: Any, target: Any) -> None:
        self.nodes, self.source, self.target = nodes, source, target
        layers = dict.fromkeys(node.operation for node in nodes)  # each once, in order
        variables = (variable for layer in layers for variable in getattr(layer, "variables", ()))
        self.variables = list({id(variable): variable for variable in variables}.values())

    def __call__(self, x: Any, training: bool | None) -> Any:
        """What comes out of `x`."""
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
    """Lets a functional `model` of one input and output recompute its blocks while it learns; results are the same.

    A block is what lies between two tensors of the residual stream: those that more than one layer reads, and past
    which nothing leads.
    """
    segments = _segments(model)

    def call(model: Any, inputs: Any, training: bool | None = None, mask: None = None) -> Any:
        x = single_input(model, inputs)
        for segment in segments:
            x = _recomputed(segment, x, training) if training else segment(x, training)
        return x

    with replaced_calls({model: call}):
        yield


def _recomputed(segment: Segment, x: Any, training: bool | None) -> Any:
    learnt = [variable for variable in segment.variables if variable.trainable]
    moved = [variable for variable in segment.variables if not variable.trainable]

    # Copies: what a variable is told later must not be what the backward pass reads.
    before = [keras.ops.copy(variable.value) for variable in moved]

    def pure(x: Any, *values: Any) -> tuple[Any, ...]:
        with keras.StatelessScope(state_mapping=[*zip(learnt, values), *zip(moved, before)]) as scope:
            y = segment(x, training)
        return y, *(scope.get_current_value(variable) for variable in moved)

    remat = _remat_in_tensorflow if keras.backend.backend() == "tensorflow" else keras.remat
    y, *updates = remat(pure)(x, *(keras.ops.convert_to_tensor(variable) for variable in learnt))
    for variable, update in zip(moved, updates, strict=True):
        variable.assign(update)
    return y


def _remat_in_tensorflow(function: Callable[..., tuple[Any, ...]]) -> Callable[..., tuple[Any, ...]]:
    """What `keras.remat` does, for first derivatives.

    Keras takes `tf.recompute_grad`, which looks for variables from each block back through the whole graph: the time to
    trace a network grows with the square of its depth.
    """
    import tensorflow as tf  # noqa: PLC0415

    @tf.custom_gradient
    def forgetful(*arguments: Any) -> Any:
        def gradient(*upstream: Any) -> Any:
            # Not before the gradient has come so far, and not taken for the computation that was done already.
            with tf.control_dependencies(upstream):
                again = [tf.identity(argument) for argument in arguments]
            with tf.GradientTape() as tape:
                tape.watch(again)
                results = function(*again)
            return tape.gradient(results, again, upstream)

        return function(*arguments), gradient

    return forgetful


def _segments(model: keras.Model) -> list[Segment]:
    nodes = [node for node in nodes_of(model) if not node.is_input]
    readers: dict[int, int] = {}  # of each tensor, those that are still to come
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
        if open_tensors == {id(target)} and (id(target) in branching or target is model.output):
            segments.append(Segment(part, source, target))
            source, part = target, []
    return segments
