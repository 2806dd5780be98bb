"""Results of a search: its finished trials, sorted by score, and the Pareto front among them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from keras_resnet._internal.validation import known
from keras_resnet.resnet import DEFAULTS
from keras_resnet.tuning.persistence import is_score
from keras_resnet.tuning.source import code


@dataclasses.dataclass(frozen=True)
class TrialResult:
    """A finished trial.

    Attributes:
        trial: number of the trial, as a string, as KerasTuner writes it.
        score: value of the objective.
        metrics: metrics by name; parameters and MACs are exact.
        values: the hyperparameters that the tuner requested.
        changes: fields of the recipe that differ from the base's recipe.
        fields: the arguments of `ResNet` that build the network. If the requested network is over the budget, they are
            those of the nearest network within it.
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
    """The finished trials of a tuner that searches a `HyperResNet`, sorted by score.

    Args:
        tuner: a tuner of KerasTuner or of `keras_resnet.tuning`. Its search may still be unfinished.

    Returns:
        One `TrialResult` for each finished trial. The trial with the best value of the objective comes first. A trial
        whose score is not a finite number has failed.

    Raises:
        ValueError: the tuner belongs to a worker of a search by several processes.

    Example:
        >>> import keras_resnet as kr, tempfile
        >>> space = kr.HyperResNet((8, 8, 1), 10, base="ResNet20", tune=("depth",))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     tuner = kr.tuning.RandomSearch(space, "val_accuracy", max_trials=3, directory=folder)
        >>> kr.tuning.trial_results(tuner)  # before the search
        []
    """
    if not hasattr(tuner.oracle, "trials"):
        raise ValueError(
            "tuner must be the tuner of the chief process, because a worker knows only its own trials. "
            f"Received: the tuner of a worker, {tuner!r}; call trial_results in the chief process"
        )
    trials = [trial for trial in tuner.oracle.trials.values() if trial.status == "COMPLETED" and is_score(trial.score)]
    trials.sort(key=lambda trial: trial.score, reverse=tuner.oracle.objective.direction == "max")
    return [_trial_result(tuner.hypermodel, trial) for trial in trials]


def _trial_result(space: Any, trial: Any) -> TrialResult:
    design = space.design(trial.hyperparameters.copy())
    metrics = {name: float(trial.metrics.get_last_value(name)) for name in trial.metrics.metrics}
    # KerasTuner sends metrics between processes as floats of 24 significant bits; the number of MACs needs more.
    metrics |= {"parameters": design.row.parameters, "macs": design.row.macs}
    recipe, base = dataclasses.asdict(design.recipe), dataclasses.asdict(space.base.recipe)
    changes = {name: value for name, value in recipe.items() if value != base[name]}
    return TrialResult(
        trial.trial_id, float(trial.score), metrics, trial.hyperparameters.values, changes, design.row.fields
    )


def pareto_front(trials: Sequence[TrialResult], cost: str = "macs", gain: str = "val_accuracy") -> list[TrialResult]:
    """The trials of the Pareto front. No other trial is as good or better at the same or a lower cost.

    Args:
        trials: finished trials.
        cost: name of the metric that should be low.
        gain: name of the metric that should be high.

    Returns:
        The trials of the front, sorted by cost, the cheapest first. Of several trials with the same cost and gain, one
        is returned. A trial whose cost or gain is not a finite number is left out.

    Raises:
        ValueError: a trial has no metric `cost` or `gain`.

    Example:
        >>> from keras_resnet.tuning import TrialResult, pareto_front
        >>> trials = [TrialResult(str(i), g, {"macs": c, "val_accuracy": g}, {}, {}, {})
        ...           for i, (c, g) in enumerate([(5, 0.8), (9, 0.7), (9, 0.9), (2, 0.5)])]
        >>> [(trial.metrics["macs"], trial.score) for trial in pareto_front(trials)]
        [(2, 0.5), (5, 0.8), (9, 0.9)]
    """
    for trial in trials:
        known("metric of a trial", cost, trial.metrics, "TrialResult.metrics")
        known("metric of a trial", gain, trial.metrics, "TrialResult.metrics")
    comparable = [trial for trial in trials if is_score(trial.metrics[cost]) and is_score(trial.metrics[gain])]
    front: list[TrialResult] = []
    for trial in sorted(comparable, key=lambda trial: (trial.metrics[cost], -trial.metrics[gain])):
        if not front or trial.metrics[gain] > front[-1].metrics[gain]:
            front.append(trial)
    return front
