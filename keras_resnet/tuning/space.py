"""The search space: a table of what can be tuned. Each entry is a function from the base design to its dimensions."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

from keras_resnet import gates, stems
from keras_resnet._internal.validation import known
from keras_resnet.blocks import bottleneck_block, residual_block
from keras_resnet.orderings import ORDERINGS
from keras_resnet.resnet import stride_of_stem
from keras_resnet.tuning.design import FORM, SIZE, Design, Dimension

DEPTHS = (1, 2, 3, 4, 5, 6, 8, 10, 12, 16, 20, 24, 32, 40, 48, 64, 96, 128, 192, 256)
WIDTHS = (1 / 4, 3 / 8, 1 / 2, 5 / 8, 3 / 4, 1, 5 / 4, 3 / 2, 2)  # multiples of the base's width
SIDES = (1 / 2, 5 / 8, 3 / 4, 7 / 8, 1, 5 / 4)  # multiples of the input's side
# The five of equal complexity in Xie et al. 2016 (arXiv:1611.05431), table 2, and the wider ones that are published.
CARDINALITIES = ("1x64d", "2x40d", "4x24d", "8x14d", "32x4d", "32x8d", "64x4d")
RATES = {  # usual values for optimizers other than the recipe's: peak learning rate and weight decay
    "sgd": {"learning_rate": 0.1, "weight_decay": 5e-4},
    "adam": {"learning_rate": 1e-3, "weight_decay": 1e-4},
    "adamw": {"learning_rate": 1e-3, "weight_decay": 0.05},
    "lamb": {"learning_rate": 5e-3, "weight_decay": 0.02},
}
# Those that a search tries; adam is a weaker adamw. Searches of earlier versions have the same ones.
OPTIMIZERS = ("sgd", "adamw", "lamb")
SMALL = 64  # pixels; a stem without stride costs 16 times as much, so it is used for small images only


def _depth(base: Design) -> list[Dimension]:
    def apply(stage: int, design: Design, blocks: int) -> Design:
        return design.with_fields(depths=_replaced(design.field("depths"), stage, blocks))

    return [
        Dimension(
            f"depth_{stage + 2}",
            _sorted_with(default, (depth for depth in DEPTHS if depth <= max(4, 2 * default))),
            default,
            _for_stage(apply, stage),
            SIZE,
        )
        for stage, default in enumerate(base.field("depths"))
    ]


def _width(base: Design) -> list[Dimension]:
    narrowest = -(-64 // base.field("base_width"))  # otherwise the 3x3 convolutions would have no channel

    def apply(stage: int, design: Design, filters: int) -> Design:
        return design.with_fields(filters=_replaced(design.field("filters"), stage, filters))

    return [
        Dimension(
            f"width_{stage + 2}",
            _sorted_with(
                default, (width for width in (round(default * scale) for scale in WIDTHS) if width >= max(narrowest, 4))
            ),
            default,
            _for_stage(apply, stage),
            SIZE,
        )
        for stage, default in enumerate(base.field("filters"))
    ]


def _resolution(base: Design) -> list[Dimension]:
    default = base.row.size
    smallest = max(_stride(base, stride_of_stem(stem)) for stem in _stems(base).values())

    def apply(design: Design, side: int) -> Design:
        return design.with_fields(input_shape=(side, side, design.field("input_shape")[-1]), default_size=side)

    sides = (side for side in (round(default * scale) for scale in SIDES) if side >= smallest)
    return [Dimension("resolution", _sorted_with(default, sides), default, apply, SIZE)]


def _block(base: Design) -> list[Dimension]:
    choices = {"residual": residual_block, "bottleneck": bottleneck_block}
    default = _block_name(base)
    choices[default] = base.field("block")
    return [
        Dimension("block", tuple(choices), default, lambda design, name: design.with_fields(block=choices[name]), FORM)
    ]


def _groups(base: Design) -> list[Dimension]:
    """Groups of bottleneck blocks only: groups give nothing new in a basic block (arXiv:1611.05431, section 3.3)."""
    default = f"{base.field('groups')}x{base.field('base_width')}d"
    # Values that fit the narrowest blocks of the space, so that every point is a possible network.
    narrowest = min(dimension.values[0] for dimension in _width(base))
    fitting = [name for name in CARDINALITIES if int(narrowest) * _cardinality(name)[1] >= 64]

    def apply(design: Design, name: str) -> Design:
        groups, width = _cardinality(name)
        return design.with_fields(groups=groups, base_width=width)

    return [
        Dimension("groups", tuple(dict.fromkeys((default, *fitting))), default, apply, FORM, ("block", ("bottleneck",)))
    ]


def _ordering(base: Design) -> list[Dimension]:
    default = base.field("ordering")
    return [
        Dimension("ordering", tuple(ORDERINGS), default, lambda design, name: design.with_fields(ordering=name), FORM)
    ]


def _stem(base: Design) -> list[Dimension]:
    choices = _stems(base)
    default = next(name for name, stem in choices.items() if stem is base.field("stem"))
    return [
        Dimension("stem", tuple(choices), default, lambda design, name: design.with_fields(stem=choices[name]), FORM)
    ]


def _gate(base: Design) -> list[Dimension]:
    squeeze_excite = "squeeze_excite"
    choices: dict[str, Any] = {
        "none": None,
        squeeze_excite: gates.squeeze_excite,
        "efficient_channel_attention": gates.efficient_channel_attention,
    }
    gate = base.field("gate")
    default = "none" if gate is None else getattr(gate, "func", gate).__name__
    choices[default] = gate
    ratio = getattr(choices[squeeze_excite], "keywords", {}).get("ratio", 1 / 16)

    def set_ratio(design: Design, value: float) -> Design:
        return design.with_fields(gate=functools.partial(design.field("gate"), ratio=value))

    return [
        Dimension("gate", tuple(choices), default, lambda design, name: design.with_fields(gate=choices[name]), FORM),
        Dimension(
            "squeeze_ratio",
            _sorted_with(ratio, (1 / 16, 1 / 8, 1 / 4)),
            ratio,
            set_ratio,
            SIZE,
            ("gate", (squeeze_excite,)),
        ),
    ]


def _drop(base: Design) -> list[Dimension]:
    stochastic_depth, drop_rate = float(base.field("stochastic_depth")), float(base.field("drop_rate"))
    return [
        Dimension(
            "stochastic_depth",
            _sorted_with(stochastic_depth, (0.0, 0.05, 0.1, 0.2)),
            stochastic_depth,
            _set_argument("stochastic_depth"),
        ),
        Dimension("drop_rate", _sorted_with(drop_rate, (0.0, 0.1, 0.25, 0.5)), drop_rate, _set_argument("drop_rate")),
    ]


def _optimizer(base: Design) -> list[Dimension]:
    default = base.recipe.optimizer
    momentum = float(base.recipe.momentum)  # KerasTuner refuses an integer 0 among floats
    rates = {**RATES, default: {name: getattr(base.recipe, name) for name in RATES[default]}}

    def apply(design: Design, name: str) -> Design:
        return design.with_recipe(optimizer=name, **rates[name])

    return [
        Dimension("optimizer", tuple(dict.fromkeys((*OPTIMIZERS, default))), default, apply),
        Dimension(
            "momentum", _sorted_with(momentum, (0.8, 0.9, 0.95)), momentum, _set_recipe_field("momentum"), given=_SGD
        ),
    ]


def _scaled(field: str) -> Callable[[Design], list[Dimension]]:
    """Tunes a field of the recipe as a multiple of its value, since optimizers need values of different magnitude."""

    def dimensions(base: Design) -> list[Dimension]:
        def apply(design: Design, factor: float) -> Design:
            return design.with_recipe(**{field: factor * getattr(design.recipe, field)})

        return [Dimension(f"{field}_factor", (0.25, 0.5, 1.0, 2.0, 4.0), 1.0, apply)]

    return dimensions


_SGD = ("optimizer", ("sgd",))
# In the order in which they are applied: a dimension with a condition comes after the one that it depends on.
TUNABLES: dict[str, Callable[[Design], list[Dimension]]] = {
    "depth": _depth,
    "width": _width,
    "block": _block,
    "ordering": _ordering,
    "stem": _stem,
    "groups": _groups,
    "gate": _gate,
    "drop": _drop,
    "resolution": _resolution,
    "optimizer": _optimizer,
    "learning_rate": _scaled("learning_rate"),
    "weight_decay": _scaled("weight_decay"),
}


def dimensions_of(base: Design, tune: Sequence[str]) -> tuple[Dimension, ...]:
    """The dimensions of a search space.

    If a dimension has a condition on something that is not tuned, the condition is checked here against the base: the
    dimension is left out, or kept without the condition.

    Args:
        base: the base design.
        tune: names of `TUNABLES`.

    Returns:
        The dimensions, in the order in which they are applied.

    Raises:
        ValueError: a name is unknown, or the base has nothing to tune under these names.
        TypeError: `tune` is a string.
    """
    if isinstance(tune, str):
        raise TypeError(f"tune must be a sequence of names. Received: tune={tune!r}; use ({tune!r},) for one name")
    for name in tune:
        known("name in tune", name, TUNABLES, "help(keras_resnet.HyperResNet)")
    dimensions = [dimension for name, make in TUNABLES.items() if name in tune for dimension in make(base)]
    names = {dimension.name for dimension in dimensions}
    fixed = {"block": _block_name(base), "optimizer": base.recipe.optimizer}
    active = []
    for dimension in dimensions:
        if dimension.given is not None and dimension.given[0] not in names:
            if not dimension.is_active(fixed):
                continue
            dimension = dataclasses.replace(dimension, given=None)  # noqa: PLW2901
        active.append(dimension)
    if not active:
        raise ValueError(
            f"tune must name something that can be tuned in {base.row.name}, for example depth or width. "
            f"Received: tune={tuple(tune)!r}"
        )
    return tuple(active)


def _sorted_with(default: Any, others: Any) -> tuple[Any, ...]:
    return tuple(sorted({default, *others}))


def _replaced(values: Sequence[int], index: int, value: int) -> tuple[int, ...]:
    return (*values[:index], value, *values[index + 1 :])


def _for_stage(apply: Callable[[int, Design, int], Design], stage: int) -> Callable[[Design, int], Design]:
    return functools.partial(apply, stage)


def _set_argument(name: str) -> Callable[[Design, float], Design]:
    return lambda design, value: design.with_fields(**{name: value})


def _set_recipe_field(name: str) -> Callable[[Design, float], Design]:
    return lambda design, value: design.with_recipe(**{name: value})


def _cardinality(name: str) -> tuple[int, int]:
    groups, width = name.removesuffix("d").split("x")
    return int(groups), int(width)


def _block_name(base: Design) -> str:
    block = base.field("block")
    return "bottleneck" if getattr(block, "func", block) is bottleneck_block else "residual"


def _stems(base: Design) -> dict[str, Any]:
    """Stems by name that suit the size of the images; the base's stem comes first."""
    side, default = base.row.size, base.field("stem")
    candidates = [stems.cifar] if side <= SMALL else []
    candidates += [stems.imagenet, stems.deep, stems.deep_tiered, stems.deep_strided]
    fitting = [stem for stem in candidates if stem is default or _stride(base, stride_of_stem(stem)) <= side]
    return {stem.__name__: stem for stem in dict.fromkeys((default, *fitting))}


def _stride(base: Design, stem: int) -> int:
    """Stride of the whole network with a stem of this stride. Images must be at least as large."""
    steps = [
        step
        for stage in base.field("strides")(base.field("depths"), stem, base.field("output_stride"))
        for step in stage
    ]
    return stem * 2 ** sum(step.stride > 1 for step in steps)
