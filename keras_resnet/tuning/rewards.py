"""Rewards: functions that compute one number from the metrics of a trial, for objectives other than accuracy alone."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from keras_resnet._internal.validation import one_of

METRICS = ("latency", "macs", "parameters", "seconds")


@dataclasses.dataclass(frozen=True)
class MnasNetReward:
    """The reward function that `mnasnet_reward` returns; its arguments are explained there."""

    metric: str
    limit: float
    below: float
    above: float
    accuracy: str

    def __call__(self, metrics: Mapping[str, float]) -> float:
        """The reward of a trial."""
        ratio = metrics[self.metric] / self.limit
        return metrics[self.accuracy] * ratio ** (self.below if ratio <= 1 else self.above)


def mnasnet_reward(
    metric: str, limit: float, *, below: float = 0.0, above: float = -1.0, accuracy: str = "val_accuracy"
) -> MnasNetReward:
    """The reward `accuracy * (metric / limit) ** power`, as in MnasNet (Tan et al. 2018, arXiv:1807.11626, eq. 2).

    Args:
        metric: the metric with a limit: "latency" in milliseconds, "macs", "parameters" or "seconds" of training.
        limit: value of the metric from which the power is `above`; must be above 0.
        below: the power if the metric is at most `limit`. With 0 the reward is the accuracy: the paper's hard
            constraint.
        above: the power if the metric is above `limit`. -0.07 for both powers is the paper's soft constraint.
        accuracy: name of the metric that is multiplied.

    Returns:
        A function for `HyperResNet(reward=...)`. Use `keras_tuner.Objective("reward", "max")` as the tuner's
        objective.

    Raises:
        ValueError: `metric` is not one of the four, or `limit` is not above 0.

    Example:
        >>> from keras_resnet.tuning import mnasnet_reward
        >>> reward = mnasnet_reward("latency", 5.0)
        >>> reward({"val_accuracy": 0.9, "latency": 4.0}), reward({"val_accuracy": 0.9, "latency": 10.0})
        (0.9, 0.45)
    """
    one_of("metric", metric, METRICS)
    if limit <= 0:
        raise ValueError(f"limit must be above 0. Received: limit={limit!r}")
    return MnasNetReward(metric, limit, below, above, accuracy)
