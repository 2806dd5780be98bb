"""Published checkpoints at work: measured as they were measured, and asked about images."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import keras

from keras_resnet import zoo
from keras_resnet.classes import aliases, imagenet_classes, names_of
from keras_resnet.data import Split
from keras_resnet.data.decode import resize_for
from keras_resnet.data.sources import class_indices
from keras_resnet.evaluation.accuracy import evaluate
from keras_resnet.weights import Checkpoint
from keras_resnet.weights import like as weights_like
from keras_resnet.weights.resolution import classes_in, resolve


def checkpoint_of(name: str, weights: str, like: str | None = None) -> Checkpoint:
    """The checkpoint that `weights` stands for; a file is one with the input of the model's row, or of another.

    Args:
        name: one of `keras_resnet.list_models()`.
        weights: a tag, "hf://timm/<model>" or the path of a file.
        like: the tag of a checkpoint whose form and input a file of one's own has, or None.

    Raises:
        ValueError: there is no such model, tag or file; or `like` is said of what is known already.
    """
    row = zoo.row_of(name)
    source = resolve(name, weights)
    if not isinstance(source, Path):
        if like is not None:
            raise ValueError(f"like must not be given for what is known already, {source.tag!r}. Received: {like!r}")
        return source
    classes = classes_in(source) or row.fields.get("classes", 1000)
    if like is not None:
        return dataclasses.replace(weights_like(name, like, source), classes=classes)
    # Of a thousand classes it will be ImageNet; of ten it may be anything.
    data = "imagenet" if classes == len(imagenet_classes()) else ""
    return Checkpoint(name, str(source), str(source), size=row.size, classes=classes, data=data)


def build(name: str, checkpoint: Checkpoint, size: int | None = None) -> keras.Model:
    """The model with its weights, for square images of the size with which the checkpoint was measured, or `size`."""
    side = checkpoint.size if size is None else size
    return zoo.create_model(name, weights=checkpoint, input_shape=(side, side, checkpoint.channels))


def class_names(checkpoint: Checkpoint) -> tuple[str, ...]:
    """The names of a checkpoint's classes in the order of its outputs; their numbers where they are not known."""
    return names_of(checkpoint.data, checkpoint.classes)


def top1(model: keras.Model, checkpoint: Checkpoint, examples: Split) -> float:
    """The share of images whose label is the model's first choice, prepared as the checkpoint was measured.

    Args:
        model: as `build` made it.
        checkpoint: its weights.
        examples: images of some or all of the checkpoint's classes, which are told by WordNet id or name; where those
            are not known, of as many classes in the same order.

    Raises:
        ValueError: a class of the images is none of the checkpoint's.
    """
    known = aliases(checkpoint.data, checkpoint.classes)
    labels = class_indices(examples.classes, known) if known else None
    return evaluate(model, examples, resize=resize_for(checkpoint), labels=labels)
