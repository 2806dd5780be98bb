"""The budget of a search: limits on the parameters and multiply-accumulates of a network."""

from __future__ import annotations

from typing import NamedTuple

from keras_resnet.complexity import Cost


class Budget(NamedTuple):
    """Limits on the cost of a network; None means no limit.

    Attributes:
        parameters: largest number of trainable parameters.
        macs: largest number of multiply-accumulates for one image.
    """

    parameters: int | None = None
    macs: int | None = None

    def allows(self, cost: Cost) -> bool:
        """Whether a network with this cost is within the budget."""
        return all(limit is None or value <= limit for value, limit in zip(cost, self, strict=True))
