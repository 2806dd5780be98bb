"""KerasTuner's four tuners with the same arguments; their searches survive killed processes and lost workers."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras_tuner
from keras_tuner.src.distribute.utils import has_chief_oracle, is_chief_oracle

from keras_resnet._internal.exclusive import exclusive
from keras_resnet.tuning import persistence, workers
from keras_resnet.tuning.arguments import callbacks_of
from keras_resnet.tuning.hypermodel import HyperResNet

PROJECT = "untitled_project"  # KerasTuner's name for a search without `project_name`


class ResumableTuner:
    """Base class of the tuners. If a search is killed, the same code continues it and keeps all finished trials.

    List it before a tuner of KerasTuner among the base classes. The directory must be on a file system, not in a
    cloud bucket.

    Attributes:
        patience: seconds without a message after which the chief gives up a worker.
        running: number of the trial that runs, or None.

    Raises:
        TypeError: the hypermodel is not a `HyperResNet`.
        ValueError: the directory holds another search (no file in it was changed), or a file with another content than
            a search wrote; the objective is "reward" and the hypermodel has no reward; or `overwrite` is True in a
            worker, or while another process searches.
    """

    patience = 60.0
    running: str | None = None
    _last_request = 0.0
    # Attributes of KerasTuner's tuners:
    oracle: Any
    hypermodel: Any
    tuner_id: str
    directory: Any
    project_name: str

    def __init__(self, *args: Any, overwrite: bool = False, **kwargs: Any) -> None:
        if overwrite and self._is_worker_process():
            raise ValueError(
                "overwrite must be False in a worker, because the chief owns the directory. Received: overwrite=True"
            )
        if overwrite:  # but not while another process searches
            with exclusive(Path(kwargs.get("directory") or ".") / (kwargs.get("project_name") or PROJECT), "search"):
                pass
        super().__init__(*args, overwrite=overwrite, **kwargs)  # type: ignore[call-arg]

    def _populate_initial_space(self) -> None:
        """KerasTuner calls this if it finds no file of this tuner. There can be a file of the search nevertheless."""
        self._start_or_resume()

    def reload(self) -> None:
        """KerasTuner calls this if it finds a file of this tuner."""
        self._start_or_resume()

    def _start_or_resume(self) -> None:
        if not isinstance(self.hypermodel, HyperResNet):
            raise TypeError(f"hypermodel must be a keras_resnet.HyperResNet. Received: {self.hypermodel!r}")
        names = {objective.name for objective in getattr(self.oracle.objective, "objectives", [self.oracle.objective])}
        if "reward" in names and self.hypermodel.reward is None:
            raise ValueError(
                "objective must not be reward if the hypermodel has no reward. "
                f"Received: objective={sorted(names)}, reward=None; give HyperResNet a reward"
            )
        # The whole space is declared, so KerasTuner need not build a network to find the hyperparameters.
        space = self.oracle.get_space()
        self.hypermodel.declare_hyperparameters(space)
        description = {
            **self.hypermodel.description,
            "space": space.get_config()["space"],  # includes the tuner's argument `hyperparameters`
            "objective": str(self.oracle.objective),
            "tuner": type(self.oracle).__name__,
        }
        persistence.check(
            self._search_directory, description
        )  # in a worker too: with another space it would train other networks
        self.oracle.update_space(space)
        if not self._is_worker_process():
            persistence.persist(self.oracle, self._search_directory, description)

    @property
    def _search_directory(self) -> Path:
        return Path(self.directory) / self.project_name

    def _is_worker_process(self) -> bool:
        return has_chief_oracle() and not is_chief_oracle()

    def save(self) -> None:
        """Saves the state that is not in the files of the trials."""
        if not self._is_worker_process():
            self.oracle.save()
        persistence.write(
            {}, self._search_directory / f"{self.tuner_id}.json"
        )  # KerasTuner calls `reload` if this file exists

    def search(self, *fit_args: Any, **fit_kwargs: Any) -> None:
        """Runs the search, as `keras_tuner.Tuner.search`. The arguments are those of `HyperResNet.fit`.

        A mistake that is the same in each trial is an error before the first one: an unknown argument, an objective
        that no trial reports, images that do not fit the space.

        Args:
            fit_args, fit_kwargs: x and y, validation_data, epochs, batch_size, callbacks and others.

        Raises:
            ValueError, TypeError: as `HyperResNet.fit`; or another process searches in the directory.
        """
        fit_kwargs["callbacks"] = callbacks_of(fit_kwargs.get("callbacks"))
        self.hypermodel.check_search(self.oracle.objective, *fit_args, **fit_kwargs)
        try:
            with contextlib.nullcontext() if self._is_worker_process() else self._exclusive():
                self._search(*fit_args, **fit_kwargs)
        finally:
            self.hypermodel.forget_images()

    @contextlib.contextmanager
    def _exclusive(self) -> Iterator[None]:
        """Only this process, and the workers of its chief, write to the directory in this block."""
        with exclusive(self._search_directory, "search"):
            persistence.refresh(self.oracle, self._search_directory)
            yield

    def _search(self, *fit_args: Any, **fit_kwargs: Any) -> None:
        search = super().search  # type: ignore[misc]
        if is_chief_oracle():
            workers.check_free()
            # KerasTuner's chief would raise an error while it holds its lock, and then wait for the lock forever.
            self.oracle.max_consecutive_failed_trials = sys.maxsize
            with workers.watch_workers(self.oracle, self.patience):
                search(*fit_args, **fit_kwargs)
        elif has_chief_oracle():
            with workers.send_heartbeats(self, self.patience):
                search(*fit_args, **fit_kwargs)
        else:
            search(*fit_args, **fit_kwargs)

    def pre_create_trial(self) -> None:
        """Limits requests to one per second: without this, a worker asks a chief that has no trial again and again."""
        time.sleep(max(0.0, self._last_request + 1 - time.monotonic()) if self._is_worker_process() else 0)
        self._last_request = time.monotonic()

    def on_trial_begin(self, trial: Any) -> None:
        """Stores the number of the trial that runs."""
        self.running = trial.trial_id
        super().on_trial_begin(trial)  # type: ignore[misc]

    def on_trial_end(self, trial: Any) -> None:
        """Reports the result of the trial."""
        super().on_trial_end(trial)  # type: ignore[misc]
        self.running = None


class RandomSearch(ResumableTuner, keras_tuner.RandomSearch):
    """`keras_tuner.RandomSearch` for a `HyperResNet`: draws points at random. The same code continues a killed search.

    Args: as for `keras_tuner.RandomSearch`, with a `HyperResNet` as the hypermodel.

    Raises: as `ResumableTuner`.

    Example:
        >>> import keras_resnet as kr, tempfile
        >>> space = kr.HyperResNet((8, 8, 1), 10, base="ResNet20", max_macs=1e6, tune=("depth", "width"))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     tuner = kr.tuning.RandomSearch(space, "val_accuracy", max_trials=20, directory=folder)
        >>> tuner.remaining_trials
        20
    """


class BayesianOptimization(ResumableTuner, keras_tuner.BayesianOptimization):
    """`keras_tuner.BayesianOptimization` for a `HyperResNet`. The same code continues a killed search.

    It draws the first points at random. After that, it chooses points by a regression over the finished trials.

    Args: as for `keras_tuner.BayesianOptimization`, with a `HyperResNet` as the hypermodel.

    Raises: as `ResumableTuner`.

    Example: as for `RandomSearch`.
    """


class Hyperband(ResumableTuner, keras_tuner.Hyperband):
    """`keras_tuner.Hyperband` for a `HyperResNet`. The same code continues a killed search.

    Each round continues with the weights of the round before, for the number of epochs that Hyperband gives. The
    schedule of the learning rate starts again in each round.

    Args: as for `keras_tuner.Hyperband`, with a `HyperResNet` as the hypermodel; `max_epochs` instead of `max_trials`.

    Raises: as `ResumableTuner`.

    Example: as for `RandomSearch`.
    """


class GridSearch(ResumableTuner, keras_tuner.GridSearch):
    """`keras_tuner.GridSearch` for a `HyperResNet`. The same code continues a killed search.

    The base is the first point. If the space has points over the budget, several points can stand for the same network.

    Args: as for `keras_tuner.GridSearch`, with a `HyperResNet` as the hypermodel.

    Raises: as `ResumableTuner`.

    Example: as for `RandomSearch`.
    """
