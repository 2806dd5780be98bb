"""Strides: which block of a stage carries the stride. A row of the plan for each block, made without building it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple


class Step(NamedTuple):
    """What a block is told: its stride, its dilation, and the dilation of the convolution that carries the stride."""

    stride: int = 1
    dilation: int = 1
    first_dilation: int = 1


Strides = Callable[[Sequence[int], int, int | None], list[list[Step]]]


def in_first_block(depths: Sequence[int], stem_stride: int, output_stride: int | None) -> list[list[Step]]:
    """The first block of each stage but the first strides, as in the papers.

    Args:
        depths: blocks in each stage.
        stem_stride: stride of the stem.
        output_stride: where the network has this stride, blocks dilate instead of stride; None: never.

    Returns:
        The steps of each stage's blocks.
    """
    return _plan(
        depths,
        stem_stride,
        output_stride,
        [[stage > 0 and b == 0 for b in range(depth)] for stage, depth in enumerate(depths)],
    )


def in_last_block(depths: Sequence[int], stem_stride: int, output_stride: int | None) -> list[list[Step]]:
    """The last block of each stage but the last strides, as in keras.applications' v2; else as `in_first_block`."""
    last = len(depths) - 1
    return _plan(
        depths,
        stem_stride,
        output_stride,
        [[stage < last and b == depth - 1 for b in range(depth)] for stage, depth in enumerate(depths)],
    )


def _plan(
    depths: Sequence[int], stem_stride: int, output_stride: int | None, striding: list[list[bool]]
) -> list[list[Step]]:
    plan: list[list[Step]] = []
    reached, dilation = stem_stride, 1
    for stage in striding:
        plan.append([])
        for strides in stage:
            if strides and output_stride is not None and reached >= output_stride:
                plan[-1].append(Step(1, 2 * dilation, dilation))
                dilation *= 2
            elif strides:
                plan[-1].append(Step(2, dilation, 1))
                reached *= 2
            else:
                plan[-1].append(Step(1, dilation, dilation))
    return plan
