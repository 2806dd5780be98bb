"""Rewards: one number of a trial's metrics, where accuracy alone is not what is wanted."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from keras_resnet._internal.validation import one_of

METRICS = ("latency", "macs", "parameters", "seconds")


@dataclasses.dataclass(frozen=True)
class SoftConstraint:
    """What `soft_constraint` makes."""

    metric: str
    limit: float
    below: float
    above: float
    accuracy: str

    def __call__(self, metrics: Mapping[str, float]) -> float:
        """The reward of a trial."""
        share = metrics[self.metric] / self.limit
        return metrics[self.accuracy] * share ** (self.below if share <= 1 else self.above)


def soft_constraint(
    metric: str, limit: float, *, below: float = 0.0, above: float = -1.0, accuracy: str = "val_accuracy"
) -> SoftConstraint:
    """Accuracy times `(metric / limit)` to a power: MnasNet's objective (Tan et al. 2018, arXiv:1807.11626, eq. 2).

    Args:
        metric: what is limited: "latency" in milliseconds, "macs", "parameters" or "seconds".
        limit: of it, above 0.
        below: the power where the limit is kept; 0 is accuracy itself, the paper's hard constraint.
        above: the power where it is not; -0.07 for both is the paper's soft constraint.
        accuracy: what is multiplied.

    Returns:
        A function for `HyperResNet(reward=...)`; the tuner's objective is then
        `keras_tuner.Objective("reward", "max")`.

    Raises:
        ValueError: `metric` is none of these, or `limit` is not above 0.

    Example:
        >>> from keras_resnet.tuning import soft_constraint
        >>> reward = soft_constraint("latency", 5.0)
        >>> reward({"val_accuracy": 0.9, "latency": 4.0}), reward({"val_accuracy": 0.9, "latency": 10.0})
        (0.9, 0.45)
    """
    one_of("metric", metric, METRICS)
    if limit <= 0:
        raise ValueError(f"limit must be above 0. Received: limit={limit!r}")
    return SoftConstraint(metric, limit, below, above, accuracy)
