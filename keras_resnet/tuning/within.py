"""Points within a budget: the nearest to one that is not, and the smallest of a space.

A point over the budget could fail its trial, but KerasTuner ends a search after three failures in a row, counts each
as one of the trials asked for, and Hyperband takes failures for results and starves its later rounds. An oracle could
draw again, but each of the four draws in private functions of its own. What suits them all is that no point is over
the budget: each stands for the nearest network within it, always the same one, so that what an oracle learns of a
point stays true and a grid keeps its order.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from keras_resnet.tuning.budget import Budget, Cost
from keras_resnet.tuning.design import FORM, SIZE, Design, Knob, Value, turned

Domains = Mapping[str, Sequence[Value]]
PARTS = 64  # in which sizes shrink: more than any has values


def nearest(
    base: Design, knobs: Sequence[Knob], values: Mapping[str, Value], budget: Budget, domains: Domains
) -> dict[str, Value] | None:
    """The values of the nearest point within the budget, at no more than the size of this one.

    All sizes shrink together, by the same share of what they are above their smallest, so that a network keeps its
    proportions and different points stay different networks. Where the smallest is not enough, forms change, as few
    as will do.

    Args:
        base: what the knobs turn.
        knobs: of the space.
        values: of the point; of knobs that are there.
        budget: to stay within.
        domains: by knob, the values that may be taken.

    Returns:
        The values; None where there is no such point.
    """
    values = dict(values)
    if _cost(base, knobs, values) is None:
        values |= _widening(knobs, values, domains)
    candidates = itertools.chain(_shrinking(knobs, values, domains), _other_forms(knobs, values, domains))
    return next((other for other in candidates if _allowed(base, knobs, other, budget)), None)


def check_reachable(base: Design, knobs: Sequence[Knob], budget: Budget) -> None:
    """Raises a `ValueError` if no point of the space is within the budget, with what the smallest costs."""
    domains = {knob.name: knob.values for knob in knobs}
    start = {knob.name: knob.default for knob in knobs}
    costs = [
        found for values in _smallest_points(knobs, start, domains) if (found := _cost(base, knobs, values)) is not None
    ]
    if any(budget.allows(found) for found in costs):
        return
    for name, limit, least in zip(("max_params", "max_macs"), budget, map(min, zip(*costs)), strict=True):
        if limit is not None and limit < least:
            raise ValueError(
                f"{name} must be at least {least:,}, that of the smallest network of this space. "
                f"Received: {name}={limit:,}"
            )
    least = min(costs)
    raise ValueError(
        f"max_params and max_macs must leave a network; one of {least.parameters:,} parameters has {least.macs:,} MACs "
        f"at least. Received: max_params={budget.parameters:,}, max_macs={budget.macs:,}"
    )


def _places(knobs: Sequence[Knob], values: Mapping[str, Value], domains: Domains) -> dict[str, tuple[int, list[Value]]]:
    """Of each size that is there: which of its values it has, counted from the smallest, and these."""
    ordered = {
        knob.name: sorted(domains[knob.name])
        for knob in knobs
        if knob.kind == SIZE and knob.name in values and knob.is_active(values)
    }
    return {name: (domain.index(values[name]), domain) for name, domain in ordered.items()}


def _shrinking(knobs: Sequence[Knob], values: Mapping[str, Value], domains: Domains) -> Iterator[dict[str, Value]]:
    """The point itself, and smaller and smaller ones of its proportions."""
    places = _places(knobs, values, domains)
    for part in range(PARTS, -1, -1):
        yield {**values, **{name: domain[place * part // PARTS] for name, (place, domain) in places.items()}}


def _other_forms(knobs: Sequence[Knob], values: Mapping[str, Value], domains: Domains) -> Iterator[dict[str, Value]]:
    """Every form at its smallest, those first that differ in little."""
    yield from sorted(
        _smallest_points(knobs, values, domains),
        key=lambda other: sum(other.get(name) != value for name, value in values.items()),
    )


def _widening(
    knobs: Sequence[Knob], values: Mapping[str, Any], domains: Mapping[str, Sequence[Any]]
) -> dict[str, Value]:
    """Widths that never shrink from one stage to the next, as option A shortcuts cannot: the others, as they are."""
    widths: dict[str, Value] = {}
    most = math.inf
    for name in reversed([knob.name for knob in knobs if knob.name.startswith("width") and knob.name in values]):
        fitting = [width for width in domains[name] if width <= min(most, values[name])]
        widths[name] = most = max(fitting, default=min(domains[name]))
    return widths


def _smallest_points(knobs: Sequence[Knob], start: Mapping[str, Value], domains: Domains) -> Iterator[dict[str, Value]]:
    """Every form at its smallest, training as at `start`."""
    choices = {
        knob.name: {
            SIZE: lambda knob: [min(domains[knob.name])],
            FORM: lambda knob: domains[knob.name],
        }.get(knob.kind, lambda knob: [start.get(knob.name, knob.default)])(knob)
        for knob in knobs
    }
    for point in itertools.product(*choices.values()):
        values = dict(zip(choices, point, strict=True))
        yield {knob.name: values[knob.name] for knob in knobs if knob.is_active(values)}


def _allowed(base: Design, knobs: Sequence[Knob], values: Mapping[str, Value], budget: Budget) -> bool:
    found = _cost(base, knobs, values)
    return found is not None and budget.allows(found)


def _cost(base: Design, knobs: Sequence[Knob], values: Mapping[str, Value]) -> Cost | None:
    """None where the point is no network: option A shortcuts cannot narrow."""
    try:
        return turned(base, knobs, values).cost
    except ValueError:
        return None
