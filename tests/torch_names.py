"""Writes a network of this package to a file with torch's names and layouts: the inverse of `weights.torch_names`."""

import re

import keras
import numpy as np
from safetensors.numpy import save_file

VARIABLES = {
    "kernel": "weight",
    "bias": "bias",
    "gamma": "weight",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}


def torch_name(layer, variable, is_deep):
    """The name in torchvision, or in timm if the stem is deep, for v1 networks with a projection shortcut."""
    if layer == "predictions":
        module = "fc"
    elif match := re.fullmatch(r"conv(\d)_block(\d+)_(\d)_(conv|bn)", layer):
        stage, block, number, kind = match.groups()
        inner = f"downsample.{int(kind == 'bn')}" if number == "0" else f"{kind}{number}"
        module = f"layer{int(stage) - 1}.{int(block) - 1}.{inner}"
    else:
        deep = {"conv1_1_conv": "conv1.0", "conv1_1_bn": "conv1.1", "conv1_2_conv": "conv1.3", "conv1_2_bn": "conv1.4"}
        deep["conv1_conv"] = "conv1.6" if is_deep else "conv1"
        module = {**deep, "conv1_bn": "bn1"}[layer]
    return f"{module}.{VARIABLES[variable]}"


def torch_state(model):
    """The state dict of a model of this package, as NumPy arrays."""
    state = {}
    is_deep = any(layer.name == "conv1_1_conv" for layer in model.layers)
    for layer in model.layers:
        for weight in layer.weights:
            value = keras.ops.convert_to_numpy(weight)
            if value.ndim == 4:
                value = value.transpose(3, 2, 0, 1)
            name = torch_name(layer.name, weight.name, is_deep)
            state[name] = np.ascontiguousarray(value.T if value.ndim == 2 else value)
    return state


def write_as_torch(model, path):
    save_file(torch_state(model), path)
