"""What a network would cost, from its row alone: parameters and multiply-accumulates by arithmetic, stage by stage.

A search asks this of every point that it considers, some of which would take gigabytes to build. The tests hold it
against built networks, of every family of the zoo, to the last parameter.
"""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from keras_resnet import gates, layers, shortcuts, stems, strides
from keras_resnet.arguments import integer, integers
from keras_resnet.blocks import bottleneck_block, inner_width, residual_block
from keras_resnet.orderings import Ordering, ordering_of
from keras_resnet.resnet import ResNet
from keras_resnet.strides import Step

DEFAULTS = {name: argument.default for name, argument in inspect.signature(ResNet).parameters.items()}


class Cost(NamedTuple):
    """Of a network: its trainable parameters, as papers count, and multiply-accumulates of one image."""

    parameters: int
    macs: int


class Budget(NamedTuple):
    """The most that a network may cost; None is no limit."""

    parameters: int | None = None
    macs: int | None = None

    def allows(self, cost: Cost) -> bool:
        """Whether `cost` is within."""
        return all(limit is None or value <= limit for value, limit in zip(cost, self, strict=True))


class Sketch:
    """A network's tensor on its way: its size so far, and what it has cost up to there."""

    def __init__(self, sides: tuple[int, int], channels: int) -> None:
        self.sides, self.channels = sides, channels
        self.parameters = self.macs = 0

    def stride(self, by: int) -> None:
        """Every padding of this package makes `ceil(side / stride)` of a side."""
        self.sides = (-(-self.sides[0] // by), -(-self.sides[1] // by))

    def conv(self, filters: int, kernel: int, stride: int = 1, groups: int = 1, bias: bool = False) -> None:
        """A convolution."""
        if self.channels % groups or filters % groups:
            raise ValueError(f"groups must divide {self.channels} and {filters} channels. Received: groups={groups}")
        if filters < 1:
            raise ValueError(f"filters must leave every convolution a channel. Received: filters={filters}")
        self.stride(stride)
        weights = kernel * kernel * self.channels // groups * filters
        self.parameters += weights + filters * bias
        self.macs += math.prod(self.sides) * weights
        self.channels = filters

    def norm(self, words: str) -> None:
        """A scale and an offset a channel, where `words` has a batch norm."""
        self.parameters += 2 * self.channels * ("bn" in words)


def cost(fields: Mapping[str, Any], input_shape: Sequence[int]) -> Cost:
    """What the classifier that `ResNet(**fields)` builds costs; nothing is built.

    Args:
        fields: arguments of `ResNet`, such as a row of the zoo has; the rest are its defaults.
        input_shape: (H, W, C) of an image.

    Returns:
        Trainable parameters and multiply-accumulates, as `keras_resnet.macs` counts them.

    Raises:
        ValueError: `ResNet` could not build this, or a function among the fields is not of this package.

    Example:
        >>> from keras_resnet import zoo
        >>> from keras_resnet.tuning.budget import cost
        >>> cost(zoo.ROWS["ResNet50"].fields, (224, 224, 3))
        Cost(parameters=25557032, macs=4089184256)
    """
    f = {**DEFAULTS, **fields}
    depths, filters = integers("depths", f["depths"]), integers("filters", f["filters"])
    order = ordering_of(f["ordering"])
    _known("norm", f["norm"], {layers.batch_norm: None})
    _known("activation", f["activation"], {layers.relu: None})
    x = Sketch((input_shape[0], input_shape[1]), input_shape[2])
    stem, _ = _known("stem", f["stem"], STEMS)
    stem.draw(x, filters[0] if f["stem_filters"] is None else f["stem_filters"], order)
    _known("strides", f["strides"], STRIDES)
    plan = f["strides"](depths, stem.stride, f["output_stride"])
    smallest = stem.stride * math.prod(step.stride for stage in plan for step in stage)
    if min(input_shape[:2]) < smallest:
        raise ValueError(f"input_shape must have sides of at least {smallest}. Received: {tuple(input_shape)}")
    block, options = _known("block", f["block"], BLOCKS)
    for width, stage in zip(filters, plan, strict=True):
        for step in stage:
            _block(x, block, width, step, order, {**f, **options})
    x.norm(order.before)
    classes = integer("classes", f["classes"])
    return Cost(x.parameters + (x.channels + 1) * classes, x.macs + x.channels * classes)


def _block(
    x: Sketch,
    branch: Callable[[Sketch, int, int, Mapping[str, Any]], Sequence[tuple[Any, ...]]],
    filters: int,
    step: Step,
    order: Ordering,
    f: Mapping[str, Any],
) -> None:
    skip = Sketch(x.sides, x.channels)
    x.norm(order.before)
    convs = branch(x, filters, step.stride, f)
    for number, conv in enumerate(convs, start=1):
        if number > 1:
            x.norm(order.before)
        x.conv(*conv)
        if number < len(convs):
            x.norm(order.after)
    x.norm(order.last)
    if f["gate"] is not None:
        gate, options = _known("gate", f["gate"], GATES)
        gate(x, **options)
    _shortcut(skip, x.channels, step.stride, f["shortcut"], order.last)
    x.norm(order.joined)
    x.parameters, x.macs = x.parameters + skip.parameters, x.macs + skip.macs


def _shortcut(x: Sketch, filters: int, stride: int, shortcut: Any, last: str) -> None:
    agree, same = stride == 1 and x.channels == filters, x.channels == filters
    if shortcut is None:
        shortcut = shortcuts.identity if agree else shortcuts.project
    weighted, _ = _known("shortcut", shortcut, SHORTCUTS)
    if weighted is None:
        shortcuts_that_fit = {shortcuts.identity: agree, shortcuts.subsample: same}
        if not shortcuts_that_fit.get(shortcut, x.channels <= filters):
            raise ValueError(f"shortcut: {shortcut.__name__} cannot make {filters} channels of {x.channels}")
        return
    where = shortcut.projection
    unweighted = (where == shortcuts.WHERE_SHAPES_DIFFER and agree) or (
        where == shortcuts.WHERE_CHANNELS_DIFFER and same
    )
    if not unweighted:
        x.conv(filters, 1, stride, 1, weighted == "with bias")
        x.norm("bn" if "bn" in last else "")


def _basic(x: Sketch, filters: int, stride: int, f: Mapping[str, Any]) -> Sequence[tuple[Any, ...]]:
    return (
        (inner_width(filters, f["groups"], f["base_width"]), 3, stride, f["groups"]),
        (filters, 3, 1, f["groups"]),
    )


def _bottleneck(x: Sketch, filters: int, stride: int, f: Mapping[str, Any]) -> Sequence[tuple[Any, ...]]:
    width, strided = inner_width(filters, f["groups"], f["base_width"]), f.get("strided", 2)
    return (
        (width, 1, stride if strided == 1 else 1),
        (width, 3, stride if strided == 2 else 1, f["groups"]),
        (filters * f.get("expansion", 4), 1, 1, 1, f.get("last_conv") is layers.biased_conv),
    )


class Stem(NamedTuple):
    """A stem: its stride, and the function that draws it."""

    stride: int
    draw: Callable[[Sketch, int, Ordering], None]


def _single(kernel: int, stride: int, pool: int, bias: bool = False) -> Stem:
    def draw(x: Sketch, filters: int, order: Ordering) -> None:
        x.conv(filters, kernel, stride, 1, bias)
        x.norm(order.after)
        x.stride(pool)

    return Stem(stride * pool, draw)


def _three(x: Sketch, first: int, filters: int, after: str) -> None:
    for width, stride, words in ((first, 2, "bn"), (filters // 2, 1, "bn"), (filters, 1, after)):
        x.conv(width, 3, stride)
        x.norm(words)


def _deep(x: Sketch, filters: int, order: Ordering) -> None:
    _three(x, filters // 2, filters, order.after)
    x.stride(2)


def _deep_tiered(x: Sketch, filters: int, order: Ordering) -> None:
    _three(x, 3 * filters // 8, filters, order.after)
    x.stride(2)


def _deep_strided(x: Sketch, filters: int, order: Ordering) -> None:
    _three(x, filters // 2, filters, "bn")
    x.conv(filters, 3, 2)
    x.norm(order.after)


def _squeeze_excite(x: Sketch, ratio: float = 1 / 16, divisor: int = 8) -> None:
    reduced = gates.reduced_width(x.channels, ratio, divisor)
    x.parameters += 2 * x.channels * reduced + reduced + x.channels
    x.macs += 2 * x.channels * reduced


def _channel_attention(x: Sketch, gamma: float = 2, beta: float = 1) -> None:
    kernel = gates.kernel_size(x.channels, gamma, beta)
    x.parameters += kernel
    x.macs += kernel * x.channels


BLOCKS = {residual_block: _basic, bottleneck_block: _bottleneck}
STEMS = {
    stems.imagenet: _single(7, 2, 2),
    stems.imagenet_zero_padded: _single(7, 2, 2, bias=True),
    stems.cifar: _single(3, 1, 1),
    stems.deep: Stem(4, _deep),
    stems.deep_tiered: Stem(4, _deep_tiered),
    stems.deep_strided: Stem(4, _deep_strided),
}
GATES: dict[Any, Callable[..., None]] = {
    gates.squeeze_excite: _squeeze_excite,
    gates.efficient_channel_attention: _channel_attention,
}
STRIDES = {strides.in_first_block: None, strides.in_last_block: None}
SHORTCUTS: dict[Any, str | None] = {
    shortcuts.identity: None,
    shortcuts.subsample: None,
    shortcuts.zero_pad: None,
    shortcuts.zero_pad_both: None,
    shortcuts.project: "without bias",
    shortcuts.pool_project: "without bias",
    shortcuts.subsample_or_project: "with bias",
}


def _known(argument: str, function: Any, table: Mapping[Any, Any]) -> tuple[Any, dict[str, Any]]:
    """The entry of a function, and the options that `functools.partial` binds to it."""
    own, options = (function.func, function.keywords) if isinstance(function, functools.partial) else (function, {})
    if own not in table:
        names = ", ".join(sorted(known.__name__ for known in table))
        raise ValueError(
            f"{argument} must be one of {names}, whose cost is known without building it. Received: {function!r}"
        )
    return table[own], options
