"""Strides: which block of each stage has the stride. They are planned for all blocks before a block is built."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple


class BlockStride(NamedTuple):
    """Stride and dilation of one block.

    Attributes:
        stride: of the block.
        dilation: of its 3x3 convolutions.
        first_dilation: of the convolution that has the stride.
    """

    stride: int = 1
    dilation: int = 1
    first_dilation: int = 1


Strides = Callable[[Sequence[int], int, int | None], list[list[BlockStride]]]


def in_first_block(depths: Sequence[int], stem_stride: int, output_stride: int | None) -> list[list[BlockStride]]:
    """The first block of each stage has a stride of 2, except in the first stage, as in the papers.

    Args:
        depths: number of blocks in each stage.
        stem_stride: stride of the stem.
        output_stride: once the network has this stride, blocks dilate instead of stride; None: never.

    Returns:
        For each stage the strides of its blocks.

    Example:
        >>> import keras_resnet as kr
        >>> [[block.stride for block in stage] for stage in kr.strides.in_first_block((2, 2), 4, None)]
        [[1, 1], [2, 1]]
    """
    return _plan(
        depths,
        stem_stride,
        output_stride,
        [[stage > 0 and b == 0 for b in range(depth)] for stage, depth in enumerate(depths)],
    )


def in_last_block(depths: Sequence[int], stem_stride: int, output_stride: int | None) -> list[list[BlockStride]]:
    """The last block of each stage has a stride of 2, except in the last stage, as in keras.applications' v2.

    Args:
        depths, stem_stride, output_stride: as in `in_first_block`.

    Returns:
        For each stage the strides of its blocks.

    Example:
        >>> import keras_resnet as kr
        >>> [[block.stride for block in stage] for stage in kr.strides.in_last_block((2, 2), 4, None)]
        [[1, 2], [1, 1]]
    """
    last = len(depths) - 1
    return _plan(
        depths,
        stem_stride,
        output_stride,
        [[stage < last and b == depth - 1 for b in range(depth)] for stage, depth in enumerate(depths)],
    )


STRIDES = (in_first_block, in_last_block)


def _plan(
    depths: Sequence[int], stem_stride: int, output_stride: int | None, has_stride: list[list[bool]]
) -> list[list[BlockStride]]:
    plan: list[list[BlockStride]] = []
    reached, dilation = stem_stride, 1
    for stage in has_stride:
        plan.append([])
        for strides in stage:
            if strides and output_stride is not None and reached >= output_stride:
                plan[-1].append(BlockStride(1, 2 * dilation, dilation))
                dilation *= 2
            elif strides:
                plan[-1].append(BlockStride(2, dilation, 1))
                reached *= 2
            else:
                plan[-1].append(BlockStride(1, dilation, dilation))
    return plan
