"""The table of checkpoints: what is published for the zoo's rows, in `checkpoints.csv`."""

from __future__ import annotations

import csv
import dataclasses
import functools
import importlib.resources
import os
from collections.abc import Mapping, Sequence
from typing import Any

from keras_resnet._internal.validation import known
from keras_resnet.inputs import IMAGENET_MEAN, IMAGENET_STD
from keras_resnet.weights.conversion import Conversion
from keras_resnet.weights.variants import VARIANTS

CLASSES = {"imagenet": 1000, "cifar10": 10, "fashion_mnist": 10}
CHANNELS = {"fashion_mnist": 1}  # of images that are not red, green and blue
# A network is built for what a stranger's file says, so there is a limit. ImageNet-22k has 21,841.
MOST_CLASSES = 100_000

# How pixels are prepared: mean and std over 255, of red, green and blue.
MODES: Mapping[str, tuple[tuple[float, ...], tuple[float, ...]]] = {
    "torch": (IMAGENET_MEAN, IMAGENET_STD),
    "half": ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),  # -1..1, "tf" in keras.applications
    "caffe": ((123.68 / 255, 116.779 / 255, 103.939 / 255), (1 / 255, 1 / 255, 1 / 255)),  # the mean alone, of 0..255
}


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """A set of published weights: where they are, which network they belong to, and how its input is prepared.

    Attributes:
        model: name of the zoo's model; "" if `fields` describe the whole network.
        tag: name among the weights of the model.
        source: a URL, "hf://owner/repository", "package:file" (a file of this package) or a path.
        fields: arguments of `ResNet` that differ from those of the zoo's model, or all of them if `model` is "".
        form: name in `keras_resnet.weights.variants` of `fields`, `epsilon` and `conversions`; "" if there is none.
        epsilon: of every batch norm.
        mean, std: of the pixels over 255, one entry for each channel.
        conversions: functions that convert the tensors of the file, in this order.
        size: side in pixels of the images that `top1` was measured on.
        crop_pct, interpolation: how images were resized and cropped for `top1`.
        licence: of the weights.
        top1: top-1 accuracy in percent, or None if it is not known.
        top1_source: who measured it.
        data: "imagenet", "cifar10" or "fashion_mnist", or "" for other classes.
        classes: number of classes; 0: as many as the file has.
        channels: of the images.
        hash: of the file: "md5:..." or "sha256:...", whole or its beginning; "" if it is not known.
        notop, notop_hash: source and hash of a file without the classifier.
        recommended: whether the name of the data set stands for these weights.
    """

    model: str
    tag: str
    source: str
    fields: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    form: str = ""
    epsilon: float = 1e-5
    mean: Sequence[float] = IMAGENET_MEAN
    std: Sequence[float] = IMAGENET_STD
    conversions: tuple[Conversion, ...] = ()
    size: int = 224
    crop_pct: float = 0.875
    interpolation: str = "bilinear"
    licence: str = ""
    top1: float | None = None
    top1_source: str = ""
    data: str = "imagenet"
    classes: int = 1000
    channels: int = 3
    hash: str = ""
    notop: str = ""
    notop_hash: str = ""
    recommended: bool = False


@functools.cache
def table() -> tuple[Checkpoint, ...]:
    """All rows, in the zoo's order."""
    text = importlib.resources.files("keras_resnet.weights").joinpath("checkpoints.csv").read_text("utf-8")
    return tuple(_row(row) for row in csv.DictReader(text.splitlines()))


def _row(row: dict[str, str]) -> Checkpoint:
    form, (mean, std) = VARIANTS[row["form"]], MODES[row["mode"]]
    return Checkpoint(
        model=row["model"],
        tag=row["tag"],
        source=row["source"],
        fields=form.fields,
        form=row["form"],
        epsilon=form.epsilon,
        mean=mean,
        std=std,
        conversions=form.conversions,
        size=int(row["size"]),
        crop_pct=float(row["crop_pct"]),
        interpolation=row["interpolation"],
        licence=row["licence"],
        top1=float(row["top1"]) if row["top1"] else None,
        top1_source=row["top1_source"],
        data=row["data"],
        classes=CLASSES[row["data"]],
        channels=CHANNELS.get(row["data"], 3),
        hash=row["hash"],
        notop=row["notop"],
        notop_hash=row["notop_hash"],
        recommended=row["recommended"] == "yes",
    )


def checkpoints_of(model: str) -> list[Checkpoint]:
    """The checkpoints of a zoo model, the recommended one first."""
    return sorted((c for c in table() if c.model == model), key=lambda c: not c.recommended)


def find(model: str, tag: str) -> Checkpoint:
    """The checkpoint of a zoo model that is called `tag`, or recommended for the data set called so.

    Args:
        model: a name of `keras_resnet.list_models()`.
        tag: one of `keras_resnet.list_weights(model)`, or a data set, as "imagenet", for the recommended one.

    Raises:
        ValueError: there is none, with the nearest tags.

    Example:
        >>> from keras_resnet import weights
        >>> row = weights.find("ResNet50V2", "keras")
        >>> row.top1, row.licence
        (76.0, 'mit')
    """
    rows = {c.tag: c for c in checkpoints_of(model)} | {c.data: c for c in checkpoints_of(model) if c.recommended}
    return rows[known(f"weights of {model}", tag, rows, f"keras_resnet.list_weights({model!r})")]


def like(model: str, tag: str, path: str | os.PathLike[str]) -> Checkpoint:
    """A file of your own as a checkpoint of the form and input of a published one.

    Weights alone do not say where a network strides, how its pixels are prepared, or where option A puts its zeros.

    Args:
        model: a name of `keras_resnet.list_models()`.
        tag: of a checkpoint of the model, whose code or weights yours started from.
        path: of the file.

    Raises:
        ValueError: there is no such checkpoint.

    Example::

        model = keras_resnet.ResNet50(weights=keras_resnet.weights.like("ResNet50", "keras", "mine.h5"))
    """
    return dataclasses.replace(
        find(model, tag),
        tag=str(path),
        source=str(path),
        classes=0,
        licence="",
        top1=None,
        top1_source="",
        hash="",
        notop="",
        notop_hash="",
        recommended=False,
    )
