"""What a network costs: multiply-accumulates and activations, exact, from the shapes of its layers."""

from __future__ import annotations

import math
from collections.abc import Iterator

import keras

# Each output of these is a dot product as long as the kernel less its last axis, the filters ...
WEIGHTED = (keras.layers.Conv1D, keras.layers.Conv2D, keras.layers.Conv3D, keras.layers.Dense)
# ... and of these one as long as the kernel's sides.
DEPTHWISE = (keras.layers.DepthwiseConv1D, keras.layers.DepthwiseConv2D)
CONVOLUTIONS = (*WEIGHTED[:-1], *DEPTHWISE)


def macs(model: keras.Model, *, per_normalised: int = 0) -> int:
    """Multiply-accumulates of one forward pass on one image.

    Counted are convolutions and dense layers, as in the papers and in torchvision's table. timm's published figures
    (4.11 G for ResNet-50 instead of 4.09) also count batch norm, at two an element: `per_normalised=2` gives those.

    Args:
        model: a functional model whose input sides are known; nested models count. A layer that is used several times
            counts once.
        per_normalised: what to count for an element that passes a batch norm, at least 0.

    Returns:
        The number of multiply-accumulates.

    Raises:
        ValueError: a shape depends on the input's size, and that is None; or a layer has weights to multiply with that
            are of none of the known types.

    Example:
        >>> import keras_resnet as kr
        >>> kr.macs(kr.ResNet20())
        40551040
    """
    return sum(layer_macs(layer, per_normalised) for layer in flat_layers(model))


def activations(model: keras.Model) -> int:
    """Numbers that the convolutions of a forward pass give for one image: what memory and its bandwidth are needed for.

    Counted as in "Designing Network Design Spaces" (arXiv:2003.13678), where they foretell the time on accelerators
    better than multiply-accumulates do.

    Args:
        model: a functional model whose input sides are known; nested models count.

    Returns:
        The number of outputs of all convolutions.

    Raises:
        ValueError: a shape depends on the input's size, and that is None.

    Example:
        >>> import keras_resnet as kr
        >>> kr.activations(kr.ResNet50())
        11113984
    """
    return sum(math.prod(_shape(layer)) for layer in flat_layers(model) if isinstance(layer, CONVOLUTIONS))


def layer_macs(layer: keras.Layer, per_normalised: int = 0) -> int:
    """Multiply-accumulates of one layer; 0 for a layer without weights to multiply."""
    if isinstance(layer, keras.layers.BatchNormalization):
        return per_normalised * math.prod(_shape(layer))
    if isinstance(layer, WEIGHTED):
        return math.prod(_shape(layer)) * math.prod(layer.kernel.shape[:-1])
    if isinstance(layer, DEPTHWISE):
        return math.prod(_shape(layer)) * math.prod(layer.kernel.shape[:-2])
    if any(len(weight.shape) > 1 for weight in layer.trainable_weights):
        raise ValueError(
            "model must have no other weighted layers than convolutions (but transposed and separable) and dense ones. "
            f"Received: {layer.name!r}, a {type(layer).__name__}"
        )
    return 0


def parameters(layers: list[keras.Layer]) -> int:
    """Trainable parameters of `layers`."""
    return sum(math.prod(weight.shape) for layer in layers for weight in layer.trainable_weights)


def flat_layers(model: keras.Model) -> Iterator[keras.Layer]:
    """The layers of a model, those of nested models in their place."""
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            yield from flat_layers(layer)
        else:
            yield layer


def _shape(layer: keras.Layer) -> tuple[int, ...]:
    shape = layer.output.shape[1:]
    if None in shape:
        raise ValueError(
            f"model must know the size of its images: build it with input_shape=(height, width, channels). "
            f"Received: {layer.name!r} gives {layer.output.shape}"
        )
    return shape
