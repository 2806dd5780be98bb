"""What a network costs: parameters, multiply-accumulates and activations, of a built model or by arithmetic alone.

`macs` and `activations` count on a built model. For a search, which looks at many networks, each part of a network
(stem, block, gate, shortcut) has a cost function in its own file, registered by `cost_of`; `keras_resnet.resnet.cost`
adds them up without building anything.
"""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import keras

# Each output of these layers is a dot product as long as the kernel without its last axis, the filters ...
WEIGHTED = (keras.layers.Conv1D, keras.layers.Conv2D, keras.layers.Conv3D, keras.layers.Dense)
# ... and each output of these is one as long as the sides of the kernel.
DEPTHWISE = (keras.layers.DepthwiseConv1D, keras.layers.DepthwiseConv2D)
CONVOLUTIONS = (*WEIGHTED[:-1], *DEPTHWISE)


def macs(model: keras.Model, *, batch_norm_macs: int = 0) -> int:
    """Multiply-accumulates of one forward pass on one image.

    Convolutions and dense layers are counted, as in the papers and in torchvision's table. timm's published figures
    (4.11 G for ResNet-50 instead of 4.09) also count batch norm, two for each element: `batch_norm_macs=2` gives those.

    Args:
        model: a functional model with a fixed input size; nested models are counted. A layer that is used several
            times is counted once.
        batch_norm_macs: what to count for each element that a batch norm normalises, at least 0.

    Returns:
        The number of multiply-accumulates.

    Raises:
        ValueError: the input size is not fixed, or a layer has weights and is of an unknown type.

    Example:
        >>> import keras_resnet as kr
        >>> kr.macs(kr.ResNet20())
        40551040
    """
    return sum(layer_macs(layer, batch_norm_macs) for layer in flat_layers(model))


def activations(model: keras.Model) -> int:
    """Number of outputs of all convolutions in a forward pass on one image.

    It is counted as in "Designing Network Design Spaces" (arXiv:2003.13678), where it predicts the time on accelerators
    better than multiply-accumulates do.

    Args:
        model: a functional model with a fixed input size; nested models are counted.

    Returns:
        The number of outputs.

    Raises:
        ValueError: the input size is not fixed.

    Example:
        >>> import keras_resnet as kr
        >>> kr.activations(kr.ResNet50())
        11113984
    """
    return sum(math.prod(_shape(layer)) for layer in flat_layers(model) if isinstance(layer, CONVOLUTIONS))


def layer_macs(layer: keras.Layer, batch_norm_macs: int = 0) -> int:
    """Multiply-accumulates of one layer; 0 for a layer without a kernel."""
    if isinstance(layer, keras.layers.BatchNormalization):
        return batch_norm_macs * math.prod(_shape(layer))
    if isinstance(layer, WEIGHTED):
        return math.prod(_shape(layer)) * math.prod(layer.kernel.shape[:-1])
    if isinstance(layer, DEPTHWISE):
        return math.prod(_shape(layer)) * math.prod(layer.kernel.shape[:-2])
    if any(len(weight.shape) > 1 for weight in layer.trainable_weights):
        raise ValueError(
            "model must have no layers with kernels other than convolutions (not transposed or separable ones) and "
            f"dense layers. Received: {layer.name!r}, a {type(layer).__name__}"
        )
    return 0


def parameters(layers: list[keras.Layer]) -> int:
    """Trainable parameters of `layers`."""
    return sum(math.prod(weight.shape) for layer in layers for weight in layer.trainable_weights)


def flat_layers(model: keras.Model) -> Iterator[keras.Layer]:
    """The layers of a model; a nested model is replaced by its layers."""
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            yield from flat_layers(layer)
        else:
            yield layer


def _shape(layer: keras.Layer) -> tuple[int, ...]:
    shape = layer.output.shape[1:]
    if None in shape:
        raise ValueError(
            f"model must have a fixed input size: build it with input_shape=(height, width, channels). "
            f"Received: {layer.name!r} with output {layer.output.shape}"
        )
    return shape


class Cost(NamedTuple):
    """What a network costs."""

    parameters: int  # trainable ones
    macs: int  # multiply-accumulates for one image


class Sketch:
    """Stands for the tensor of a network: its size, and what the network has cost up to it.

    Args:
        sides: height and width.
        channels: of the tensor.
    """

    def __init__(self, sides: tuple[int, int], channels: int) -> None:
        self.sides, self.channels = sides, channels
        self.parameters = self.macs = 0

    def stride(self, by: int) -> None:
        """Divides the sides. All padding of this package makes ceil(side / stride) of a side."""
        self.sides = (-(-self.sides[0] // by), -(-self.sides[1] // by))

    def conv(self, filters: int, kernel: int, stride: int = 1, groups: int = 1, bias: bool = False) -> None:
        """Adds a convolution with a kernel of `kernel` x `kernel`."""
        if self.channels % groups or filters % groups:
            raise ValueError(f"groups must divide {self.channels} and {filters} channels. Received: groups={groups}")
        if filters < 1:
            raise ValueError(f"filters must be at least 1 in every convolution. Received: filters={filters}")
        self.stride(stride)
        weights = kernel * kernel * self.channels // groups * filters
        self.parameters += weights + filters * bias
        self.macs += math.prod(self.sides) * weights
        self.channels = filters

    def norm(self, operations: Sequence[str]) -> None:
        """Adds a batch norm, scale and offset of each channel, if "bn" is among the operations."""
        self.parameters += 2 * self.channels * ("bn" in operations)

    def dense(self, units: int) -> None:
        """Adds a dense layer with a bias on a vector of the channels."""
        self.parameters += (self.channels + 1) * units
        self.macs += self.channels * units


# By argument of `ResNet` ("stem", "gate", ...) and by part, the cost function of the part.
_COSTS: dict[str, dict[Any, Callable[..., None]]] = {}


def cost_of(argument: str, part: Any) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Registers a cost function beside the part whose cost it computes.

    Args:
        argument: the argument of `ResNet` that the part is passed as.
        part: the stem, block, gate or shortcut.

    Returns:
        A decorator for a function `(sketch, ...)` that changes the sketch as the part changes a tensor.
    """

    def register(function: Callable[..., None]) -> Callable[..., None]:
        _COSTS.setdefault(argument, {})[part] = function
        return function

    return register


def cost_function(argument: str, part: Any) -> Callable[..., None]:
    """The cost function of a part; arguments that `functools.partial` binds to the part are bound to it too.

    Raises:
        ValueError: the part has none.
    """
    known = _COSTS.get(argument, {})
    check_cost_known(argument, part, tuple(known))
    if not isinstance(part, functools.partial):
        return known[part]
    function = known[part.func]
    # Arguments that change no cost, such as an initializer, are none of the cost function's.
    taken = _parameters(function)
    return functools.partial(function, **{name: value for name, value in part.keywords.items() if name in taken})


@functools.cache  # a search asks for each block of each network that it considers
def _parameters(function: Callable[..., None]) -> frozenset[str]:
    return frozenset(inspect.signature(function).parameters)


def check_cost_known(argument: str, part: Any, known: Sequence[Any]) -> None:
    """Raises a `ValueError` if a part, without the arguments that are bound to it, is not among those of known cost."""
    if (part.func if isinstance(part, functools.partial) else part) not in known:
        names = ", ".join(sorted(other.__name__ for other in known))
        raise ValueError(f"{argument} must be one of {names}, whose cost is known. Received: {part!r}")
