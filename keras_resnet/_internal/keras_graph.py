"""All code that reads or sets a private attribute of Keras is in this file.

It was written for Keras 3.15; `setup.cfg` allows no later minor version. To allow the next one, change the limit in
`setup.cfg`, run the whole test suite with the new version, and repair here what fails.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import keras
from keras.src.backend.common import global_state
from keras.src.saving import saving_lib, serialization_lib
from keras.src.saving.serialization_lib import ObjectSharingScope


def functional_graph(model: Any) -> Any:
    """The graph of a functional or sequential model.

    Raises:
        TypeError: the model has no graph, because it is a subclass or its input is not known.
    """
    graph = getattr(model, "_functional", model)
    if not hasattr(graph, "operations"):
        raise TypeError(
            "model must be a functional or sequential keras.Model whose input is known: keras.Model(image, output) "
            f"with image = keras.Input((height, width, channels)). Received: {type(model).__name__}"
        )
    return graph


def nested_graphs(model: Any) -> list[Any]:
    """The graph of a model and the graphs of all models inside it, each once."""
    found: dict[int, Any] = {}

    def collect(model: Any) -> None:
        graph = functional_graph(model)
        if id(graph) not in found:
            found[id(graph)] = graph
            for operation in graph.operations:
                if isinstance(operation, keras.Model):
                    collect(operation)

    collect(model)
    return list(found.values())


def nodes_of(graph: Any) -> Iterator[Any]:
    """The calls of layers in a graph, in the order of computation, inputs first; none if it is a layer without one."""
    for _, nodes in sorted(getattr(graph, "_nodes_by_depth", {}).items(), reverse=True):
        yield from nodes


def producer(tensor: keras.KerasTensor) -> Any:
    """The call of a layer (a node) whose output the tensor is."""
    operation, index, _ = tensor._keras_history
    return operation._inbound_nodes[index]


def last_layer(model: keras.Model) -> Any:
    """The layer that gives the first output of a model; if that is a nested model, the layer in it."""
    tensor = functional_graph(model).outputs[0]
    while isinstance(operation := producer(tensor).operation, keras.Model):
        tensor = functional_graph(operation).outputs[tensor._keras_history.tensor_index]
    return operation


def deserialized(config: Mapping[str, Any]) -> Any:
    """The model that a configuration of `keras.saving` describes, with layers that several parts share made once."""
    with ObjectSharingScope():
        return keras.saving.deserialize_keras_object(config)


def class_of(config: Mapping[str, Any]) -> Any:
    """The class or function that Keras finds for the description of an object; None if it finds none."""
    name, registered = config.get("class_name"), config.get("registered_name", config.get("class_name"))
    if name == "function":
        name = config.get("config")
    try:
        # The last argument is otherwise the whole description, which the texts of errors would contain.
        return serialization_lib._retrieve_class_or_fn(name, registered, config.get("module"), "class", {})
    except Exception:  # for example for a module that does not exist; `deserialized` raises the error
        return None


def keras_file(model: keras.Model) -> bytes:
    """The content of the `.keras` file of a model.

    It is made in memory, because HDF5 may end the process if it cannot write to the disk.
    """
    file = io.BytesIO()
    saving_lib.save_model(model, file)
    return file.getvalue()


def weights_file(model: keras.Model) -> bytes:
    """The content of the `.weights.h5` file of a model, made in memory as that of `keras_file`."""
    file = io.BytesIO()
    store = saving_lib.H5IOStore(file, mode="w")
    saving_lib._save_state(model, weights_store=store, assets_store=None, inner_path="", visited_saveables=set())
    store.close()
    return file.getvalue()


@contextlib.contextmanager
def variables_without_values() -> Iterator[list[keras.Variable]]:
    """Layers that are built inside the block create variables with a shape, but without values and their memory.

    Yields:
        The variables, which grow with each layer. Neither they nor the layers can be used after the block.
    """
    name = "uninitialized_variables"  # Keras would give values to those in this list after the next scope
    variables: list[keras.Variable] = []
    before = global_state.get_global_attribute(name)
    global_state.set_global_attribute(name, variables)
    try:
        with keras.StatelessScope(initialize_variables=False):
            yield variables
    finally:
        global_state.set_global_attribute(name, before)


def number_of_calls(layer: Any) -> int:
    """How many times a layer was called on Keras tensors."""
    return len(layer._inbound_nodes)


def all_layers(model: keras.Model) -> list[keras.layers.Layer]:
    """All layers below `model`: its own, nested models, and the layers of those."""
    return list(model._flatten_layers(include_self=False))


def takes_training(operation: Any) -> bool:
    """Whether the call of an operation has the argument `training`."""
    return "training" in getattr(operation, "_call_context_args", ())


def run_graph(graph: Any, inputs: Any, call: Callable[..., Any]) -> list[Any]:
    """The outputs of a graph if `call(operation, *arguments, **options)` computes each operation."""
    return keras.tree.flatten(graph._run_through_graph(inputs, call_fn=call))


def single_input(model: keras.Model, inputs: Any) -> Any:
    """The one tensor in the inputs that a functional model was called with."""
    return keras.tree.flatten(model._standardize_inputs(inputs))[0]


def output_shape_of_lambda(layer: keras.layers.Lambda) -> Any:
    """The argument `output_shape` of a `Lambda` layer, or None."""
    return layer._output_shape


def forget_compile_arguments(model: keras.Model) -> None:
    """Makes Keras leave the arguments of `compile` out of the file when the model is saved."""
    del model._compile_config


def build_metrics_and_optimizer(model: keras.Model) -> None:
    """Creates the variables that Keras creates when a compiled model sees its first batch."""

    def of_one_image(tensors: Any) -> Any:
        return keras.tree.map_structure(lambda x: keras.KerasTensor((1, *x.shape[1:]), x.dtype), tensors)

    graph = functional_graph(model)
    model._symbolic_build(data_batch=(of_one_image(graph.input), of_one_image(graph.output)))


def moving_averages(optimizer: keras.optimizers.Optimizer) -> Sequence[Any]:
    """The moving average of each trainable variable, of an optimizer with `use_ema=True`."""
    return optimizer._model_variables_moving_average


def chooser_of_variables(optimizer: keras.optimizers.Optimizer) -> Callable[[Sequence[Any]], None]:
    """A function that makes a built optimizer update some of its variables, and keep its state for the others.

    Keras' own way is an optimizer of fewer variables, which would have to get the state of the first one.
    """
    variables, indices = list(optimizer._trainable_variables), dict(optimizer._trainable_variables_indices)
    averages = list(moving_averages(optimizer)) if optimizer.use_ema else []

    def choose(chosen: Sequence[Any]) -> None:
        keys = [optimizer._var_key(variable) for variable in chosen]
        numbers = [indices[key] for key in keys]
        replaced = {
            "_trainable_variables": [variables[number] for number in numbers],
            "_trainable_variables_indices": dict(zip(keys, numbers, strict=True)),
        }
        if averages:
            replaced["_model_variables_moving_average"] = [averages[number] for number in numbers]
        optimizer.__dict__.update(replaced)

    return choose


def index_of(optimizer: keras.optimizers.Optimizer, variable: Any) -> int:
    """The number of a variable among those that an optimizer was built for."""
    return optimizer._get_variable_index(variable)


def moments_of(optimizer: Any, variable: Any) -> tuple[Any, Any]:
    """The moving mean and the moving mean square of the gradient of a variable, of Keras' Adam or Lamb."""
    index = index_of(optimizer, variable)
    return optimizer._momentums[index], optimizer._velocities[index]


def replace_gradient_reduction(
    optimizer: keras.optimizers.Optimizer, replacement: Callable[[Callable[..., Any], Any], Any]
) -> None:
    """Replaces how an optimizer adds the gradients of the devices of a `MirroredStrategy`.

    Args:
        optimizer: the optimizer whose method is replaced.
        replacement: a function of the original method and of pairs (gradient, variable) that returns such pairs.
    """
    original = optimizer._all_reduce_sum_gradients
    optimizer.__dict__["_all_reduce_sum_gradients"] = lambda pairs: replacement(original, pairs)


class TensorBoard(keras.callbacks.TensorBoard):
    """TensorBoard's callback that takes the learning rate from the logs.

    Keras would compute it from the optimizer, which a single process cannot do if several processes train together.
    """

    def _collect_learning_rate(self, logs: dict[str, Any]) -> dict[str, Any]:
        return logs
