"""Freezing: fixes the first stages of a network, so that training changes only the later ones."""

from __future__ import annotations

from collections.abc import Iterator

import keras

from keras_resnet.arguments import one_of
from keras_resnet.cost import flat_layers
from keras_resnet.stages import BLOCK

HEAD = "predictions"


def freeze(model: keras.Model, until: str = HEAD) -> keras.Model:
    """Freezes every layer before the stage `until`; that stage and all after it train.

    `until="conv4"` freezes the stem, conv2 and conv3. Frozen batch norm normalises with its moving statistics in
    training too, and leaves them as they are; dropout and stochastic depth stay random. Compile the model afterwards:
    Keras goes on with the weights that were trainable when it was compiled. What a model around the network has of its
    own is a part of the head, and trains.

    Args:
        model: a model of this package, with any head, or a model around such a one; also loaded from a `.keras` file.
        until: "conv1" (nothing is frozen), "conv2" and so on to the last stage; "post" in a pre-activation net, for
            the norm after its last block; or "predictions", which freezes all but the head.

    Returns:
        `model` itself.

    Raises:
        ValueError: the model has no such stage, or no layers named as a ResNet's blocks.
        TypeError: it is no model.

    Example:
        >>> import keras_resnet as kr
        >>> from keras_resnet.freezing import freeze
        >>> model = freeze(kr.ResNet20())
        >>> [weight.path for weight in model.trainable_weights]
        ['predictions/kernel', 'predictions/bias']
    """
    if not isinstance(model, keras.Model):
        raise TypeError(f"model must be a keras.Model. Received: {model!r}")
    staged = list(_staged(model))
    stages = sorted({stage for stage, _ in staged}.union([HEAD]), key=_place)
    if stages == [HEAD]:
        raise ValueError(
            f"model must have layers named as a ResNet's blocks, conv2_block1_out and so on. Received: {model.name!r}"
        )
    trained = stages[stages.index(one_of("until", until, stages)) :]
    # A model that is not trainable hides the weights of its layers. Each nested one is told by itself: on TensorFlow,
    # Keras hands nothing down where the outer model was trainable already.
    for part in _models(model):
        part.trainable = True
    for stage, layer in staged:
        layer.trainable = stage in trained
    return model


def _place(stage: str) -> tuple[bool, bool, int]:
    """Sorts the stages: conv1, conv2, ..., conv10, post, predictions."""
    return stage == HEAD, stage == "post", int(stage.removeprefix("conv")) if stage.startswith("conv") else 0


def _staged(model: keras.Model) -> Iterator[tuple[str, keras.Layer]]:
    """Each layer with its stage, those of nested models too.

    In front of the blocks of its own model a layer is of the stem whatever its name, elsewhere of the head.
    """
    matches = [BLOCK.match(layer.name) for layer in model.layers]
    in_front = any(matches)
    for layer, match in zip(model.layers, matches):
        inside = list(flat_layers(layer)) if isinstance(layer, keras.Model) else [layer]
        if match:
            in_front = False
            stage = f"conv{match[1]}"
        elif any(BLOCK.match(inner.name) for inner in inside):
            yield from _staged(layer)
            continue
        elif in_front:
            stage = "conv1"
        else:
            stage = "post" if layer.name.startswith("post_") else HEAD
        yield from ((stage, inner) for inner in inside)


def _models(model: keras.Model) -> Iterator[keras.Model]:
    """The model and all that are nested in it."""
    yield model
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            yield from _models(layer)
