"""What a search has found: its finished trials, the best first, and those that no other beats."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from keras_resnet.resnet import DEFAULTS
from keras_resnet.tuning.source import code


@dataclasses.dataclass(frozen=True)
class TrialResult:
    """A trial that is over.

    Attributes:
        trial: its number, as KerasTuner writes it.
        score: what the objective makes of it.
        metrics: by name; parameters and MACs exact.
        values: the hyperparameters asked for.
        changes: fields of the recipe that are not the base's.
        fields: the arguments of `ResNet` that make the network, which is not that asked for where that is over the
            budget.
    """

    trial: str
    score: float
    metrics: Mapping[str, float]
    values: Mapping[str, Any]
    changes: Mapping[str, Any]
    fields: Mapping[str, Any]

    @property
    def code(self) -> str:
        """The line of Python that builds the network, after `import functools, keras_resnet as kr`."""
        return code(self.fields)

    @property
    def stages(self) -> list[tuple[int, int]]:
        """Blocks and width of each stage."""
        depths, filters = (self.fields.get(name, DEFAULTS[name]) for name in ("depths", "filters"))
        return list(zip(depths, filters, strict=True))


def trial_results(tuner: Any) -> list[TrialResult]:
    """The finished trials of a tuner that searches a `HyperResNet`, the best by its objective first.

    Args:
        tuner: of KerasTuner, or one of `keras_resnet.tuning`; its search need not be over.

    Returns:
        One entry a trial.

    Raises:
        ValueError: the tuner is a worker's, of a search by several processes.
    """
    if not hasattr(tuner.oracle, "trials"):
        raise ValueError(f"tuner must be the chief's, as a worker knows of its own trials only. Received: {tuner!r}")
    trials = [trial for trial in tuner.oracle.trials.values() if trial.status == "COMPLETED"]
    trials.sort(key=lambda trial: trial.score, reverse=tuner.oracle.objective.direction == "max")
    return [_finished(tuner.hypermodel, trial) for trial in trials]


def _finished(space: Any, trial: Any) -> TrialResult:
    design = space.design(trial.hyperparameters.copy())
    metrics = {name: float(trial.metrics.get_last_value(name)) for name in trial.metrics.metrics}
    # Between processes KerasTuner's metrics are of 24 bits, fewer than MACs have.
    metrics |= {"parameters": design.row.parameters, "macs": design.row.macs}
    own, base = dataclasses.asdict(design.recipe), dataclasses.asdict(space.base.recipe)
    changes = {name: value for name, value in own.items() if value != base[name]}
    return TrialResult(
        trial.trial_id, float(trial.score), metrics, trial.hyperparameters.values, changes, design.row.fields
    )


def pareto_front(trials: Sequence[TrialResult], cost: str = "macs", gain: str = "val_accuracy") -> list[TrialResult]:
    """The trials of the Pareto front: those than which none is better at the same or a lower cost.

    Args:
        trials: finished.
        cost: the metric that is to be low.
        gain: the metric that is to be high.

    Returns:
        They, the cheapest first.

    Example:
        >>> from keras_resnet.tuning import TrialResult, pareto_front
        >>> trials = [TrialResult(str(i), g, {"macs": c, "val_accuracy": g}, {}, {}, {})
        ...           for i, (c, g) in enumerate([(5, 0.8), (9, 0.7), (9, 0.9), (2, 0.5)])]
        >>> [(trial.metrics["macs"], trial.score) for trial in pareto_front(trials)]
        [(2, 0.5), (5, 0.8), (9, 0.9)]
    """
    left: list[TrialResult] = []
    for trial in sorted(trials, key=lambda trial: (trial.metrics[cost], -trial.metrics[gain])):
        if not left or trial.metrics[gain] > left[-1].metrics[gain]:
            left.append(trial)
    return left
