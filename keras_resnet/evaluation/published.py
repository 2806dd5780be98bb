"""Published checkpoints: build their model, and measure it with the preprocessing of the published figure."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import keras

from keras_resnet import zoo
from keras_resnet._internal.validation import printable
from keras_resnet.classes import aliases, imagenet_classes, names_of
from keras_resnet.data import Split
from keras_resnet.data.decode import resize_for
from keras_resnet.evaluation.accuracy import evaluate_by_name
from keras_resnet.weights import Checkpoint
from keras_resnet.weights import like as weights_like
from keras_resnet.weights.resolution import contents, recognized, resolve
from keras_resnet.weights.table import ZOO


def checkpoint_of(name: str, weights: str, own: Mapping[str, Any] = MappingProxyType({})) -> Checkpoint:
    """The description of the checkpoint that `weights` names.

    Args:
        name: one of `keras_resnet.list_models()`.
        weights: a tag, "hf://timm/<model>" or the path of a file.
        own: for your own file, arguments of `keras_resnet.weights.like` by name, such as "mean", and "like" in place of
            its `tag`. Without "like": what names in the file show; otherwise the input of the model in the zoo.

    Returns:
        The checkpoint: a row of the table, or a new one for your own file.

    Raises:
        ValueError: there is no such model, tag or file; the file has no classifier of one layer; or `own` is given for
            a published checkpoint.

    Example:
        >>> from keras_resnet.evaluation.published import checkpoint_of
        >>> checkpoint_of("ResNet50", "torchvision_v2").crop_pct
        0.965
    """
    row = zoo.row_of(name)
    source = resolve(name, weights)
    if not isinstance(source, Path):
        for argument, value in own.items():
            raise ValueError(
                f"{argument} must not be given for the published checkpoint {source.tag!r}. "
                f"Received: {argument}={value!r}"
            )
        return source
    found = contents(source, own.get("state", ""))
    if found and not found.has_classifier:
        raise ValueError(
            f"weights must have a classifier of one layer. Received: {printable(source)} without one; build "
            f"keras_resnet.{name}(weights=file, classes=...) and train it, or train with --weights"
        )
    classes = (found.classes if found else None) or row.fields.get("classes", 1000)
    tag = own["like"] if "like" in own else recognized(name, source, found)
    changes = {argument: value for argument, value in own.items() if argument != "like"}
    if tag in ("", ZOO):
        # A file with a thousand classes is most probably for ImageNet; with ten it may be for any data.
        data = "imagenet" if classes == len(imagenet_classes()) else ""
        checkpoint = weights_like(name, ZOO, source, **changes)
        # Without a form, names in the file may show it when it is loaded.
        return dataclasses.replace(checkpoint, classes=classes, data=data, form="torch" if tag else "")
    return dataclasses.replace(weights_like(name, tag, source, **changes), classes=classes)


def build(name: str, checkpoint: Checkpoint, size: int | None = None) -> keras.Model:
    """Builds a model with the weights of a checkpoint, for square images.

    Args:
        name: one of `keras_resnet.list_models()`.
        checkpoint: the checkpoint.
        size: side of the images in pixels; None: the size for which the accuracy was published.

    Returns:
        The model.
    """
    side = checkpoint.size if size is None else size
    return zoo.create_model(name, weights=checkpoint, input_shape=(side, side, checkpoint.channels))


def class_names(checkpoint: Checkpoint) -> tuple[str, ...]:
    """The class names of a checkpoint in the order of its outputs; numbers if the names are unknown."""
    return names_of(checkpoint.data, checkpoint.classes)


def top1(model: keras.Model, checkpoint: Checkpoint, examples: Split) -> float:
    """Top-1 accuracy of a checkpoint, with the resizing and crop of its published figure.

    Args:
        model: a model of `build`.
        checkpoint: the checkpoint of the model.
        examples: images of some or all classes of the checkpoint. Classes are matched by WordNet id or name. If the
            checkpoint's classes are unknown, the images must have the same number of classes in the same order.

    Returns:
        The accuracy, in [0, 1].

    Raises:
        ValueError: a class of the images does not belong to the checkpoint.
    """
    known = aliases(checkpoint.data, checkpoint.classes)
    return evaluate_by_name(model, examples, known, resize_for(checkpoint))
