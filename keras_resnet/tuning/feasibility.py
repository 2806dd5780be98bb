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

from keras_resnet.complexity import Cost
from keras_resnet.tuning.budget import Budget
from keras_resnet.tuning.design import FORM, SIZE, Design, Dimension, Value, apply_values

Domains = Mapping[str, Sequence[Value]]
PARTS = 64  # in which sizes shrink: more than any has values


def nearest(
    base: Design, dimensions: Sequence[Dimension], values: Mapping[str, Value], budget: Budget, domains: Domains
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
    if _cost(base, dimensions, values) is None:
        values |= _widening(dimensions, values, domains)
    candidates = itertools.chain(_shrinking(dimensions, values, domains), _other_forms(dimensions, values, domains))
    return next((other for other in candidates if _allowed(base, dimensions, other, budget)), None)


def check_reachable(base: Design, dimensions: Sequence[Dimension], budget: Budget) -> None:
    """Raises a `ValueError` if no point of the space is within the budget, with what the smallest costs."""
    domains = {dimension.name: dimension.values for dimension in dimensions}
    start = {dimension.name: dimension.default for dimension in dimensions}
    costs = [
        found
        for values in _smallest_points(dimensions, start, domains)
        if (found := _cost(base, dimensions, values)) is not None
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


def _places(
    dimensions: Sequence[Dimension], values: Mapping[str, Value], domains: Domains
) -> dict[str, tuple[int, list[Value]]]:
    """Of each size that is there: which of its values it has, counted from the smallest, and these."""
    ordered = {
        dimension.name: sorted(domains[dimension.name])
        for dimension in dimensions
        if dimension.kind == SIZE and dimension.name in values and dimension.is_active(values)
    }
    return {name: (domain.index(values[name]), domain) for name, domain in ordered.items()}


def _shrinking(
    dimensions: Sequence[Dimension], values: Mapping[str, Value], domains: Domains
) -> Iterator[dict[str, Value]]:
    """The point itself, and smaller and smaller ones of its proportions."""
    places = _places(dimensions, values, domains)
    for part in range(PARTS, -1, -1):
        yield {**values, **{name: domain[place * part // PARTS] for name, (place, domain) in places.items()}}


def _other_forms(
    dimensions: Sequence[Dimension], values: Mapping[str, Value], domains: Domains
) -> Iterator[dict[str, Value]]:
    """Every form at its smallest, those first that differ in little."""
    yield from sorted(
        _smallest_points(dimensions, values, domains),
        key=lambda other: sum(other.get(name) != value for name, value in values.items()),
    )


def _widening(
    dimensions: Sequence[Dimension], values: Mapping[str, Any], domains: Mapping[str, Sequence[Any]]
) -> dict[str, Value]:
    """Widths that never shrink from one stage to the next, as option A shortcuts cannot: the others, as they are."""
    widths: dict[str, Value] = {}
    most = math.inf
    for name in reversed(
        [dimension.name for dimension in dimensions if dimension.name.startswith("width") and dimension.name in values]
    ):
        fitting = [width for width in domains[name] if width <= min(most, values[name])]
        widths[name] = most = max(fitting, default=min(domains[name]))
    return widths


def _smallest_points(
    dimensions: Sequence[Dimension], start: Mapping[str, Value], domains: Domains
) -> Iterator[dict[str, Value]]:
    """Every form at its smallest, training as at `start`."""
    choices = {
        dimension.name: {
            SIZE: lambda dimension: [min(domains[dimension.name])],
            FORM: lambda dimension: domains[dimension.name],
        }.get(dimension.kind, lambda dimension: [start.get(dimension.name, dimension.default)])(dimension)
        for dimension in dimensions
    }
    for point in itertools.product(*choices.values()):
        values = dict(zip(choices, point, strict=True))
        yield {dimension.name: values[dimension.name] for dimension in dimensions if dimension.is_active(values)}


def _allowed(base: Design, dimensions: Sequence[Dimension], values: Mapping[str, Value], budget: Budget) -> bool:
    found = _cost(base, dimensions, values)
    return found is not None and budget.allows(found)


def _cost(base: Design, dimensions: Sequence[Dimension], values: Mapping[str, Value]) -> Cost | None:
    """None where the point is no network: option A shortcuts cannot narrow."""
    try:
        return apply_values(base, dimensions, values).cost
    except ValueError:
        return None
