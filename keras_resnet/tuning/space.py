"""The space that a search walks: a table of what can be tuned, each entry a function from a design to its knobs."""

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
from keras_resnet.training.recipe import CHOICES
from keras_resnet.tuning.design import FORM, SIZE, Design, Dimension

DEPTHS = (1, 2, 3, 4, 5, 6, 8, 10, 12, 16, 20, 24, 32, 40, 48, 64, 96, 128, 192, 256)
WIDTHS = (1 / 4, 3 / 8, 1 / 2, 5 / 8, 3 / 4, 1, 5 / 4, 3 / 2, 2)  # of the base's
SIDES = (1 / 2, 5 / 8, 3 / 4, 7 / 8, 1, 5 / 4)  # of the input's
# Xie et al. 2016 (arXiv:1611.05431), table 2: of one complexity; and the wider ones that are published.
CARDINALITIES = ("1x64d", "2x40d", "4x24d", "8x14d", "32x4d", "32x8d", "64x4d")
RATES = {  # where it is not the recipe's own optimizer: usual peaks and decays
    "sgd": {"learning_rate": 0.1, "weight_decay": 5e-4},
    "adamw": {"learning_rate": 1e-3, "weight_decay": 0.05},
    "lamb": {"learning_rate": 5e-3, "weight_decay": 0.02},
}
SMALL = 64  # pixels: a stem that does not stride costs 16 times as much, which only small images can bear


def _depth(base: Design) -> list[Dimension]:
    def apply(stage: int, design: Design, blocks: int) -> Design:
        return design.with_fields(depths=_put(design.field("depths"), stage, blocks))

    return [
        Dimension(
            f"depth_{stage + 2}", _with(own, (d for d in DEPTHS if d <= max(4, 2 * own))), own, _of(apply, stage), SIZE
        )
        for stage, own in enumerate(base.field("depths"))
    ]


def _width(base: Design) -> list[Dimension]:
    narrowest = -(-64 // base.field("base_width"))  # the 3x3 convolutions have a channel

    def apply(stage: int, design: Design, filters: int) -> Design:
        return design.with_fields(filters=_put(design.field("filters"), stage, filters))

    return [
        Dimension(
            f"width_{stage + 2}",
            _with(own, (w for w in (round(own * share) for share in WIDTHS) if w >= max(narrowest, 4))),
            own,
            _of(apply, stage),
            SIZE,
        )
        for stage, own in enumerate(base.field("filters"))
    ]


def _resolution(base: Design) -> list[Dimension]:
    own = base.row.size
    smallest = max(_stride(base, stride_of_stem(stem)) for stem in _stems(base).values())

    def apply(design: Design, side: int) -> Design:
        return design.with_fields(input_shape=(side, side, design.field("input_shape")[-1]), default_size=side)

    sides = (side for side in (round(own * share) for share in SIDES) if side >= smallest)
    return [Dimension("resolution", _with(own, sides), own, apply, SIZE)]


def _block(base: Design) -> list[Dimension]:
    forms = {"residual": residual_block, "bottleneck": bottleneck_block}
    own = _block_name(base)
    forms[own] = base.field("block")
    return [Dimension("block", tuple(forms), own, lambda design, name: design.with_fields(block=forms[name]), FORM)]


def _groups(base: Design) -> list[Dimension]:
    """Of bottleneck blocks: a basic block has nothing to group, as the paper says in section 3.3."""
    own = f"{base.field('groups')}x{base.field('base_width')}d"
    # All of them fit the narrowest blocks of the space, so that there is a network at every point.
    narrowest = min(dimension.values[0] for dimension in _width(base))
    fitting = [name for name in CARDINALITIES if int(narrowest) * _cardinality(name)[1] >= 64]

    def apply(design: Design, name: str) -> Design:
        groups, width = _cardinality(name)
        return design.with_fields(groups=groups, base_width=width)

    return [Dimension("groups", tuple(dict.fromkeys((own, *fitting))), own, apply, FORM, ("block", ("bottleneck",)))]


def _ordering(base: Design) -> list[Dimension]:
    own = base.field("ordering")
    return [Dimension("ordering", tuple(ORDERINGS), own, lambda design, name: design.with_fields(ordering=name), FORM)]


def _stem(base: Design) -> list[Dimension]:
    forms = _stems(base)
    own = next(name for name, stem in forms.items() if stem is base.field("stem"))
    return [Dimension("stem", tuple(forms), own, lambda design, name: design.with_fields(stem=forms[name]), FORM)]


def _gate(base: Design) -> list[Dimension]:
    se, eca = "squeeze_excite", "efficient_channel_attention"
    forms: dict[str, Any] = {"none": None, se: gates.squeeze_excite, eca: gates.efficient_channel_attention}
    gate = base.field("gate")
    own = "none" if gate is None else getattr(gate, "func", gate).__name__
    forms[own] = gate
    ratio = getattr(forms[se], "keywords", {}).get("ratio", 1 / 16)

    def reduce(design: Design, share: float) -> Design:
        return design.with_fields(gate=functools.partial(design.field("gate"), ratio=share))

    return [
        Dimension("gate", tuple(forms), own, lambda design, name: design.with_fields(gate=forms[name]), FORM),
        Dimension("squeeze_ratio", _with(ratio, (1 / 16, 1 / 8, 1 / 4)), ratio, reduce, SIZE, ("gate", (se,))),
    ]


def _drop(base: Design) -> list[Dimension]:
    depth, top = float(base.field("stochastic_depth")), float(base.field("drop_rate"))
    return [
        Dimension("stochastic_depth", _with(depth, (0.0, 0.05, 0.1, 0.2)), depth, _fields_turn("stochastic_depth")),
        Dimension("drop_rate", _with(top, (0.0, 0.1, 0.25, 0.5)), top, _fields_turn("drop_rate")),
    ]


def _optimizer(base: Design) -> list[Dimension]:
    own, momentum = base.recipe.optimizer, float(base.recipe.momentum)  # KerasTuner takes no 0 among floats
    rates = {**RATES, own: {name: getattr(base.recipe, name) for name in RATES[own]}}

    def apply(design: Design, name: str) -> Design:
        return design.with_recipe(optimizer=name, **rates[name])

    return [
        Dimension("optimizer", CHOICES["optimizer"], own, apply),
        Dimension("momentum", _with(momentum, (0.8, 0.9, 0.95)), momentum, _recipe_turn("momentum"), given=_SGD),
    ]


def _scaled(field: str) -> Callable[[Design], list[Dimension]]:
    """A field of the recipe as a multiple of what it is, since optimizers differ by powers of ten."""

    def dimensions(base: Design) -> list[Dimension]:
        def apply(design: Design, factor: float) -> Design:
            return design.with_recipe(**{field: factor * getattr(design.recipe, field)})

        return [Dimension(f"{field}_factor", (0.25, 0.5, 1.0, 2.0, 4.0), 1.0, apply)]

    return dimensions


_SGD = ("optimizer", ("sgd",))
# In the order in which they are turned: what depends on another comes after it.
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
    """The knobs of what is to be tuned.

    A condition on what is not tuned is settled here: with it unmet there is no such knob.

    Raises:
        ValueError: there is no such name, or nothing to tune.
    """
    if isinstance(tune, str):
        raise TypeError(f"tune must be a sequence of names. Received: tune={tune!r}")
    for name in tune:
        known("name in tune", name, TUNABLES, "help(keras_resnet.HyperResNet)")
    dimensions = [dimension for name, make in TUNABLES.items() if name in tune for dimension in make(base)]
    names = {dimension.name for dimension in dimensions}
    fixed = {"block": _block_name(base), "optimizer": base.recipe.optimizer}
    left = []
    for dimension in dimensions:
        if dimension.given is not None and dimension.given[0] not in names:
            if not dimension.is_active(fixed):
                continue
            dimension = dataclasses.replace(dimension, given=None)  # noqa: PLW2901
        left.append(dimension)
    if not left:
        raise ValueError(f"tune must name something that {base.row.name} has to tune. Received: tune={tuple(tune)!r}")
    return tuple(left)


def _with(own: Any, others: Any) -> tuple[Any, ...]:
    return tuple(sorted({own, *others}))


def _put(values: Sequence[int], index: int, value: int) -> tuple[int, ...]:
    return (*values[:index], value, *values[index + 1 :])


def _of(apply: Callable[[int, Design, int], Design], stage: int) -> Callable[[Design, int], Design]:
    return functools.partial(apply, stage)


def _fields_turn(name: str) -> Callable[[Design, float], Design]:
    return lambda design, value: design.with_fields(**{name: value})


def _recipe_turn(name: str) -> Callable[[Design, float], Design]:
    return lambda design, value: design.with_recipe(**{name: value})


def _cardinality(name: str) -> tuple[int, int]:
    groups, width = name.removesuffix("d").split("x")
    return int(groups), int(width)


def _block_name(base: Design) -> str:
    block = base.field("block")
    return "bottleneck" if getattr(block, "func", block) is bottleneck_block else "residual"


def _stems(base: Design) -> dict[str, Any]:
    """Those that the images are large enough for, and small enough."""
    side, own = base.row.size, base.field("stem")
    usual = [stems.cifar] if side <= SMALL else []
    usual += [stems.imagenet, stems.deep, stems.deep_tiered, stems.deep_strided]
    fitting = [stem for stem in usual if stem is own or _stride(base, stride_of_stem(stem)) <= side]
    return {stem.__name__: stem for stem in dict.fromkeys((own, *fitting))}


def _stride(base: Design, stem: int) -> int:
    """Of the whole network, with a stem of this stride: images must not be smaller."""
    steps = [
        step
        for stage in base.field("strides")(base.field("depths"), stem, base.field("output_stride"))
        for step in stage
    ]
    return stem * 2 ** sum(step.stride > 1 for step in steps)
