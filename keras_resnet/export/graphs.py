"""The graph of a Keras model, and the same graph in one piece, in float32: what exports begin with."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import keras

from keras_resnet.resnet import let_keras_recurse


def graph_of(model: Any) -> Any:
    """The functional graph of a functional or sequential model.

    Raises:
        TypeError: `model` has none.
    """
    graph = getattr(model, "_functional", model)
    if not hasattr(graph, "operations"):
        raise TypeError(
            "model must be a functional or sequential keras.Model whose input is known. "
            f"Received: {type(model).__name__}"
        )
    return graph


def graphs_of(model: Any) -> list[Any]:
    """The model's graph and those of the models inside it, each once."""
    found: dict[int, Any] = {}

    def collect(model: Any) -> None:
        graph = graph_of(model)
        if id(graph) not in found:
            found[id(graph)] = graph
            for operation in graph.operations:
                if isinstance(operation, keras.Model):
                    collect(operation)

    collect(model)
    return list(found.values())


def nodes_of(graph: Any) -> Iterator[Any]:
    """The calls of layers, in the order of the computation; those of inputs come first."""
    for _, nodes in sorted(graph._nodes_by_depth.items(), reverse=True):
        yield from nodes


def in_one_piece(model: keras.Model) -> keras.Model:
    """The same network as one functional graph of float32 layers.

    Args:
        model: functional or sequential, with or without models inside it, under any dtype policy.

    Returns:
        The model itself where it is like that. Otherwise one with weights of its own, which computes the same but for
        rounding. A name that several layers have gets a number from the second on.

    Raises:
        TypeError: `model` is of another kind.
    """
    graphs = graphs_of(model)
    layers = [layer for graph in graphs for layer in graph.operations if isinstance(layer, keras.layers.Layer)]
    if isinstance(model, keras.Sequential) or len(graphs) > 1 or any(map(_is_other, layers)):
        return _remade(graphs[0], model.name, 2 * len(layers))
    return model


def like(layer: Any, **changed: Any) -> Any:
    """A layer like that one, with weights of its own; what is `changed` of its configuration."""
    config = {**layer.get_config(), **changed}
    if type(layer) is not keras.layers.Lambda:
        return type(layer).from_config(config)
    # Keras looks for its function by name, and refuses one that has none as not safe to load; here it is at hand.
    own = {name: getattr(layer, name) for name in ("function", "mask", "arguments")}
    return keras.layers.Lambda(**{**config, **own, "output_shape": layer._output_shape})


def _is_other(layer: Any) -> bool:
    return not isinstance(layer, keras.Model) and (layer.compute_dtype, layer.variable_dtype) != ("float32", "float32")


def _remade(graph: Any, name: str, depth: int) -> keras.Model:
    let_keras_recurse(depth // 10)
    clones: dict[Any, Any] = {}
    names = {operation.name for part in graphs_of(graph) for operation in part.operations}
    given_names: set[str] = set()

    def cloned(layer: Any) -> Any:
        if layer not in clones:
            unique = layer.name
            if unique in given_names:
                numbered = (f"{layer.name}_{number}" for number in itertools.count(2))
                unique = next(name for name in numbered if name not in names | given_names)
            given_names.add(unique)
            clones[layer] = like(layer, dtype="float32", name=unique)
        return clones[layer]

    def run(graph: Any, inputs: Any, given: dict[str, Any]) -> Any:
        def call(operation: Any, *arguments: Any, **options: Any) -> Any:
            options = {**given, **options}
            if isinstance(operation, keras.Model):
                return run(graph_of(operation), arguments[0], {k: v for k, v in options.items() if k == "training"})
            if not isinstance(operation, keras.layers.Layer):
                return operation(*arguments, **options)
            if "training" not in operation._call_context_args:
                options.pop("training", None)
            return cloned(operation)(*arguments, **options)

        outputs = keras.tree.flatten(graph._run_through_graph(inputs, call_fn=call))
        return outputs[0] if len(outputs) == 1 else outputs

    inputs = [keras.Input(batch_shape=x.shape, name=x.name) for x in graph.inputs]
    made = keras.Model(inputs[0] if len(inputs) == 1 else inputs, run(graph, inputs, {}), name=name)
    for layer, clone in clones.items():
        clone.set_weights(layer.get_weights())
        if isinstance(clone, keras.layers.Normalization):
            clone.finalize_state()  # what it learned is in its weights
    return made
