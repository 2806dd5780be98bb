"""Keeps a search within its budget: finds the nearest point that the budget allows, and checks that there is one.

A point over the budget could fail its trial. But KerasTuner ends a search after three failures in a row, and counts
each failure as one of the requested trials. Hyperband treats failures as results, and its later rounds then have too
few trials. An oracle could also draw another point, but each of the four oracles draws in private functions.

Therefore no point is over the budget here: each point stands for the nearest network within the budget. It is always
the same network, so what an oracle has learned about a point stays true, and a grid keeps its order.
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
PARTS = 64  # steps in which sizes shrink; no dimension has more values than this


def nearest(
    base: Design, dimensions: Sequence[Dimension], values: Mapping[str, Value], budget: Budget, domains: Domains
) -> dict[str, Value] | None:
    """The values of the nearest point within the budget; no size is larger than at the given point.

    All sizes shrink together: each loses the same fraction of its distance to the smallest value. A network thus keeps
    its proportions, and different points stay different networks. If the smallest sizes are not enough, forms change
    too, as few as possible.

    Args:
        base: the design that the values change.
        dimensions: the dimensions of the space.
        values: the point: values by name of a dimension, for dimensions that are used.
        budget: limits on the cost.
        domains: allowed values by name of a dimension.

    Returns:
        Values by name, or None if there is no such point.
    """
    values = dict(values)
    if _cost(base, dimensions, values) is None:
        values |= _increasing_widths(dimensions, values, domains)
    candidates = itertools.chain(_shrinking(dimensions, values, domains), _other_forms(dimensions, values, domains))
    return next((other for other in candidates if _allowed(base, dimensions, other, budget)), None)


def check_reachable(base: Design, dimensions: Sequence[Dimension], budget: Budget) -> None:
    """Raises a `ValueError`, with the smallest possible cost, if no point of the space is within the budget."""
    domains = {dimension.name: dimension.values for dimension in dimensions}
    start = {dimension.name: dimension.default for dimension in dimensions}
    costs = [
        cost
        for values in _smallest_points(dimensions, start, domains)
        if (cost := _cost(base, dimensions, values)) is not None
    ]
    if any(budget.allows(cost) for cost in costs):
        return
    for name, limit, least in zip(("max_params", "max_macs"), budget, map(min, zip(*costs)), strict=True):
        if limit is not None and limit < least:
            raise ValueError(
                f"{name} must be at least {least:,}, the value of the smallest network of this space. "
                f"Received: {name}={limit:,}"
            )
    least = min(costs)
    raise ValueError(
        "max_params and max_macs must together allow at least one network; the network with the fewest parameters has "
        f"{least.parameters:,} parameters and {least.macs:,} MACs. "
        f"Received: max_params={budget.parameters:,}, max_macs={budget.macs:,}"
    )


def _positions(
    dimensions: Sequence[Dimension], values: Mapping[str, Value], domains: Domains
) -> dict[str, tuple[int, list[Value]]]:
    """For each size that is used: the index of its value among its allowed values, and these in ascending order."""
    ordered = {
        dimension.name: sorted(domains[dimension.name])
        for dimension in dimensions
        if dimension.kind == SIZE and dimension.name in values and dimension.is_active(values)
    }
    return {name: (domain.index(values[name]), domain) for name, domain in ordered.items()}


def _shrinking(
    dimensions: Sequence[Dimension], values: Mapping[str, Value], domains: Domains
) -> Iterator[dict[str, Value]]:
    """The point itself, then smaller and smaller points with the same proportions."""
    positions = _positions(dimensions, values, domains)
    for part in range(PARTS, -1, -1):
        yield {**values, **{name: domain[index * part // PARTS] for name, (index, domain) in positions.items()}}


def _other_forms(
    dimensions: Sequence[Dimension], values: Mapping[str, Value], domains: Domains
) -> Iterator[dict[str, Value]]:
    """Every combination of forms with the smallest sizes. Points that differ in few values come first."""
    yield from sorted(
        _smallest_points(dimensions, values, domains),
        key=lambda other: sum(other.get(name) != value for name, value in values.items()),
    )


def _increasing_widths(
    dimensions: Sequence[Dimension], values: Mapping[str, Any], domains: Mapping[str, Sequence[Any]]
) -> dict[str, Value]:
    """Widths that never get smaller from one stage to the next, since option A shortcuts cannot reduce channels.

    Widths that need not change keep their value.
    """
    widths: dict[str, Value] = {}
    upper_limit = math.inf
    for name in reversed(
        [dimension.name for dimension in dimensions if dimension.name.startswith("width") and dimension.name in values]
    ):
        fitting = [width for width in domains[name] if width <= min(upper_limit, values[name])]
        widths[name] = upper_limit = max(fitting, default=min(domains[name]))
    return widths


def _smallest_points(
    dimensions: Sequence[Dimension], start: Mapping[str, Value], domains: Domains
) -> Iterator[dict[str, Value]]:
    """Every combination of forms with the smallest sizes; values of the kind TRAINING are those of `start`."""
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
    cost = _cost(base, dimensions, values)
    return cost is not None and budget.allows(cost)


def _cost(base: Design, dimensions: Sequence[Dimension], values: Mapping[str, Value]) -> Cost | None:
    """The cost of a point; None if there is no such network, because option A shortcuts cannot reduce channels."""
    try:
        return apply_values(base, dimensions, values).cost
    except ValueError:
        return None
