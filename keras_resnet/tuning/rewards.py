"""Rewards: one number of a trial's metrics, where accuracy alone is not what is wanted."""

from __future__ import annotations

from collections.abc import Callable, Mapping


def limited(
    metric: str, limit: float, *, below: float = 0.0, above: float = -1.0, accuracy: str = "val_accuracy"
) -> Callable[[Mapping[str, float]], float]:
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
        ValueError: `limit` is not above 0.

    Example:
        >>> from keras_resnet.tuning import limited
        >>> reward = limited("latency", 5.0)
        >>> reward({"val_accuracy": 0.9, "latency": 4.0}), reward({"val_accuracy": 0.9, "latency": 10.0})
        (0.9, 0.45)
    """
    if limit <= 0:
        raise ValueError(f"limit must be above 0. Received: limit={limit!r}")

    def reward(metrics: Mapping[str, float]) -> float:
        share = metrics[metric] / limit
        return metrics[accuracy] * share ** (below if share <= 1 else above)

    return reward
