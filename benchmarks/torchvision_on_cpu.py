"""torchvision beside a torch for CPUs."""

from __future__ import annotations

import functools
from types import ModuleType


@functools.cache
def torchvision() -> ModuleType:
    """torchvision; its wheel looks for operators when it is imported that only its CUDA library defines."""
    import torch

    operators = torch.library.Library("torchvision", "FRAGMENT")
    if not hasattr(torch.ops.torchvision, "nms"):
        for name in ("nms", "qnms"):
            operators.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    import torchvision as library

    _KEPT.append(operators)
    return library


_KEPT: list[object] = []  # operators go when they are collected
