"""The peers in torch: networks of torchvision and timm, eager or compiled by inductor, channels last."""

from __future__ import annotations

import os
import shutil
from typing import Any

from benchmarks.torchvision_on_cpu import torchvision
from benchmarks.workers import UnavailableError, needs

NETS = {"ResNet50": "torchvision", "ResNet50V2": "timm resnetv2_50"}  # the library of each network, with its name there


def net(name: str, classes: int = 1000) -> Any:
    """Builds the network of that name, channels last.

    Raises:
        UnavailableError: torch, torchvision or timm is not installed.
    """
    needs("torch", "torchvision", "timm")
    import torch

    if NETS[name] == "torchvision":
        made = torchvision().models.resnet50(num_classes=classes)
    else:
        torchvision()  # timm imports torchvision
        import timm

        made = timm.create_model(NETS[name].split()[1], num_classes=classes)
    return made.to(memory_format=torch.channels_last)


def compiled(module: Any, how: str) -> Any:
    """The module itself for "eager", or compiled for "inductor"."""
    import torch

    if how != "inductor":
        return module
    if not any(map(shutil.which, (os.environ.get("CXX", "g++"), "clang++"))):
        raise UnavailableError("inductor needs a C++ compiler")
    return torch.compile(module, dynamic=False)
