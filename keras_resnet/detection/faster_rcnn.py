"""Faster R-CNN (arXiv:1506.01497) on a residual network: a network that finds objects, and the one that is trained."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Sequence
from typing import TypeAlias

import keras
from keras import ops

from keras_resnet import layers as common
from keras_resnet._internal.validation import boolean, integer, integers, number
from keras_resnet.complexity import flat_layers
from keras_resnet.detection import heads, necks
from keras_resnet.detection.anchors import Anchors
from keras_resnet.detection.layers import Detections, FillPadding, Proposals, RoIAlign
from keras_resnet.detection.training_layers import ProposalLosses, RegionLosses, SampledRegions
from keras_resnet.stages import freeze

Tensor: TypeAlias = keras.KerasTensor
OVERLAP = 0.7  # of two proposals, above which non-maximum suppression drops one (arXiv:1506.01497)
STRIDE = 32  # images are padded to multiples of it, so that all maps have whole places


@dataclasses.dataclass(frozen=True)
class Design:
    """Everything of a detector but its backbone and its classes. Change one with `dataclasses.replace`.

    Attributes:
        neck: function `(backbone, image) -> maps`, see `necks`.
        strides: strides of the maps that regions are read from.
        anchors: sizes for each map, and ratios.
        proposal_head: function `(maps, anchors) -> logits, codes`, see `heads`.
        box_head: function `(backbone, regions) -> features`, see `heads`.
        before: for training and for use: proposals of each map before non-maximum suppression.
        after: for training and for use: proposals of an image after it.
        regions: proposals of an image that a step of training learns from.
        lowest: proposals that overlap less than this with all objects are not learned from.
        border: anchors that are further outside of an image than this, in pixels, are not learned from.
        size: sides of the features of a region.
        samples: points of RoIAlign on a side of a bin, see `roi_align.roi_align`.
        aligned: see `roi_align.roi_align`.
        shorter, longer: images are resized so that the shorter side has `shorter` pixels, and the longer one at most
            `longer`.
        least_score: detections have at least this probability.
        detections: largest number of detections of an image.
    """

    neck: Callable[[keras.Model, Tensor], list[Tensor]]
    strides: tuple[int, ...]
    anchors: Anchors
    proposal_head: Callable[[list[Tensor], int], tuple[list[Tensor], list[Tensor]]]
    box_head: heads.BoxHead
    before: tuple[int, int] = (2000, 1000)
    after: tuple[int, int] = (2000, 1000)
    regions: int = 512
    lowest: float = 0.0
    border: float = math.inf
    size: int = 7
    samples: int = 2
    aligned: bool = False
    shorter: int = 800
    longer: int = 1333
    least_score: float = 0.05
    detections: int = 100

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
        for name in ("before", "after"):
            if len(integers(name, getattr(self, name))) != 2:
                raise ValueError(
                    f"{name} must be two numbers, for training and for use. Received: {name}={getattr(self, name)!r}"
                )
        for name in ("regions", "size", "shorter", "longer", "detections"):
            integer(name, getattr(self, name))
        integer("samples", self.samples, 0)
        boolean("aligned", self.aligned)
        for name in ("lowest", "least_score"):
            number(name, getattr(self, name), "[0, 1)")
        number("border", self.border, "[0, inf]")


# He et al. 2015 (arXiv:1512.03385), appendix A, with the settings of Faster R-CNN (arXiv:1506.01497) for PASCAL VOC.
C4 = Design(
    neck=necks.conv4,
    strides=(16,),
    anchors=Anchors(((128, 256, 512),)),
    proposal_head=heads.proposal_head,
    box_head=heads.conv5,
    before=(12_000, 6000),
    after=(2000, 300),
    regions=128,
    lowest=0.1,
    border=0.0,
    size=14,
    samples=0,
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
    before=(200, 200),
    after=(200, 100),
    regions=64,
    shorter=320,
    longer=640,
)


def FasterRCNN(
    backbone: keras.Model,
    classes: int,
    design: Design = C4,
    *,
    frozen_until: str = "conv3",
    frozen_norms: bool = True,
    name: str = "faster_rcnn",
) -> keras.Model:
    """Builds a detector: raw pixels in, boxes with classes out.

    Args:
        backbone: a model of this package without its head, for images of any size, for example
            `keras_resnet.ResNet101(include_top=False)`. The detector uses its layers: its weights are trained with it.
        classes: number of classes, at least 1, without background.
        design: `C4` (the paper's), `FPN` or `FPN_V2` (torchvision's), `FPN_SMALL`, or your own.
        frozen_until: the first stage of the backbone that is trained, see `keras_resnet.freeze`. "conv3", as in the
            paper; "conv1" trains all of it.
        frozen_norms: whether the batch norms of the backbone are not trained, as in the paper: batches of a detector
            are small.
        name: name of the model.

    Returns:
        A model. Its inputs are a dict: `images`, raw pixels (N, H, W, C), padded to the same sides; and `sizes`, height
        and width of each image, (N, 2). Its outputs are a dict: `boxes` (N, count, 4), left, top, right and bottom in
        pixels; `scores` and `classes` (N, count), the best one first; and `found`, the number of detections (N); rows
        after it are zeros. `keras_resnet.detection.find` resizes and pads images.

    Raises:
        ValueError: the backbone has a fixed size or lacks a stage, or `classes` is below 1.
        TypeError: `backbone` is not a `keras.Model`.

    Example:
        >>> import keras_resnet as kr
        >>> from keras_resnet.detection import FPN, FasterRCNN
        >>> detector = FasterRCNN(kr.ResNet18(include_top=False, input_shape=(None, None, 3)), 3, FPN)
        >>> detector.output["boxes"].shape
        (None, 100, 4)
    """
    integer("classes", classes)
    _check_backbone(backbone)
    freeze(backbone, frozen_until)
    if frozen_norms:
        for layer in flat_layers(backbone):
            if isinstance(layer, keras.layers.BatchNormalization):
                layer.trainable = False

    images = keras.Input(backbone.input_shape[1:], name="images")
    sizes = keras.Input((2,), dtype="int32", name="sizes")
    padded = FillPadding(_mean_pixel(backbone), STRIDE, name="padding")(images, sizes)
    neck = _neck(backbone, design)
    maps = neck(padded)
    logits, codes = _proposal_head(maps, design)(maps)
    proposals, present = Proposals(
        design.anchors.sizes, design.anchors.ratios, design.before[1], design.after[1], OVERLAP, name="proposals"
    )(padded, sizes, logits, codes)
    read = RoIAlign(design.strides, design.size, design.samples, design.aligned, name="roi_align")
    regions = read(maps[: len(design.strides)], proposals)
    found = _box_head(backbone, regions, classes, design)(regions)
    outputs = Detections(design.least_score, 0.5, design.detections, name="detections")(
        *of_images(found, design.after[1]), proposals, present, sizes
    )
    named = dict(zip(("boxes", "scores", "classes", "found"), outputs, strict=True))
    return keras.Model({"images": images, "sizes": sizes}, named, name=name)


def training_network(detector: keras.Model, design: Design, seed: int = 0) -> keras.Model:
    """The network that is trained: it has the layers and weights of a detector, and its outputs are the losses.

    Args:
        detector: a model of `FasterRCNN`, also one that was loaded from a `.keras` file.
        design: its design.
        seed: random seed of the choice of anchors and proposals that a step learns from.

    Returns:
        A model. Its inputs are a dict: `images` and `sizes` as in `FasterRCNN`; `boxes`, those of the objects in
        pixels, (N, M, 4); and `labels`, their classes from 0, int32 (N, M), where -1 fills the batch. Its outputs are a
        dict of losses, (N) each, whose means are to be added: `rpn_objectness`, `rpn_boxes`, `classes` and `boxes`.

    Raises:
        ValueError: the model is no detector, or was built with another design.
        TypeError: `design` is not a `Design`.

    Example:
        >>> import keras_resnet as kr
        >>> from keras_resnet.detection import FPN, FasterRCNN, training_network
        >>> detector = FasterRCNN(kr.ResNet18(include_top=False, input_shape=(None, None, 3)), 3, FPN)
        >>> sorted(training_network(detector, FPN).output)
        ['boxes', 'classes', 'rpn_boxes', 'rpn_objectness']
    """
    check_design(detector, design)
    layer = detector.get_layer
    images, sizes = detector.input["images"], detector.input["sizes"]
    boxes, labels = keras.Input((None, 4), name="boxes"), keras.Input((None,), dtype="int32", name="labels")
    padded = layer("padding")(images, sizes)
    maps = layer("neck")(padded)
    logits, codes = layer("rpn")(maps)
    objectness, rpn_boxes = ProposalLosses(
        design.anchors.sizes, design.anchors.ratios, border=design.border, seed=seed, name="rpn_losses"
    )(padded, sizes, logits, codes, boxes, labels)
    proposals, present = Proposals(
        design.anchors.sizes, design.anchors.ratios, design.before[0], design.after[0], OVERLAP, name="more_proposals"
    )(padded, sizes, logits, codes)
    regions, classes, targets, learned = SampledRegions(design.regions, low=design.lowest, seed=seed, name="sampled")(
        proposals, present, boxes, labels
    )
    found = layer("box_head")(layer("roi_align")(maps[: len(design.strides)], regions))
    losses = RegionLosses(name="box_losses")(*of_images(found, design.regions), classes, targets, learned)
    named = {"rpn_objectness": objectness, "rpn_boxes": rpn_boxes, "classes": losses[0], "boxes": losses[1]}
    return keras.Model({"images": images, "sizes": sizes, "boxes": boxes, "labels": labels}, named)


def classes_of(detector: keras.Model) -> int:
    """The number of classes of a detector.

    Raises:
        ValueError: the model is no detector.
    """
    names = {layer.name for layer in getattr(detector, "layers", [])}
    if not {"neck", "rpn", "proposals", "roi_align", "box_head", "detections"} <= names:
        raise ValueError(f"detector must be a model of keras_resnet.detection.FasterRCNN. Received: {detector!r:.100}")
    return detector.get_layer("box_head").output[0].shape[-1] - 1


def check_design(detector: keras.Model, design: Design) -> None:
    """Raises an error if a detector was built with another design.

    A `.keras` file holds the detector, and not how images are resized: `shorter` and `longer` cannot be compared.

    Raises:
        ValueError: the model is no detector, or anchors, numbers of proposals and detections, or RoIAlign differ.
        TypeError: `design` is not a `Design`.
    """
    classes_of(detector)
    if not isinstance(design, Design):
        raise TypeError(f"design must be a keras_resnet.detection.Design. Received: design={design!r:.100}")
    settings = {
        "anchors.sizes": ("proposals", "anchor_sizes", design.anchors.sizes),
        "anchors.ratios": ("proposals", "anchor_ratios", design.anchors.ratios),
        "before[1]": ("proposals", "before", design.before[1]),
        "after[1]": ("proposals", "after", design.after[1]),
        "strides": ("roi_align", "strides", design.strides),
        "size": ("roi_align", "size", design.size),
        "samples": ("roi_align", "samples", design.samples),
        "aligned": ("roi_align", "aligned", design.aligned),
        "least_score": ("detections", "least_score", design.least_score),
        "detections": ("detections", "count", design.detections),
    }
    for name, (layer, setting, value) in settings.items():
        built = detector.get_layer(layer).settings[setting]
        if keras.tree.flatten(built) != keras.tree.flatten(value):
            raise ValueError(
                f"design must be the one that the detector was built with: {name} is {built} there. "
                f"Received: a design with {name}={value}"
            )


def of_images(found: tuple[Tensor, Tensor], regions: int) -> tuple[Tensor, Tensor]:
    """Logits and codes (N * R, ...) of regions as (N, R, ...)."""
    return tuple(ops.reshape(x, (-1, regions, x.shape[-1])) for x in found)


def _neck(backbone: keras.Model, design: Design) -> keras.Model:
    image = keras.Input(backbone.input_shape[1:])
    maps = design.neck(backbone, image)
    if len(maps) != len(design.anchors.sizes):
        raise ValueError(
            f"design must have sizes of anchors for each of the {len(maps)} maps of its neck. "
            f"Received: {len(design.anchors.sizes)} groups of sizes"
        )
    return keras.Model(image, maps, name="neck")


def _proposal_head(maps: list[Tensor], design: Design) -> keras.Model:
    inputs = [keras.Input(x.shape[1:]) for x in maps]
    return keras.Model(inputs, design.proposal_head(inputs, design.anchors.per_place), name="rpn")


def _box_head(backbone: keras.Model, regions: Tensor, classes: int, design: Design) -> keras.Model:
    features = keras.Input(regions.shape[1:])
    return keras.Model(features, heads.predictor(design.box_head(backbone, features), classes), name="box_head")


def _check_backbone(backbone: keras.Model) -> None:
    if not isinstance(backbone, keras.Model):
        raise TypeError(f"backbone must be a keras.Model. Received: {backbone!r}")
    if len(backbone.input_shape) != 4 or backbone.input_shape[1:3] != (None, None):
        raise ValueError(
            "backbone must take images of any size: pass input_shape=(None, None, 3). "
            f"Received: {backbone.name!r} with the input shape {backbone.input_shape}"
        )


def _mean_pixel(backbone: keras.Model) -> list[float]:
    """The pixel that the preprocessing of the backbone makes zero."""
    for layer in flat_layers(backbone):
        if isinstance(layer, keras.layers.Normalization):
            return [float(value) for value in ops.convert_to_numpy(layer.mean).ravel()]
    return [0.0] * backbone.input_shape[-1]
