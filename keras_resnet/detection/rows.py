"""The table of named detectors, and how one is built with its published weights."""

from __future__ import annotations

import dataclasses
import logging
import os
from pathlib import Path

import keras

from keras_resnet import zoo
from keras_resnet._internal.validation import known
from keras_resnet.detection.design import C4, FPN, FPN_SMALL, FPN_V2, Design
from keras_resnet.detection.faster_rcnn import FasterRCNN
from keras_resnet.weights import Checkpoint, load_weights
from keras_resnet.weights.fetch import local_file
from keras_resnet.weights.kinds import DETECTOR
from keras_resnet.weights.resolution import read_contents, resolve
from keras_resnet.weights.table import checkpoints_of

log = logging.getLogger("keras_resnet.detection")


@dataclasses.dataclass(frozen=True)
class Row:
    """A named detector.

    Attributes:
        name: its name, torchvision's where torchvision has it.
        paper: its source.
        backbone: name of a model of the zoo.
        design: everything else.
    """

    name: str
    paper: str
    backbone: str
    design: Design


ROWS = {
    row.name: row
    for row in (
        Row("fasterrcnn_resnet101_c4", "He et al. 2015, appendix A, arXiv:1512.03385", "ResNet101", C4),
        Row("fasterrcnn_resnet50_fpn", "Lin et al. 2016, arXiv:1612.03144", "ResNet50", FPN),
        Row("fasterrcnn_resnet50_fpn_v2", "Li et al. 2021, arXiv:2111.11429", "ResNet50", FPN_V2),
        Row("fasterrcnn_resnet18_320_fpn", "Lin et al. 2016, arXiv:1612.03144, made smaller", "ResNet18", FPN_SMALL),
    )
}


def row_named(name: str) -> Row:
    """The row of a detector.

    Raises:
        ValueError: there is no such detector.
    """
    return ROWS[known("detector", name, ROWS, "keras_resnet.detection.list_detectors()")]


def list_detectors() -> list[str]:
    """Names of all detectors, for `create_detector`.

    Example:
        >>> from keras_resnet.detection import list_detectors
        >>> list_detectors()[0]
        'fasterrcnn_resnet101_c4'
    """
    return list(ROWS)


def list_weights(name: str) -> list[str]:
    """Tags of the weights that are published for a detector, the recommended one first.

    `keras_resnet.weights.find(name, tag)` returns source, licence and average precision (`box_ap`) of one.

    Args:
        name: one of `list_detectors()`.

    Returns:
        Tags for the argument `weights` of `create_detector`; an empty list if no weights are published.

    Raises:
        ValueError: there is no such detector.

    Example:
        >>> from keras_resnet.detection import list_weights
        >>> list_weights("fasterrcnn_resnet50_fpn")
        ['torchvision_coco']
    """
    return [checkpoint.tag for checkpoint in checkpoints_of(row_named(name).name)]


def create_detector(
    name: str,
    classes: int | None = None,
    weights: str | os.PathLike[str] | Checkpoint | None = None,
    *,
    backbone_weights: str | os.PathLike[str] | Checkpoint | None = None,
    design: Design | None = None,
    frozen_until: str = "conv3",
    frozen_norms: bool = True,
) -> keras.Model:
    """Builds a detector of the table by its name.

    Args:
        name: one of `list_detectors()`.
        classes: number of classes, without background. None: as many as the weights have. If it differs from that, the
            layers that predict classes and boxes start anew, and a warning is logged.
        weights: weights of the whole detector: one of `list_weights(name)`, the name of their data set ("coco"), the
            path of a file, or a checkpoint of `keras_resnet.weights.find` or `like`. None: random ones.
        backbone_weights: weights of the backbone alone, as its constructor takes them, for example "imagenet".
        design: the design, for example with a `shorter` of your own. None: that of the detector's row, `design_of`.
        frozen_until, frozen_norms: see `FasterRCNN`.

    Returns:
        A model, as from `FasterRCNN`. Its network is the one that the weights need.

    Raises:
        ValueError: there is no such detector; there are no such weights, or they do not fit; or neither `classes` nor
            the weights give the number of classes.
        TypeError: an argument has the wrong type.

    Example:
        >>> from keras_resnet.detection import create_detector
        >>> detector = create_detector("fasterrcnn_resnet50_fpn", weights="torchvision_coco")  # doctest: +SKIP
        >>> detector = create_detector("fasterrcnn_resnet50_fpn_v2", classes=20)  # doctest: +SKIP
    """
    row = row_named(name)
    if weights is not None and backbone_weights is not None:
        raise ValueError(
            "backbone_weights must be None if weights are given, which are those of the backbone too. "
            f"Received: weights={weights!r} and backbone_weights={backbone_weights!r}"
        )
    source = None if weights is None else _located(resolve(name, weights), name)
    if classes is None:
        classes = _classes_of(source)
    network = {**source.fields, "mean": source.mean, "std": source.std} if isinstance(source, Checkpoint) else {}
    backbone = zoo.create_model(
        row.backbone, include_top=False, weights=backbone_weights, input_shape=(None, None, 3), **network
    )
    detector = FasterRCNN(
        backbone,
        classes,
        design or row.design,
        frozen_until=frozen_until,
        frozen_norms=frozen_norms,
        name=name,
    )
    if source is not None:
        load_weights(detector, source)
    elif backbone_weights is None and (frozen_until != "conv1" or frozen_norms):
        log.warning(
            "%s has a backbone with random weights, and a training would not change its frozen parts: pass "
            'backbone_weights, or frozen_until="conv1" and frozen_norms=False',
            name,
        )
    return detector


def design_of(name: str) -> Design:
    """The design of a detector, which `find` and `training_network` need.

    Args:
        name: one of `list_detectors()`.

    Raises:
        ValueError: there is no such detector.

    Example:
        >>> from keras_resnet.detection import design_of
        >>> design_of("fasterrcnn_resnet50_fpn").shorter
        800
    """
    return row_named(name).design


def _located(source: Checkpoint | Path, name: str) -> Checkpoint | Path:
    """A checkpoint whose file is on this machine, or a path."""
    if not isinstance(source, Checkpoint):
        return source
    if source.model != name:
        raise ValueError(
            f"weights of {name} must not be those of {source.model or 'a classifier'}. Received: {source.tag!r}"
        )
    return dataclasses.replace(source, source=str(local_file(source, include_top=True)))


def _classes_of(source: Checkpoint | Path | None) -> int:
    """The number of classes in a file of weights."""
    found = None
    if isinstance(source, Checkpoint):
        found = read_contents(Path(source.source), source.state, DETECTOR).classes
    elif source is not None:
        found = read_contents(source, kind=DETECTOR).classes
    if not found:
        raise ValueError(
            "classes must be the number of classes, without background, unless weights of a detector give it. "
            f"Received: classes=None{'' if source is None else ', and weights without a classifier of a detector'}"
        )
    return found
