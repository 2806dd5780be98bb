"""KerasTuner's four tuners with the same arguments, whose searches survive kills and lost workers."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import keras_tuner
from keras_tuner.src.distribute.utils import has_chief_oracle, is_chief_oracle

from keras_resnet.tuning import persistence, workers
from keras_resnet.tuning.hypermodel import HyperResNet


class ResumableTuner:
    """What the tuners share: a search that is killed is taken up by the same lines, with all its finished trials.

    It goes before a tuner of KerasTuner among the bases of a class. The directory is one of a file system.

    Attributes:
        patience: seconds after which the chief gives up a worker of which it hears nothing.
        running: the trial that runs, or None.

    Raises:
        TypeError: the hypermodel is no `HyperResNet`.
        ValueError: the directory holds another search, and nothing there was touched; the objective is the reward of a
            hypermodel without one; or a worker is to overwrite the search that it joins.
    """

    patience = 60.0
    running: str | None = None
    _asked = 0.0
    # KerasTuner's:
    oracle: Any
    hypermodel: Any
    tuner_id: str
    directory: Any
    project_name: str

    def __init__(self, *args: Any, overwrite: bool = False, **kwargs: Any) -> None:
        if overwrite and self._is_a_worker():
            raise ValueError("overwrite must be False in a worker, whose directory is the chief's. Received: True")
        super().__init__(*args, overwrite=overwrite, **kwargs)  # type: ignore[call-arg]

    def _populate_initial_space(self) -> None:
        """Called by KerasTuner where it finds no file of this tuner; one of the search there may be all the same."""
        self._begin()

    def reload(self) -> None:
        """Called by KerasTuner where it finds a file of this tuner."""
        self._begin()

    def _begin(self) -> None:
        if not isinstance(self.hypermodel, HyperResNet):
            raise TypeError(f"hypermodel must be a keras_resnet.HyperResNet. Received: {self.hypermodel!r}")
        names = {aim.name for aim in getattr(self.oracle.objective, "objectives", [self.oracle.objective])}
        if "reward" in names and self.hypermodel.reward is None:
            raise ValueError("objective must be another than reward where the hypermodel has none. Received: reward")
        # All of the space is declared, so nothing has to be built to find it.
        space = self.oracle.get_space()
        self.hypermodel.declare_hyperparameters(space)
        description = {
            **self.hypermodel.description,
            "space": space.get_config()["space"],  # with what the tuner was given as `hyperparameters`
            "objective": str(self.oracle.objective),
            "tuner": type(self.oracle).__name__,
        }
        persistence.check(self._place, description)  # a worker too: with another space it would train other networks
        self.oracle.update_space(space)
        if not self._is_a_worker():
            persistence.persist(self.oracle, self._place, description)

    @property
    def _place(self) -> Path:
        return Path(self.directory) / self.project_name

    def _is_a_worker(self) -> bool:
        return has_chief_oracle() and not is_chief_oracle()

    def save(self) -> None:
        """Writes what is not in the trials' own files."""
        if not self._is_a_worker():
            self.oracle.save()
        persistence.write({}, self._place / f"{self.tuner_id}.json")  # by which KerasTuner knows that it was here

    def search(self, *fit_args: Any, **fit_kwargs: Any) -> None:
        """Searches; see `keras_tuner.Tuner.search`. `HyperResNet.fit` gets the arguments: train, validation."""
        search = super().search  # type: ignore[misc]
        if is_chief_oracle():
            workers.check_free()
            # KerasTuner's chief would raise with its lock held, and wait for that for ever.
            self.oracle.max_consecutive_failed_trials = sys.maxsize
            with workers.watch_workers(self.oracle, self.patience):
                search(*fit_args, **fit_kwargs)
        elif has_chief_oracle():
            with workers.send_heartbeats(self, self.patience):
                search(*fit_args, **fit_kwargs)
        else:
            search(*fit_args, **fit_kwargs)

    def pre_create_trial(self) -> None:
        """Asks once a second at most: KerasTuner asks a chief that has no trial yet without a pause."""
        time.sleep(max(0.0, self._asked + 1 - time.monotonic()) if self._is_a_worker() else 0)
        self._asked = time.monotonic()

    def on_trial_begin(self, trial: Any) -> None:
        """Notes which trial runs."""
        self.running = trial.trial_id
        super().on_trial_begin(trial)  # type: ignore[misc]

    def on_trial_end(self, trial: Any) -> None:
        """Hands in the result."""
        super().on_trial_end(trial)  # type: ignore[misc]
        self.running = None


class RandomSearch(ResumableTuner, keras_tuner.RandomSearch):
    """`keras_tuner.RandomSearch` of a `HyperResNet`, safe against kills.

    Example:
        >>> import keras_resnet as kr, tempfile
        >>> space = kr.HyperResNet((8, 8, 1), 10, base="ResNet20", max_macs=1e6, tune=("depth", "width"))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     tuner = kr.tuning.RandomSearch(space, "val_accuracy", max_trials=20, directory=folder)
        >>> tuner.remaining_trials
        20
    """


class BayesianOptimization(ResumableTuner, keras_tuner.BayesianOptimization):
    """`keras_tuner.BayesianOptimization` of a `HyperResNet`, safe against kills."""


class Hyperband(ResumableTuner, keras_tuner.Hyperband):
    """`keras_tuner.Hyperband` of a `HyperResNet`, safe against kills.

    Each round trains on from the weights of the one before, for the epochs that Hyperband gives it, with the learning
    rate's schedule run through anew.
    """


class GridSearch(ResumableTuner, keras_tuner.GridSearch):
    """`keras_tuner.GridSearch` of a `HyperResNet`, safe against kills; several points may stand for one network."""
