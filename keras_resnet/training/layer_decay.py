"""Learning rates by depth (`layer_decay` of a recipe): the scheme of BEiT (arXiv:2106.08254), as timm has it.

Layers near the input of a pretrained network find edges and textures, which serve any task, so they should change less
than layers near the output. The head has the rate of the schedule. Each block before it has `layer_decay` times the
rate of the block that follows.

`keras.optimizers.MultiOptimizer` could do it with one optimizer for each depth. But it clips the gradient of each depth
alone, averages no weights, and its parts share no loss scale. The optimizers here take the rate as an argument of
`update_step`, so a factor for each variable is enough.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras

from keras_resnet._internal.keras_graph import index_of
from keras_resnet.stages import groups_of_layers


def rate_scales(model: keras.Model, layer_decay: float) -> list[float]:
    """The factor of the learning rate for each trainable variable.

    Frozen layers count for the depth, so the factor of a layer does not depend on what is frozen.

    Args:
        model: a model of this package, or a model around one.
        layer_decay: the factor between two depths, in (0, 1].

    Returns:
        Factors in (0, 1] in the order of `model.trainable_variables`.

    Raises:
        ValueError: the depth of layers is not known, because none has the name of a block's layer.

    Example:
        >>> import keras_resnet as kr
        >>> from keras_resnet.training.layer_decay import rate_scales
        >>> scales = rate_scales(kr.freeze(kr.ResNet20(), "conv4"), 0.5)
        >>> sorted(set(scales))
        [0.125, 0.25, 0.5, 1.0]
    """
    try:
        groups = groups_of_layers(model)
    except ValueError as error:
        raise ValueError(
            f"layer_decay must be 1 for a model of which the blocks are not known: {error}, layer_decay={layer_decay}"
        ) from error
    scales = {
        id(variable): layer_decay ** (len(groups) - 1 - depth)
        for depth, layers in enumerate(groups)
        for layer in layers
        for variable in layer.variables
    }
    return [scales[id(variable)] for variable in model.trainable_variables]


def scale_rates(optimizer: keras.optimizers.Optimizer, scales: Sequence[float]) -> None:
    """Makes an optimizer multiply the learning rate of each variable by a factor, for weight decay too.

    Args:
        optimizer: one of `training.optimizers`.
        scales: a factor for each variable that the optimizer is built for, in their order.
    """
    step = optimizer.update_step

    def scaled(gradient: Any, variable: Any, learning_rate: Any) -> None:
        step(gradient, variable, learning_rate * scales[index_of(optimizer, variable)])

    optimizer.__dict__["update_step"] = scaled  # not tracked by Keras as an attribute
