"""Designs of detectors: all settings except the backbone and the classes."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Sequence
from typing import TypeAlias

import keras

from keras_resnet import layers as common
from keras_resnet._internal.validation import boolean, integer, integers, number
from keras_resnet.detection import heads, necks
from keras_resnet.detection.anchors import Anchors

Tensor: TypeAlias = keras.KerasTensor


@dataclasses.dataclass(frozen=True)
class Design:
    """All settings of a detector except its backbone and its classes. `dataclasses.replace` makes a changed copy.

    Attributes:
        neck: function `(backbone, image) -> maps`, see `necks`.
        strides: strides of the maps that regions are read from.
        anchors: sizes for each map, and ratios.
        proposal_head: function `(maps, anchors) -> logits, codes`, see `heads`.
        box_head: function `(backbone, regions) -> features`, see `heads`.
        pre_nms_top_n: two numbers, for training and for use: proposals of each map that non-maximum suppression gets.
        post_nms_top_n: two numbers, for training and for use: proposals of an image that it leaves.
        regions_per_image: proposals of an image that a step of training learns from.
        least_background_overlap: proposals that overlap less than this with all objects are not learned from.
        allowed_border: anchors that are further outside of an image than this, in pixels, are not learned from.
        roi_size: sides of the features of a region.
        sampling_ratio: points of RoIAlign on a side of a bin, see `roi_align.roi_align`.
        aligned: see `roi_align.roi_align`.
        shorter, longer: images are resized so that the shorter side has `shorter` pixels, and the longer one at most
            `longer`.
        least_score: detections have a higher probability than this.
        detections_per_image: largest number of detections of an image.
    """

    neck: Callable[[keras.Model, Tensor], list[Tensor]]
    strides: tuple[int, ...]
    anchors: Anchors
    proposal_head: Callable[[list[Tensor], int], tuple[list[Tensor], list[Tensor]]]
    box_head: heads.BoxHead
    pre_nms_top_n: tuple[int, int] = (2000, 1000)
    post_nms_top_n: tuple[int, int] = (2000, 1000)
    regions_per_image: int = 512
    least_background_overlap: float = 0.0
    allowed_border: float = math.inf
    roi_size: int = 7
    sampling_ratio: int = 2
    aligned: bool = False
    shorter: int = 800
    longer: int = 1333
    least_score: float = 0.05
    detections_per_image: int = 100

    def __post_init__(self) -> None:
        for name in ("neck", "proposal_head", "box_head"):
            if not callable(getattr(self, name)):
                raise TypeError(f"{name} must be a function. Received: {name}={getattr(self, name)!r}")
        integers("strides", self.strides)
        if not isinstance(self.anchors, Anchors):
            raise TypeError(f"anchors must be keras_resnet.detection.anchors.Anchors. Received: {self.anchors!r}")
        groups = self.anchors.sizes
        if not all(isinstance(group, Sequence) for group in groups) or len({len(group) for group in groups}) != 1:
            raise ValueError(
                "sizes of anchors must be groups of numbers, one for each map, all of the same length. "
                f"Received: sizes={groups!r}"
            )
        for name in ("pre_nms_top_n", "post_nms_top_n"):
            if len(integers(name, getattr(self, name))) != 2:
                raise ValueError(
                    f"{name} must be two numbers, for training and for use. Received: {name}={getattr(self, name)!r}"
                )
        for name in ("regions_per_image", "roi_size", "shorter", "longer", "detections_per_image"):
            integer(name, getattr(self, name))
        integer("sampling_ratio", self.sampling_ratio, 0)
        boolean("aligned", self.aligned)
        for name in ("least_background_overlap", "least_score"):
            number(name, getattr(self, name), "[0, 1)")
        number("allowed_border", self.allowed_border, "[0, inf]")


# He et al. 2015 (arXiv:1512.03385), appendix A, with the settings of Faster R-CNN (arXiv:1506.01497) for PASCAL VOC.
C4 = Design(
    neck=necks.conv4,
    strides=(16,),
    anchors=Anchors(((128, 256, 512),)),
    proposal_head=heads.proposal_head,
    box_head=heads.conv5,
    pre_nms_top_n=(12_000, 6000),
    post_nms_top_n=(2000, 300),
    regions_per_image=128,
    least_background_overlap=0.1,
    allowed_border=0.0,
    roi_size=14,
    sampling_ratio=0,
    shorter=600,
    longer=1000,
)
# torchvision's fasterrcnn_resnet50_fpn (arXiv:1612.03144).
FPN = Design(
    neck=necks.feature_pyramid,
    strides=(4, 8, 16, 32),
    anchors=Anchors(((32,), (64,), (128,), (256,), (512,))),
    proposal_head=heads.proposal_head,
    box_head=heads.two_dense,
)
# torchvision's fasterrcnn_resnet50_fpn_v2 (arXiv:2111.11429).
FPN_V2 = dataclasses.replace(
    FPN,
    neck=functools.partial(necks.feature_pyramid, norm=common.batch_norm),
    proposal_head=functools.partial(heads.proposal_head, convs=2),
    box_head=heads.convs_and_dense,
)
# For a few hundred images and machines without a GPU: small images, as in torchvision's
# fasterrcnn_mobilenet_v3_large_320_fpn, a quarter of the channels, and fewer proposals.
FPN_SMALL = dataclasses.replace(
    FPN,
    neck=functools.partial(necks.feature_pyramid, channels=64),
    anchors=Anchors(((16,), (32,), (64,), (128,), (256,))),
    box_head=functools.partial(heads.two_dense, units=256),
    pre_nms_top_n=(200, 200),
    post_nms_top_n=(200, 100),
    regions_per_image=64,
    shorter=320,
    longer=640,
)
