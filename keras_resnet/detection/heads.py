"""The heads of a detector: the region proposal network, and what becomes of the features of a region."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import TypeAlias

import keras

from keras_resnet import layers
from keras_resnet.stages import pyramid

Tensor: TypeAlias = keras.KerasTensor
BoxHead = Callable[[keras.Model, Tensor], Tensor]  # backbone, features (R, S, S, C) of regions -> (R, D)


def proposal_head(maps: Sequence[Tensor], anchors: int, *, convs: int = 1) -> tuple[list[Tensor], list[Tensor]]:
    """The region proposal network (arXiv:1506.01497): the same convolutions on each map.

    Args:
        maps: feature maps (N, H, W, C) with the same C.
        anchors: number of anchors at each place.
        convs: number of 3x3 convolutions.

    Returns:
        For each map logits (N, H, W, anchors), and codes (N, H, W, 4 * anchors).
    """
    channels = maps[0].shape[-1]

    def conv(filters: int, kernel: int, name: str, activation: str | None = None) -> keras.Layer:
        return keras.layers.Conv2D(
            filters, kernel, padding="same", activation=activation, kernel_initializer=_normal(0.01), name=name
        )

    trunk = [conv(channels, 3, f"rpn_{number}_conv", "relu") for number in range(1, convs + 1)]
    logits, codes = conv(anchors, 1, "rpn_logits"), conv(4 * anchors, 1, "rpn_codes")
    found = []
    for features in maps:
        x = functools.reduce(lambda x, layer: layer(x), trunk, features)
        found.append((logits(x), codes(x)))
    return [logit for logit, _ in found], [code for _, code in found]


def two_dense(backbone: keras.Model, regions: Tensor, *, units: int = 1024) -> Tensor:
    """Two dense layers with ReLU, as in `fasterrcnn_resnet50_fpn` of torchvision.

    Args:
        backbone: not used.
        regions: features of regions, (R, S, S, C).
        units: of each layer.

    Returns:
        (R, units).
    """
    x = keras.layers.Flatten(name="box_flat")(regions)
    for number in (1, 2):
        x = keras.layers.Dense(units, "relu", kernel_initializer="he_uniform", name=f"box_{number}_dense")(x)
    return x


def convs_and_dense(
    backbone: keras.Model, regions: Tensor, *, convs: int = 4, filters: int = 256, units: int = 1024
) -> Tensor:
    """Convolutions with batch norm, and a dense layer (arXiv:1803.08494), as in `fasterrcnn_resnet50_fpn_v2`.

    Args:
        backbone: not used.
        regions: features of regions, (R, S, S, C).
        convs: number of 3x3 convolutions.
        filters: of each convolution.
        units: of the dense layer.

    Returns:
        (R, units).
    """
    x = regions
    for number in range(1, convs + 1):
        x = keras.layers.Conv2D(
            filters, 3, padding="same", use_bias=False, kernel_initializer="he_normal", name=f"box_{number}_conv"
        )(x)
        x = layers.relu(layers.batch_norm(x, f"box_{number}_bn"), f"box_{number}_relu")
    x = keras.layers.Flatten(name="box_flat")(x)
    return keras.layers.Dense(units, "relu", kernel_initializer="he_uniform", name=f"box_{convs + 1}_dense")(x)


def conv5(backbone: keras.Model, regions: Tensor) -> Tensor:
    """The fifth stage of the backbone and the mean over places (arXiv:1512.03385, appendix A).

    Args:
        backbone: the model of this package whose fourth stage gave the maps.
        regions: features of regions, (R, 14, 14, C).

    Returns:
        (R, channels of the fifth stage).

    Raises:
        ValueError: the backbone has no fourth or fifth stage.
    """
    maps = pyramid(backbone)
    if not {"C4", "C5"} <= maps.keys():
        raise ValueError(
            f"backbone must have conv4 and conv5. Received: {backbone.name!r} with the feature maps {', '.join(maps)}"
        )
    stage = keras.Model(maps["C4"], maps["C5"], name="conv5")
    return keras.layers.GlobalAveragePooling2D(name="box_pool")(stage(regions))


def predictor(x: Tensor, classes: int) -> tuple[Tensor, Tensor]:
    """Class and box of regions: a box for each class.

    Args:
        x: features of regions, (R, D).
        classes: number of classes, without background.

    Returns:
        Logits (R, classes + 1), the first is background, and codes (R, (classes + 1) * 4).
    """
    logits = keras.layers.Dense(classes + 1, kernel_initializer=_normal(0.01), name="box_logits")(x)
    return logits, keras.layers.Dense(4 * (classes + 1), kernel_initializer=_normal(0.001), name="box_codes")(x)


def _normal(deviation: float) -> keras.initializers.Initializer:
    """Normal weights as in arXiv:1504.08083: 0.01 for classes, 0.001 for boxes."""
    return keras.initializers.RandomNormal(0.0, deviation)
