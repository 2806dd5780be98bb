"""Faster R-CNN (arXiv:1506.01497) on a residual network: a network that finds objects, and the one that is trained."""

from __future__ import annotations

from typing import TypeAlias

import keras
from keras import ops

from keras_resnet._internal.validation import integer
from keras_resnet.complexity import flat_layers
from keras_resnet.detection import heads
from keras_resnet.detection.design import C4, Design
from keras_resnet.detection.layers import Detections, FillPadding, Proposals, RoIAlign
from keras_resnet.detection.training_layers import ProposalLosses, RegionLosses, SampledRegions
from keras_resnet.stages import freeze

Tensor: TypeAlias = keras.KerasTensor
OVERLAP = 0.7  # of two proposals, above which non-maximum suppression drops one (arXiv:1506.01497)
SIDE = 256  # of an image for which the strides of maps are computed
STRIDE = 32  # images are padded to multiples of it, so that all maps have whole places


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
            paper; "conv1" trains all of it, which a backbone with random weights needs.
        frozen_norms: True: the batch norms of the backbone are not trained, as in the paper, because batches of a
            detector are small. False for a backbone with random weights.
        name: name of the model.

    Returns:
        A model. Its inputs are a dict: `images`, raw pixels (N, H, W, C), padded to the same sides; and `sizes`, height
        and width of each image, (N, 2). Its outputs are a dict: `boxes` (N, count, 4), left, top, right and bottom in
        pixels; `scores` and `classes` (N, count), the best one first; and `found`, the number of detections (N); rows
        after it are zeros. `keras_resnet.detection.find` resizes and pads images.

    Raises:
        ValueError: the backbone has a fixed size, no preprocessing, other strides than the design, or lacks a stage; or
            `classes` is below 1.
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
        design.anchors.sizes,
        design.anchors.ratios,
        design.pre_nms_top_n[1],
        design.post_nms_top_n[1],
        OVERLAP,
        name="proposals",
    )(padded, sizes, logits, codes)
    read = RoIAlign(design.strides, design.roi_size, design.sampling_ratio, design.aligned, name="roi_align")
    regions = read(maps[: len(design.strides)], proposals)
    found = _box_head(backbone, regions, classes, design)(regions)
    outputs = Detections(design.least_score, 0.5, design.detections_per_image, name="detections")(
        *of_images(found, design.post_nms_top_n[1]), proposals, present, sizes
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
        design.anchors.sizes, design.anchors.ratios, allowed_border=design.allowed_border, seed=seed, name="rpn_losses"
    )(padded, sizes, logits, codes, boxes, labels)
    proposals, present = Proposals(
        design.anchors.sizes,
        design.anchors.ratios,
        design.pre_nms_top_n[0],
        design.post_nms_top_n[0],
        OVERLAP,
        name="more_proposals",
    )(padded, sizes, logits, codes)
    regions, classes, targets, learned = SampledRegions(
        design.regions_per_image, low=design.least_background_overlap, seed=seed, name="sampled"
    )(proposals, present, boxes, labels)
    found = layer("box_head")(layer("roi_align")(maps[: len(design.strides)], regions))
    losses = RegionLosses(name="box_losses")(*of_images(found, design.regions_per_image), classes, targets, learned)
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
        "pre_nms_top_n[1]": ("proposals", "pre_nms_top_n", design.pre_nms_top_n[1]),
        "post_nms_top_n[1]": ("proposals", "post_nms_top_n", design.post_nms_top_n[1]),
        "strides": ("roi_align", "strides", design.strides),
        "roi_size": ("roi_align", "output_size", design.roi_size),
        "sampling_ratio": ("roi_align", "sampling_ratio", design.sampling_ratio),
        "aligned": ("roi_align", "aligned", design.aligned),
        "least_score": ("detections", "least_score", design.least_score),
        "detections_per_image": ("detections", "count", design.detections_per_image),
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
    neck = keras.Model(image, maps, name="neck")
    shapes = neck.compute_output_shape((1, SIDE, SIDE, image.shape[-1]))
    strides = tuple(SIDE // height for _, height, *_ in shapes)
    if strides[: len(design.strides)] != tuple(design.strides):
        raise ValueError(
            f"backbone must give maps at the strides of the design, {', '.join(map(str, design.strides))}; or the "
            f"design must have those of the maps. Received: {backbone.name!r}, with maps at "
            f"{', '.join(map(str, strides))}"
        )
    return neck


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
    raise ValueError(
        "backbone must have its preprocessing, because a detector takes raw pixels: pass include_preprocessing=True. "
        f"Received: {backbone.name!r} without a layer Normalization"
    )
