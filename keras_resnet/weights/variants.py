"""Forms: in what a published network differs from the zoo's row of the same name, beside its weights."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any, NamedTuple

from keras_resnet import shortcuts, stems, strides
from keras_resnet.blocks import bottleneck_block
from keras_resnet.layers import batch_norm, biased_conv
from keras_resnet.weights.conversion import Conversion, bgr_to_rgb, fold_biases, grouped, move_zero_padding_to_end


class Variant(NamedTuple):
    """Arguments of `ResNet` that replace those of the row, batch norm's epsilon, and what is done to the tensors."""

    fields: Mapping[str, Any]
    epsilon: float
    conversions: tuple[Conversion, ...] = ()


KERAS_EPSILON = 1.001e-5
KERAS_NORM = functools.partial(batch_norm, epsilon=KERAS_EPSILON)

VARIANTS = {
    # torchvision, timm: what the zoo's rows are.
    "torch": Variant({}, 1e-5),
    # keras.applications.ResNet50 and so on: the stride is in the first 1x1, and biases stand before batch norms.
    "keras_v1": Variant(
        {"block": functools.partial(bottleneck_block, stride_in="1x1"), "norm": KERAS_NORM},
        KERAS_EPSILON,
        (fold_biases, bgr_to_rgb),
    ),
    # keras.applications.ResNet50V2 and so on: the last block of a stage strides; biases where no norm follows.
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
    "keras_next": Variant({"norm": KERAS_NORM}, KERAS_EPSILON, (grouped,)),
    # akamaster's CIFAR nets: option A with the zeros on both sides.
    "akamaster": Variant({}, 1e-5, (move_zero_padding_to_end,)),
}
