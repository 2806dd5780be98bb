"""Residual networks for 32x32 images, defined by their depth (He et al. 2015, arXiv:1512.03385, section 4.2)."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import keras

from keras_resnet import shortcuts, stems
from keras_resnet._internal.validation import integer
from keras_resnet.blocks import Block, bottleneck_block, residual_block
from keras_resnet.constructor import constructor

# Arguments that all of them share: a stem of one 3x3 convolution, 32x32 images, ten classes.
SMALL_IMAGES: Mapping[str, Any] = {"stem": stems.cifar, "default_size": 32, "classes": 10}


def cifar_fields(depth: int, block: Block = residual_block) -> dict[str, Any]:
    """The arguments of `ResNet` for a CIFAR network of this depth.

    Basic blocks have shortcuts of option A, as in the paper. Bottleneck blocks have a projection where shapes differ,
    as in the authors' code for ResNet-164 and ResNet-1001 (arXiv:1603.05027).

    Args:
        depth: number of weighted layers: 6n+2 with basic blocks, 9n+2 with bottleneck blocks.
        block: `residual_block`, `bottleneck_block`, or your own function, which counts as a basic block.

    Returns:
        Arguments of `ResNet` by name.

    Raises:
        ValueError: there is no network of this depth; the error names the nearest depths.
        TypeError: `depth` is not an integer.
    """
    integer("depth", depth)
    step, shortcut = (9, None) if getattr(block, "func", block) is bottleneck_block else (6, shortcuts.zero_pad)
    blocks, remainder = divmod(depth - 2, step)
    if remainder or blocks < 1:
        below = max(blocks, 1) * step + 2
        nearest = f"{below} and {below + step}" if depth > below else f"{below}"
        raise ValueError(f"depth must be {step}n+2 for this block; nearest: {nearest}. Received: depth={depth}")
    return {
        "depths": (blocks,) * 3,
        "block": block,
        "filters": (16, 32, 64),
        "shortcut": shortcut,
        **SMALL_IMAGES,
    }


def CifarResNet(depth: int = 110, block: Block = residual_block, **overrides: Any) -> keras.Model:
    """A residual network for 32x32 images, of depth 6n+2 with basic blocks or 9n+2 with bottleneck blocks.

    Source: He et al. 2015, arXiv:1512.03385, section 4.2; with bottleneck blocks He et al. 2016, arXiv:1603.05027.

    Args:
        depth: number of weighted layers: 20, 32, 44, 56, 110, 1202 ... (6n+2), or with `bottleneck_block`
            11, 20, 29 ... 164, 1001 (9n+2).
        block: `residual_block`, `bottleneck_block`, or your own function, which counts as a basic block.
        overrides: any other argument of `ResNet`. The defaults are filters (16, 32, 64), `stems.cifar`, 10 classes,
            shortcuts of option A (`shortcuts.zero_pad`) for basic blocks and projections for bottleneck blocks.

    Returns:
        A functional `keras.Model`, as from `ResNet`.

    Raises:
        ValueError: there is no network of this depth (the error names the nearest depths), or an argument of `ResNet`
            is outside its range.
        TypeError: an argument has the wrong type, or `ResNet` has no such argument.

    Example:
        >>> import keras_resnet as kr
        >>> kr.CifarResNet(20).count_params()
        271098
    """
    return constructor(f"CifarResNet{depth}", "", cifar_fields(depth, block))(**overrides)


# `inspect.signature` and `help` show the real signature: depth, block, and the arguments of `ResNet`.
_depth, _block, _ = inspect.signature(CifarResNet).parameters.values()
CifarResNet.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
    [_depth, _block]
    + [
        parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)
        for parameter in inspect.signature(constructor("CifarResNet", "", cifar_fields(110))).parameters.values()
        if parameter.name not in ("depths", "block")
    ]
)
