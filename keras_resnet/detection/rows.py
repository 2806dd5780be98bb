"""The table of named detectors."""

from __future__ import annotations

import dataclasses

from keras_resnet._internal.validation import known
from keras_resnet.detection.faster_rcnn import C4, FPN, FPN_V2, Design


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
