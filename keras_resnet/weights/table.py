"""The table of published checkpoints: rows of the zoo's models are in `checkpoints.csv`, others in `detectors.csv`."""

from __future__ import annotations

import csv
import dataclasses
import functools
import importlib.resources
import math
import numbers
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from keras_resnet._internal.validation import integer, known, number, one_of
from keras_resnet.inputs import IMAGENET_MEAN, IMAGENET_STD
from keras_resnet.weights.conversion import Conversion
from keras_resnet.weights.models import SIDES
from keras_resnet.weights.variants import VARIANTS

# The categories of COCO have ids from 1 to 90, of which ten belong to no category; networks have an output for each.
CLASSES = {"imagenet": 1000, "cifar10": 10, "fashion_mnist": 10, "coco": 90}
CHANNELS = {"fashion_mnist": 1}  # of images that are not red, green and blue
# A limit, because a network is built with the number of classes in an untrusted file. ImageNet-22k has 21,841.
MOST_CLASSES = 100_000
# What `like` accepts can be written into a file and read again, and images are resized to size / crop_pct: these limits
# are those of strangers' files too.
LARGEST_SIDE = 4096  # of an image, in pixels
SMALLEST_CROP = 0.25
SMALLEST_STD = 0.0001
DETECTOR_SIDE = 800  # shorter side of the images of detectors, in pixels
SMALL = 64  # side in pixels of images that are not cropped for evaluation, such as those of CIFAR
INTERPOLATIONS = ("bilinear", "bicubic")
ZOO = "zoo"  # in place of a tag: the network of the zoo as it is

# How pixels are prepared: mean and std of red, green and blue, divided by 255.
MODES: Mapping[str, tuple[tuple[float, ...], tuple[float, ...]]] = {
    "torch": (IMAGENET_MEAN, IMAGENET_STD),
    "half": ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),  # -1..1, "tf" in keras.applications
    "caffe": ((123.68 / 255, 116.779 / 255, 103.939 / 255), (1 / 255, 1 / 255, 1 / 255)),  # only the mean, of 0..255
}


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """A set of published weights: where they are, which network they belong to, and how its input is prepared.

    Attributes:
        model: name of the zoo's model or of a detector; "" if `fields` describe the whole network.
        tag: name of the weights, unique for the model.
        source: a URL, "hf://owner/repository", "package:file" (a file of this package) or a path.
        fields: arguments of `ResNet` that differ from those of the zoo's model, or all of them if `model` is "". Of a
            detector: those of its backbone.
        form: name of the variant in `keras_resnet.weights.variants` that has these `fields`, `epsilon` and
            `conversions`; "" if it is not known: then names in the file may show it.
        epsilon: epsilon of all batch norms.
        mean, std: mean and standard deviation of the pixels divided by 255, one entry for each channel.
        conversions: functions that convert the tensors of the file, in this order.
        size: side in pixels of the images that `top1` was measured on; of a detector the shorter side.
        crop_pct, interpolation: how images were resized and cropped for `top1`.
        licence: licence of the weights, for example "apache-2.0".
        top1: top-1 accuracy in percent, or None if it is not known.
        top1_source: who measured it, or `box_ap`.
        balanced_accuracy: mean of the recalls of all classes in percent, or None if it is not known.
        data: data set of the classes: "imagenet", "cifar10", "fashion_mnist" or "coco", or "" for other classes.
        classes: number of classes, without background; 0: the number in the file.
        channels: number of channels of the images.
        hash: hash of the file, "md5:..." or "sha256:...", or the beginning of one; "" if it is not known.
        notop, notop_hash: source and hash of a file without the classifier; "" if there is none.
        state: name of the set of weights, if the file has several; "": the usual one.
        recommended: whether `weights=data` selects these weights.
        box_ap: of a detector the average precision of boxes in percent, mean over overlaps from .5 to .95, on COCO's
            val2017; None if it is not known.

    Example:
        >>> from keras_resnet import weights
        >>> row = weights.find("ResNet50", "imagenet")
        >>> row.tag, row.crop_pct, row.interpolation
        ('torchvision_v2', 0.965, 'bilinear')
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
    state: str = ""
    balanced_accuracy: float | None = None
    box_ap: float | None = None


@functools.cache
def table() -> tuple[Checkpoint, ...]:
    """All checkpoints of the zoo's models, in the order of the zoo."""
    return tuple(map(_row, _rows("checkpoints.csv")))


@functools.cache
def detectors() -> tuple[Checkpoint, ...]:
    """All checkpoints of detectors."""
    return tuple(map(_detector, _rows("detectors.csv")))


def _rows(name: str) -> Iterator[dict[str, str]]:
    text = importlib.resources.files("keras_resnet.weights").joinpath(name).read_text("utf-8")
    return iter(csv.DictReader(text.splitlines()))


def _detector(row: dict[str, str]) -> Checkpoint:
    variant = VARIANTS[row["form"]]
    return Checkpoint(
        model=row["model"],
        tag=row["tag"],
        source=row["source"],
        fields=variant.fields,
        form=row["form"],
        epsilon=variant.epsilon,
        conversions=variant.conversions,
        size=int(row["size"]),
        crop_pct=1.0,
        licence=row["licence"],
        top1_source=row["box_ap_source"],
        data=row["data"],
        classes=CLASSES[row["data"]],
        hash=row["hash"],
        recommended=row["recommended"] == "yes",
        box_ap=float(row["box_ap"]),
    )


def _row(row: dict[str, str]) -> Checkpoint:
    variant, (mean, std) = VARIANTS[row["form"]], MODES[row["mode"]]
    return Checkpoint(
        model=row["model"],
        tag=row["tag"],
        source=row["source"],
        fields=variant.fields,
        form=row["form"],
        epsilon=variant.epsilon,
        mean=mean,
        std=std,
        conversions=variant.conversions,
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
    """The checkpoints of a zoo model or a detector, the recommended one first."""
    rows = (row for row in (*table(), *detectors()) if row.model == model)
    return sorted(rows, key=lambda row: not row.recommended)


def find(model: str, tag: str) -> Checkpoint:
    """The checkpoint of a zoo model or a detector with a tag, or the recommended one for a data set.

    Args:
        model: one of `keras_resnet.list_models()` or of `keras_resnet.detection.list_detectors()`.
        tag: one of `list_weights(model)`, or the name of a data set, for example "imagenet".

    Returns:
        The `Checkpoint`; pass it as `weights=` of the model or to `keras_resnet.load_weights`.

    Raises:
        ValueError: the model has no such checkpoint; the message names similar tags.

    Example:
        >>> from keras_resnet import weights
        >>> row = weights.find("ResNet50V2", "keras")
        >>> row.top1, row.licence
        (76.0, 'mit')
        >>> weights.find("fasterrcnn_resnet50_fpn_v2", "coco").box_ap
        46.7
    """
    checkpoints = checkpoints_of(model)
    rows = {row.tag: row for row in checkpoints} | {row.data: row for row in checkpoints if row.recommended}
    listing = f"keras_resnet.{'' if model in SIDES else 'detection.'}list_weights({model!r})"
    return rows[known(f"weights of {model}", tag, rows, listing)]


def like(
    model: str,
    tag: str,
    path: str | os.PathLike[str],
    *,
    state: str = "",
    mean: float | Sequence[float] | None = None,
    std: float | Sequence[float] | None = None,
    size: int | None = None,
    crop_pct: float | None = None,
    interpolation: str | None = None,
) -> Checkpoint:
    """A checkpoint for your own file, with the network and preprocessing of a published checkpoint.

    Weights alone do not show where a network has its strides, how pixels are prepared, or where option A puts zeros.

    Args:
        model: one of `keras_resnet.list_models()`, or a detector with published weights.
        tag: tag of a checkpoint of the model; your file comes from the same code or was trained from these weights.
            "zoo": the network of the zoo as it is, with ImageNet's mean and std.
        path: path of your file.
        state: name of the set of weights, if the file has several: the key in a torch checkpoint, such as
            "state_dict_ema", or what the names have in front, such as "encoder_k"; ".": the one with nothing in front.
            "": a moving average if there is one, also the `teacher` of a `student`; then the one with nothing in
            front; then `encoder_q` or `backbone`.
        mean, std: mean and standard deviation of the pixels / 255, in [0, 1] and [0.0001, 1], one number for each of
            red, green and blue or one for all. None: those of `tag`, as are the others.
        size: side in pixels of the images for evaluation, at most 4096.
        crop_pct: part of the image that the crop for evaluation keeps, in [0.25, 1].
        interpolation: of resizing for evaluation, "bilinear" or "bicubic".

    Returns:
        A `Checkpoint`; pass it as `weights=` of the model or to `keras_resnet.load_weights`.

    Raises:
        ValueError: there is no such model, it has no such checkpoint, or an argument is outside its range.
        TypeError: an argument has the wrong type.

    Example:
        >>> from keras_resnet import weights
        >>> mine = weights.like("ResNet50", "keras", "mine.h5")
        >>> mine.source, mine.form, mine.classes
        ('mine.h5', 'keras_v1', 0)

        Then `keras_resnet.ResNet50(weights=mine)` builds the network of keras.applications and loads your file.

        >>> weights.like("ResNet50", "zoo", "mine.pth", mean=0.5, std=0.5).mean
        (0.5, 0.5, 0.5)
    """
    if not isinstance(state, str):
        raise TypeError(f"state must be a string. Received: state={state!r:.60}")
    names = (*SIDES, *(row.model for row in detectors()))
    known("model", model, names, "keras_resnet.list_models()")
    side = None if size is None else integer("size", size)
    changes: dict[str, Any] = {
        "mean": None if mean is None else _statistics("mean", mean, "[0, 1]"),
        "std": None if std is None else _statistics("std", std, f"[{SMALLEST_STD}, 1]"),
        "size": None if side is None else int(number("size", side, f"[1, {LARGEST_SIDE}]")),
        "crop_pct": None if crop_pct is None else number("crop_pct", crop_pct, f"[{SMALLEST_CROP}, 1]"),
        "interpolation": None if interpolation is None else one_of("interpolation", interpolation, INTERPOLATIONS),
    }
    return dataclasses.replace(
        _plain(model) if tag == ZOO else find(model, tag),
        tag=str(path),
        source=str(path),
        classes=0,
        licence="",
        box_ap=None,
        top1=None,
        top1_source="",
        hash="",
        notop="",
        notop_hash="",
        recommended=False,
        state=state,
        **{name: value for name, value in changes.items() if value is not None},
    )


def _plain(model: str) -> Checkpoint:
    """A checkpoint with the network of the zoo and the size of its images; those of CIFAR are not cropped."""
    size = SIDES.get(model, DETECTOR_SIDE)
    plain = Checkpoint(model, ZOO, "", form="torch", data="", size=size)
    return dataclasses.replace(plain, crop_pct=1.0) if size <= SMALL else plain


def _statistics(name: str, values: float | Sequence[float], interval: str) -> tuple[float, ...]:
    """Mean or std of red, green and blue, checked; a single number is that of all."""
    if not isinstance(values, numbers.Real | Iterable) or isinstance(values, str | bytes):
        raise TypeError(f"{name} must be one number or three. Received: {name}={values!r:.60}")
    entries = tuple(values) if isinstance(values, Iterable) else (values,) * 3
    if len(entries) != 3:
        raise ValueError(f"{name} must be one number or three. Received: {name}={values!r:.60}")
    if all(isinstance(entry, numbers.Real) and 1 < entry <= 255 and math.isfinite(entry) for entry in entries):
        shown = tuple(round(float(entry) / 255, 4) for entry in entries)
        raise ValueError(f"{name} must be that of pixels / 255: type {shown}. Received: {name}={values!r:.60}")
    return tuple(number(name, entry, interval) for entry in entries)
