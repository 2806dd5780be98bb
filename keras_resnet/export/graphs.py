"""Copies of layers and models; each export begins with a flat copy in float32."""

from __future__ import annotations

import itertools
from typing import Any

import keras

from keras_resnet._internal.keras_graph import (
    functional_graph,
    nested_graphs,
    output_shape_of_lambda,
    run_graph,
    takes_training,
)
from keras_resnet.resnet import let_keras_recurse


def flat_float32(model: keras.Model) -> keras.Model:
    """The same network as one functional graph of float32 layers, without nested models.

    Args:
        model: functional or sequential, with or without nested models, under any dtype policy.

    Returns:
        `model` itself if it is such a graph already. Otherwise a copy with its own weights, whose results differ by
        rounding only. If several layers have one name, a number is added from the second on.

    Raises:
        TypeError: `model` is neither functional nor sequential.
    """
    graphs = nested_graphs(model)
    layers = [layer for graph in graphs for layer in graph.operations if isinstance(layer, keras.layers.Layer)]
    if isinstance(model, keras.Sequential) or len(graphs) > 1 or not all(map(_is_float32, layers)):
        return _flat_copy(graphs[0], model.name, 2 * len(layers))
    return model


def copy_layer(layer: Any, **changed: Any) -> Any:
    """A layer with the configuration of another one, except for what is `changed`, and with its own weights."""
    config = {**layer.get_config(), **changed}
    if type(layer) is not keras.layers.Lambda:
        return type(layer).from_config(config)
    # From a configuration Keras finds the function by its name, and refuses an anonymous one as unsafe.
    attributes = {name: getattr(layer, name) for name in ("function", "mask", "arguments")}
    return keras.layers.Lambda(**{**config, **attributes, "output_shape": output_shape_of_lambda(layer)})


def _is_float32(layer: Any) -> bool:
    return isinstance(layer, keras.Model) or (layer.compute_dtype, layer.variable_dtype) == ("float32", "float32")


def _flat_copy(graph: Any, name: str, depth: int) -> keras.Model:
    """A copy of a graph and of the graphs nested in it, as one model.

    Args:
        graph: functional graph.
        name: name of the copy.
        depth: upper bound of the number of layers in a row, for the recursion in Keras.
    """
    let_keras_recurse(depth // 10)
    clones: dict[Any, Any] = {}
    names = {operation.name for part in nested_graphs(graph) for operation in part.operations}
    given_names: set[str] = set()

    def clone_of(layer: Any) -> Any:
        if layer not in clones:
            unique = layer.name
            if unique in given_names:
                numbered = (f"{layer.name}_{number}" for number in itertools.count(2))
                unique = next(name for name in numbered if name not in names | given_names)
            given_names.add(unique)
            clones[layer] = copy_layer(layer, dtype="float32", name=unique)
        return clones[layer]

    def run(graph: Any, inputs: Any, given: dict[str, Any]) -> Any:
        def call(operation: Any, *arguments: Any, **options: Any) -> Any:
            options = {**given, **options}
            if isinstance(operation, keras.Model):
                training = {name: value for name, value in options.items() if name == "training"}
                return run(functional_graph(operation), arguments[0], training)
            if not isinstance(operation, keras.layers.Layer):
                return operation(*arguments, **options)
            if not takes_training(operation):
                options.pop("training", None)
            return clone_of(operation)(*arguments, **options)

        outputs = run_graph(graph, inputs, call)
        return outputs[0] if len(outputs) == 1 else outputs

    inputs = [keras.Input(batch_shape=x.shape, name=x.name) for x in graph.inputs]
    copy = keras.Model(inputs[0] if len(inputs) == 1 else inputs, run(graph, inputs, {}), name=name)
    for layer, clone in clones.items():
        clone.set_weights(layer.get_weights())
        if isinstance(clone, keras.layers.Normalization):
            clone.finalize_state()  # computes what it needs from the mean and variance among the weights
    return copy
