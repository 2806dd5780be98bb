"""The peers in torch: networks of torchvision and timm, eager or compiled by inductor, channels last."""

from __future__ import annotations

import os
import shutil
from typing import Any

import numpy as np

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


def detector(classes: int, shorter: int, longer: int) -> Any:
    """torchvision's Faster R-CNN with ResNet-50 and a feature pyramid, as for fine-tuning.

    Norms and the first stages are frozen. Its random values give scores and boxes that differ from each other.

    Args:
        classes: number of classes, without background.
        shorter, longer: `min_size` and `max_size` of torchvision.

    Raises:
        UnavailableError: torch or torchvision is not installed.
    """
    needs("torch", "torchvision")
    library = torchvision()
    import torch

    torch.manual_seed(0)
    detection = library.models.detection
    body = library.models.resnet50(norm_layer=library.ops.misc.FrozenBatchNorm2d)
    backbone = detection.backbone_utils._resnet_fpn_extractor(body, 3)
    return with_random_values(detection.FasterRCNN(backbone, classes + 1, min_size=shorter, max_size=longer))


def with_random_values(net: Any) -> Any:
    """A detector of torchvision for evaluation, with values that give scores and boxes which differ from each other."""
    import torch

    rng = np.random.default_rng(0)
    draws = (
        ("running_mean", lambda shape: rng.normal(0, 0.1, shape)),
        ("running_var", lambda shape: rng.uniform(0.8, 1.2, shape)),
        ("bn1.weight", lambda shape: rng.uniform(0.3, 0.7, shape)),
        ("bn2.weight", lambda shape: rng.uniform(0.3, 0.7, shape)),
        ("bn3.weight", lambda shape: rng.uniform(0.3, 0.7, shape)),
        ("cls_logits.weight", lambda shape: rng.normal(0, 0.02, shape)),
        ("rpn.head.bbox_pred.weight", lambda shape: rng.normal(0, 0.02, shape)),
        ("cls_score.weight", lambda shape: rng.normal(0, 0.3, shape)),
        ("box_predictor.bbox_pred.weight", lambda shape: rng.normal(0, 0.3, shape)),
    )
    for key, value in net.state_dict().items():
        for end, draw in draws:
            if key.endswith(end):
                value.copy_(torch.from_numpy(draw(tuple(value.shape))))
    return net.eval()


def compiled(module: Any, how: str) -> Any:
    """The module itself for "eager", or compiled for "inductor"."""
    import torch

    if how != "inductor":
        return module
    if not any(map(shutil.which, (os.environ.get("CXX", "g++"), "clang++"))):
        raise UnavailableError("inductor needs a C++ compiler")
    return torch.compile(module, dynamic=False)
