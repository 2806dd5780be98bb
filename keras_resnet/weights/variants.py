"""Variants: how a published network differs from the zoo's model of the same name, apart from its weights."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any, NamedTuple

from keras_resnet import shortcuts, stems, strides
from keras_resnet.blocks import bottleneck_block
from keras_resnet.layers import batch_norm, biased_conv
from keras_resnet.weights.conversion import (
    Conversion,
    bgr_to_rgb,
    depthwise_to_grouped,
    fold_biases,
    move_zero_padding_to_end,
)


class Variant(NamedTuple):
    """A variant of a zoo model.

    Attributes:
        fields: arguments of `ResNet` that replace those of the zoo's model.
        epsilon: epsilon of all batch norms.
        conversions: functions that convert the tensors of a file, in this order.
        strided: the part of a bottleneck block that has the stride of the block.
    """

    fields: Mapping[str, Any]
    epsilon: float
    conversions: tuple[Conversion, ...] = ()
    strided: str = "2_conv"


KERAS_EPSILON = 1.001e-5
KERAS_NORM = functools.partial(batch_norm, epsilon=KERAS_EPSILON)

VARIANTS = {
    # torchvision and timm: the zoo's models themselves.
    "torch": Variant({}, 1e-5),
    # keras.applications.ResNet50 and so on: the first 1x1 has the stride; convolutions before batch norms have biases.
    "keras_v1": Variant(
        {"block": functools.partial(bottleneck_block, stride_in="1x1"), "norm": KERAS_NORM},
        KERAS_EPSILON,
        (fold_biases, bgr_to_rgb),
        strided="1_conv",
    ),
    # keras.applications.ResNet50V2 and so on: the last block of a stage has the stride; convolutions that no batch norm
    # follows have biases.
    "keras_v2": Variant(
        {
            "block": functools.partial(bottleneck_block, last_conv=biased_conv),
            "shortcut": shortcuts.subsample_or_project,
            "stem": stems.imagenet_zero_padded,
            "strides": strides.in_last_block,
            "norm": KERAS_NORM,
        },
        KERAS_EPSILON,
    ),
    # keras-applications' ResNeXt.
    "keras_next": Variant({"norm": KERAS_NORM}, KERAS_EPSILON, (depthwise_to_grouped,)),
    # torchvision's fasterrcnn_resnet50_fpn for COCO, which sets epsilon to 0 (`overwrite_eps`) for these weights.
    "torchvision_frozen": Variant({"norm": functools.partial(batch_norm, epsilon=0.0)}, 0.0),
    # akamaster's CIFAR networks: option A with zeros on both sides of the channels.
    "akamaster": Variant({}, 1e-5, (move_zero_padding_to_end,)),
}
