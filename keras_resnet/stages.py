"""A network stage by stage, as tables in papers have it: conv1, conv2_x, ..., head."""

from __future__ import annotations

import re
from typing import NamedTuple

import keras

from keras_resnet.cost import flat_layers, layer_macs, parameters

BLOCK = re.compile(r"conv(\d+)_block(\d+)_")
HEAD = ("post_", "avg_pool", "max_pool", "predictions")


class Stage(NamedTuple):
    """One row of the table: the output is that of the stage's last layer, without the batch."""

    name: str
    blocks: int
    output: tuple[int | None, ...]
    parameters: int
    macs: int


def stages(model: keras.Model) -> list[Stage]:
    """The stages of a network of this package; parameters are the trainable ones.

    Raises:
        ValueError: the network does not know the size of its images.
    """
    groups: dict[str, list[keras.Layer]] = {}
    for layer in flat_layers(model):
        groups.setdefault(_stage(layer.name), []).append(layer)
    return [
        Stage(
            name,
            len({match[2] for layer in layers if (match := BLOCK.match(layer.name))}),
            layers[-1].output.shape[1:],
            parameters(layers),
            sum(map(layer_macs, layers)),
        )
        for name, layers in groups.items()
    ]


def _stage(layer: str) -> str:
    if match := BLOCK.match(layer):
        return f"conv{match[1]}_x"
    return "head" if layer.startswith(HEAD) else "conv1"
