"""Recorded structures: the layers of one network of each family, with their types and shapes.

`python -m tests.golden` records them again.
"""

import json
from pathlib import Path

import keras

COMMAND = "python -m tests.golden"
NAMES = (
    "ResNet18",
    "ResNet50",
    "ResNet18V2",
    "ResNet50V2",
    "ResNet18D",
    "ResNet50D",
    "ResNeXt50_32x4d",
    "WideResNet50_2",
    "SEResNet18",
    "SEResNet50",
    "SEResNeXt50_32x4d",
    "ECAResNet50D",
    "ResNetRS50",
    "ResNet20",
    "ResNet110V2",
    "ResNet164",
    "ResNet164V2",
    "WideResNet40_4",
)


def path(name: str) -> Path:
    return Path(__file__).parent / f"{name}.json"


def structure(model: keras.Model) -> str:
    """One line per layer: name, type, output shape without the batch."""
    lines = [
        json.dumps([layer.name, type(layer).__name__, *layer.output.shape[1:]])
        for layer in model.layers
        if not layer.name.startswith("input_layer")
    ]
    return "[\n" + ",\n".join(lines) + "\n]\n"
