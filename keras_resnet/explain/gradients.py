"""Features of a layer, and the gradients of the score of a class with respect to them, on every backend."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import keras
import numpy as np

from keras_resnet._internal.validation import nearest
from keras_resnet.complexity import flat_layers
from keras_resnet.explain.arguments import as_input
from keras_resnet.runtime.calls import replaced_calls
from keras_resnet.runtime.logits import logits
from keras_resnet.stages import parse_block


class Features(NamedTuple):
    """What a network computes for images.

    Attributes:
        values: features of a layer, float32 (N, h, w, C).
        gradients: gradients of the score of each image's class, before softmax, with respect to `values`.
        classes: the class of each image, integers (N,).
    """

    values: np.ndarray
    gradients: np.ndarray
    classes: np.ndarray


def features(model: keras.Model, images: Any, layer: keras.Layer, classes: np.ndarray | None) -> Features:
    """Computes the features of a layer, and the gradients of a score with respect to them.

    Args:
        model: a functional model that ends in a layer with a softmax, a sigmoid or no activation, (N, classes).
        images: what the model takes, for N images.
        layer: a layer of the model or of a model in it, whose output has the shape (N, h, w, C).
        classes: the class of each image, integers (N,). None: the class with the highest score.

    Raises:
        ValueError: the model calls the layer several times, so that it has several maps.
    """
    recorded: list[Any] = []
    inputs = as_input(model, images)

    def scores_of_all() -> Any:
        return keras.tree.flatten(model(inputs, training=False))[0]

    def record(layer: Any, *inputs: Any, **options: Any) -> Any:
        recorded.append(type(layer).call(layer, *inputs, **options))
        return recorded[-1]

    with logits(model):
        with replaced_calls({layer: record}):
            scores = keras.ops.convert_to_numpy(scores_of_all())
        if len(recorded) != 1:
            raise ValueError(
                f"layer must be called once in the model. Received: layer={layer.name!r}, called {len(recorded)} times"
            )
        if classes is None:
            classes = scores.argmax(-1)
        chosen = keras.ops.one_hot(classes, scores.shape[-1], dtype="float32")

        def score(values: Any) -> Any:
            with replaced_calls({layer: lambda layer, *inputs, **options: values}):
                return keras.ops.sum(keras.ops.cast(scores_of_all(), "float32") * chosen)

        gradients = _GRADIENT[keras.backend.backend()](score, recorded[0])
    return Features(_float32(recorded[0]), _float32(gradients), classes)


def layer_with_map(model: keras.Model, name: str | None) -> keras.Layer:
    """The layer whose features are explained.

    Args:
        model: a functional model; layers of nested models have names too.
        name: name of a layer, or of a stage, such as "conv4", whose last layer is meant. None: the last layer that has
            a map, in a ResNet the one before average pooling.

    Raises:
        ValueError: there is no such layer, or its output is not a map (N, h, w, C) of more than one place.
    """
    layers = {layer.name: layer for layer in flat_layers(model)}
    with_map = {name: layer for name, layer in layers.items() if _has_map(layer)}
    if not with_map:
        raise ValueError(
            f"model must have a layer with a map, an output (N, h, w, C). Received: {model.name!r} without one"
        )
    if name is None:
        return list(with_map.values())[-1]
    found = [layer for key, layer in with_map.items() if key == name or key.startswith(f"{name}_")]
    if name in layers:
        found = [layers[name]] if name in with_map else []
    if not found:
        received = f", whose output has the shape {layers[name].output.shape}" if name in layers else ""
        stages = dict.fromkeys(f"conv{block.stage}" for key in with_map if (block := parse_block(key)))
        raise ValueError(
            "layer must be the name of a layer with a map, an output (N, h, w, C), for example "
            f"{list(with_map)[-1]!r}{', or of a stage: ' * bool(stages)}{', '.join(stages)}."
            f"{nearest(name, [*stages, *with_map])} Received: layer={name!r:.100}{received}"
        )
    return found[-1]


def _has_map(layer: keras.Layer) -> bool:
    """Whether the output of a layer has places. The input, and factors of squeeze-and-excitation, have none."""
    # A layer of a model that is no graph has no output.
    shape = getattr(getattr(layer, "output", None), "shape", ())
    return len(shape) == 4 and shape[1:3] != (1, 1) and not isinstance(layer, keras.layers.InputLayer)


def _float32(values: Any) -> np.ndarray:
    return keras.ops.convert_to_numpy(keras.ops.cast(values, "float32"))


def _gradient_on_tensorflow(function: Callable[[Any], Any], at: Any) -> Any:
    import tensorflow as tf  # noqa: PLC0415

    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(at)
        value = function(at)
    return tape.gradient(value, at, unconnected_gradients=tf.UnconnectedGradients.ZERO)


def _gradient_on_torch(function: Callable[[Any], Any], at: Any) -> Any:
    import torch  # noqa: PLC0415

    at = at.detach().requires_grad_()
    return torch.autograd.grad(function(at), at)[0]


def _gradient_on_jax(function: Callable[[Any], Any], at: Any) -> Any:
    import jax  # noqa: PLC0415

    return jax.grad(function)(at)


_GRADIENT: dict[str, Callable[[Callable[[Any], Any], Any], Any]] = {
    "tensorflow": _gradient_on_tensorflow,
    "torch": _gradient_on_torch,
    "jax": _gradient_on_jax,
}
