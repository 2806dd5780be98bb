"""Feature maps of a backbone for a detector: its last maps as they are, or a feature pyramid."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import keras

from keras_resnet import layers
from keras_resnet.stages import pyramid

Tensor: TypeAlias = keras.KerasTensor
Norm = Callable[[Tensor, str], Tensor] | None


def features(backbone: keras.Model, names: tuple[str, ...]) -> keras.Model:
    """The part of a backbone that ends in some of its feature maps.

    Args:
        backbone: a model of this package.
        names: names of maps, see `keras_resnet.pyramid`.

    Returns:
        A model called "backbone" with a list of maps.

    Raises:
        ValueError: the backbone has no such map.
    """
    maps = pyramid(backbone)
    if missing := [name for name in names if name not in maps]:
        raise ValueError(
            f"backbone must have the feature maps {', '.join(names)}; those of a network for ImageNet. "
            f"Received: {backbone.name!r} with {', '.join(maps)}, without {', '.join(missing)}"
        )
    return keras.Model(backbone.input, [maps[name] for name in names], name="backbone")


def conv4(backbone: keras.Model, image: Tensor) -> list[Tensor]:
    """The maps of the fourth stage, at stride 16, as in Faster R-CNN on ResNet (arXiv:1512.03385, appendix A).

    Args:
        backbone: a model of this package with conv4 and conv5.
        image: images, a tensor (N, H, W, C).

    Returns:
        One tensor (N, H / 16, W / 16, channels).
    """
    maps = features(backbone, ("C4",))(image)
    return [keras.tree.flatten(maps)[0]]


def feature_pyramid(backbone: keras.Model, image: Tensor, *, channels: int = 256, norm: Norm = None) -> list[Tensor]:
    """A feature pyramid network (arXiv:1612.03144) as in torchvision, with a fifth map at stride 64.

    Args:
        backbone: a model of this package with conv2 to conv5.
        image: images, a tensor (N, H, W, C), with sides that 32 divides.
        channels: channels of each map.
        norm: function `(x, name) -> tensor` after each convolution, which then has no bias; None: no norm.

    Returns:
        Five tensors, at strides 4, 8, 16, 32 and 64.
    """
    maps = features(backbone, ("C2", "C3", "C4", "C5"))(image)

    def conv(x: Tensor, kernel: int, name: str) -> Tensor:
        x = keras.layers.Conv2D(
            channels,
            kernel,
            padding="same",
            use_bias=norm is None,
            kernel_initializer=keras.initializers.HeUniform(),
            name=f"{name}_conv",
        )(x)
        return norm(x, f"{name}_bn") if norm else x

    merged = [conv(x, 1, f"fpn_inner{level}") for level, x in enumerate(maps, start=2)]
    for level in (4, 3, 2):
        above = keras.layers.UpSampling2D(2, name=f"fpn_up{level}")(merged[level - 1])
        merged[level - 2] = keras.layers.Add(name=f"fpn_add{level}")([merged[level - 2], above])
    outputs = [conv(x, 3, f"fpn_outer{level}") for level, x in enumerate(merged, start=2)]
    return [*outputs, layers.subsample(outputs[-1], 2, "fpn_pool6")]
