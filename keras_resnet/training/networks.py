"""Networks of trainings: the one that is trained, and those that the user names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import keras

from keras_resnet import zoo
from keras_resnet._internal.validation import text
from keras_resnet.classes import aliases
from keras_resnet.data import Split
from keras_resnet.data.decode import resize_for, to_square
from keras_resnet.data.pipeline import Resize
from keras_resnet.data.sources import class_indices
from keras_resnet.evaluation import published
from keras_resnet.stages import freeze
from keras_resnet.training import batches
from keras_resnet.training.losses import ACTIVATIONS
from keras_resnet.training.run_directory import Task, as_checkpoint, open_model, open_run
from keras_resnet.weights import Checkpoint


class OpenedNetwork(NamedTuple):
    """A network with everything that is needed to use it.

    Attributes:
        model: a model that takes raw pixels, 0 to 255.
        classes: names of the classes, in the order of the model's outputs.
        resize: function `(image, size) -> image` that brings a uint8 image of any size to the model's size.
        checkpoint: source and accuracy of the weights; None if they are not known.
        data: source of the images that the model was trained on, for `keras_resnet.data.load`; None if it is not known.
        aliases: for each class the names that a data set may have for it; () if the names of the classes are not known.
        on_corrupt: what the run did with files that are not readable images.
    """

    model: keras.Model
    classes: tuple[str, ...]
    resize: Resize
    checkpoint: Checkpoint | None
    data: str | None
    aliases: Sequence[tuple[str, ...]] = ()
    on_corrupt: str = "stop"


def open_network(
    model: str,
    weights: str | None = None,
    own: Mapping[str, Any] = MappingProxyType({}),
    size: int | None = None,
) -> OpenedNetwork:
    """Opens a network.

    Args:
        model: path of a run directory or of a `.keras` file; with `weights`, one of `keras_resnet.list_models()`.
        weights: a tag, "hf://timm/<model>", the path of a file of weights, or None.
        own: only for your own file of weights: what it does not say itself, see `published.checkpoint_of`.
        size: only with `weights`: side of the square images in pixels; None: the size at which the weights were
            measured.

    Raises:
        ValueError: there is no such run, file, model or weights; or `size` or `own` is given without `weights`.
    """
    if weights is not None:
        checkpoint = published.checkpoint_of(model, weights, own)
        network, classes = published.build(model, checkpoint, size), published.class_names(checkpoint)
        known = aliases(checkpoint.data, checkpoint.classes)
        return OpenedNetwork(network, classes, resize_for(checkpoint), checkpoint, None, known)
    for argument, value in {"size": size, **own}.items():
        if value is not None:
            raise ValueError(f"{argument} must not be given without --weights. Received: {argument}={value!r}")
    path = Path(model)
    if not path.is_dir():
        network = open_model(path)
        return OpenedNetwork(network, tuple(map(str, range(network.output.shape[-1]))), to_square, None, None)
    run, network = open_run(path)
    checkpoint, names = as_checkpoint(run, network, path), [(name,) for name in run.classes]
    return OpenedNetwork(network, run.classes, batches.resize(run.recipe), checkpoint, run.data, names, run.on_corrupt)


def build_network(task: Task, side: int | None, split: Split) -> keras.Model:
    """The network of a run before its training.

    Args:
        task: the settings of the run.
        side: side of the square images in pixels; None: images of any size.
        split: images, which have the number of channels and the classes.
    """
    recipe = task.recipe
    rates = {"stochastic_depth": recipe.stochastic_depth, "drop_rate": recipe.drop_rate}
    model = zoo.create_model(
        task.model,
        input_shape=(side, side, split.channels),
        classes=len(split.classes),
        classifier_activation=ACTIVATIONS[recipe.loss],
        weights=task.weights,
        **{name: value for name, value in rates.items() if value},  # zero: the value of the zoo
    )
    return freeze(model, until=task.freeze_until) if task.freeze_until else model


def open_teacher(name: str, images: Split) -> keras.Model:
    """Opens the network that another one is to learn from.

    Args:
        name: path of a run directory or of a `.keras` file; or "NAME:TAG", a model of the zoo and a tag of its
            published weights, for example "ResNet50:imagenet".
        images: the training images. Classes are found by their names, so that the network may have more classes than
            the images, or another order. The classes of a `.keras` file have no names: it must have the same ones.

    Returns:
        A model with an output for each class of the images, in their order.

    Raises:
        ValueError: there is no such network, or a class of the images is not one of its classes.
    """
    zoo_name, _, tag = text("teacher", name).partition(":")
    if zoo_name in zoo.ROWS and not tag and not Path(name).exists():
        raise ValueError(
            f"teacher must be a run directory, a .keras file, or NAME:TAG; `keras-resnet models {zoo_name} --weights` "
            f"lists the tags. Received: teacher={name}, without a tag"
        )
    network = open_network(zoo_name, tag) if zoo_name in zoo.ROWS and tag else open_network(name)
    if not network.aliases:
        return network.model
    try:
        labels = class_indices(images.classes, network.aliases)
    except ValueError as error:
        raise ValueError(f"teacher must know the classes of the images. Received: teacher={name}; {error}") from error
    return network.model if labels == list(range(len(network.aliases))) else _with_outputs(network.model, labels)


def _with_outputs(model: keras.Model, numbers: Sequence[int]) -> keras.Model:
    """A model with some of the outputs of another one that ends in a Dense layer."""
    head = model.layers[-1]
    kernel, bias = head.get_weights()
    part = keras.layers.Dense(len(numbers), head.activation, dtype=head.dtype_policy, name=head.name)
    smaller = keras.Model(model.input, part(head.input), name=model.name)
    part.set_weights([kernel[:, numbers], bias[numbers]])
    return smaller
