"""Imports torchvision if the installed torch has no CUDA."""

from __future__ import annotations

import functools
from types import ModuleType


@functools.cache
def torchvision() -> ModuleType:
    """Imports torchvision. At import, its wheel needs operators that only its CUDA library defines; they are added."""
    import torch

    operators = torch.library.Library("torchvision", "FRAGMENT")
    if not hasattr(torch.ops.torchvision, "nms"):
        for name in ("nms", "qnms"):
            operators.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    import torchvision as library

    _KEPT.append(operators)
    return library


_KEPT: list[object] = []  # the operators are removed when their library object is garbage-collected
