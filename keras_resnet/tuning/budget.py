"""The budget of a search: the most that a network may cost."""

from __future__ import annotations

from typing import NamedTuple

from keras_resnet.complexity import Cost


class Budget(NamedTuple):
    """The most that a network may cost; None: no limit."""

    parameters: int | None = None
    macs: int | None = None

    def allows(self, cost: Cost) -> bool:
        """Whether a network of this cost is within the budget."""
        return all(limit is None or value <= limit for value, limit in zip(cost, self, strict=True))
