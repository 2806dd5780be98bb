"""Saving and resuming: a training that was killed at any moment continues, and ends with the same result."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import math
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

import keras
import numpy as np

from keras_resnet._internal.atomic_files import atomic_write
from keras_resnet._internal.json_files import read_object
from keras_resnet._internal.keras_graph import build_metrics_and_optimizer
from keras_resnet._internal.validation import printable
from keras_resnet.data import Split
from keras_resnet.training import checkpoints
from keras_resnet.training.distillation import fingerprint
from keras_resnet.training.distribution import Placement, gather
from keras_resnet.training.early_stopping import has_stopped_rising
from keras_resnet.training.ema import average_weights, swap_average, update_average_statistics
from keras_resnet.training.recipe import Recipe, current_names, recipe_of
from keras_resnet.training.state import State, assign, check_shapes, numbered, state_of, write_history

CHECK_EVERY = 20  # steps between two checks of the loss: each check waits for the device
CHECKPOINTS, BEST = "checkpoints", "best.npz"
LENGTH = {"epochs", "iterations"}  # the settings that only say when a training ends


class DivergedError(ValueError):
    """The loss or a weight is not a finite number any more."""


class Stopped(KeyboardInterrupt):
    """Ctrl-C or SIGTERM ended the training. If the training has a directory, its state was saved before.

    Attributes:
        signal: the signal.
    """

    def __init__(self, message: str, number: signal.Signals) -> None:
        super().__init__(message)
        self.signal = number


class ResumeCallback(keras.callbacks.Callback):
    """Records the history, keeps the best weights, and saves a checkpoint after each epoch and when a signal arrives.

    The best weights are those of the epoch with the highest value of `watched`, if there is a validation.

    Args:
        model: a compiled model.
        settings: what must be the same when the training is resumed, see `settings_of`.
        steps: number of steps of an epoch.
        directory: the directory for checkpoints and history.csv. If it holds a checkpoint, `restore` continues from the
            newest sound one. None: nothing is saved.
        where: the devices and processes of the training; process 0 writes the files.
        watched: the name in the logs of the validation's value, at most 1, of which the highest one is the best.
        current: function that gives the settings of an earlier version the names and the defaults of this one.

    Attributes:
        saved: the checkpoint for `restore`; None if there is none.

    Raises:
        ValueError: `directory` has checkpoints, but no sound one; the newest sound one belongs to a training with other
            settings; or the processes find different ones.
    """

    def __init__(
        self,
        model: keras.Model,
        settings: dict[str, Any],
        steps: int,
        directory: Path | None,
        where: Placement,
        watched: str = "val_accuracy",
        current: Callable[[Mapping[str, Any]], dict[str, Any]] = current_names,
    ) -> None:
        super().__init__()
        self.set_model(model)
        self.settings, self.steps, self.directory, self.where = settings, steps, directory, where
        self.watched, self.current = watched, current
        self.writes = where.process == 0
        self.state = State()
        self.best: list[np.ndarray] | None = None
        self.signal: signal.Signals | None = None
        self.sums: list[np.ndarray] = []
        self.saved: checkpoints.SavedState | None = None
        if directory is not None:
            self._find(directory)

    def _find(self, directory: Path) -> None:
        if checkpoints.numbers(directory / CHECKPOINTS):
            # Keras creates the variables of metrics for the first batch; `_check` needs them before.
            build_metrics_and_optimizer(self.model)
            self.saved = checkpoints.newest(directory / CHECKPOINTS, self._check)
        numbers = gather(int(self.saved.path.name) if self.saved else -1, self.where)
        if len(set(numbers)) > 1:
            raise ValueError(
                f"directory must be on a file system that all processes share. Received: {printable(directory)}, "
                f"in which the processes find the newest checkpoints {numbers} (-1: none)"
            )
        if self.saved and (different := self._differences(self.saved)):
            raise ValueError(
                "directory must be new, or hold a training with the same settings. "
                f"Received: {printable(directory)}, which holds a training with {', '.join(different)}"
            )

    def _check(self, saved: checkpoints.SavedState) -> None:
        """Raises a `ValueError` or `TypeError` if a checkpoint is damaged.

        The number and the arrays of a checkpoint of other settings are not checked: they fit another training. Not
        checked in any checkpoint are the values of finite numbers, and best.npz, which `restore` reads.
        """
        if not isinstance(saved.state.get("settings"), dict):
            raise ValueError(f"{checkpoints.STATE} must have settings. Received: {list(saved.state)}")
        state = state_of(saved.state)
        if not all(np.isfinite(array).all() for array in saved.arrays.values() if array.dtype.kind == "f"):
            raise ValueError(f"{checkpoints.ARRAYS} must have finite numbers")
        if self._differences(saved):
            return
        if int(saved.path.name) != state.epoch * self.steps + state.step:
            raise ValueError(f"its number must be that of its last step. Received: {state.epoch=}, {state.step=}")
        check_shapes(checkpoints.ARRAYS, saved.arrays, numbered(self._variable_groups(state)))

    def _variable_groups(self, state: State) -> dict[str, Sequence[Any]]:
        """What a checkpoint holds of the model, by group. The sums of metrics are those of an unfinished epoch."""
        return {
            "model": self.model.variables,
            "optimizer": self.model.optimizer.variables,
            "sums": self.model.metrics_variables if state.step else [],
        }

    def _differences(self, saved: checkpoints.SavedState) -> list[str]:
        """The settings of a checkpoint that are not those of this training, as text.

        A training that has finished may go on for more epochs.
        """
        settings = self.current(saved.state["settings"])
        # Earlier versions did not write it. They chose the epoch on held-out images only; others were for the curves.
        settings.setdefault("validation", self.settings["validation"] if settings["validation_split"] else 0)
        different = {name: settings.get(name) for name in self.settings if settings.get(name) != self.settings[name]}
        epochs = epochs_of(settings, self.steps)
        if different.keys() <= LENGTH and saved.state["epoch"] == epochs < epochs_of(self.settings, self.steps):
            return []
        ended = [f"an end after epoch {saved.state['epoch']}, by early_stopping or a callback"]
        texts = [_setting_text(name, value) for name, value in different.items()]
        return texts + (ended if saved.state["ended"] and different.keys() & LENGTH else [])

    def restore(self) -> None:
        """Gives the model, the optimizer and the state what the checkpoint holds; does nothing if there is none.

        Raises:
            ValueError: the weights of the best epoch are damaged.
        """
        if self.saved is None:
            return
        saved, self.saved = self.saved, None  # the arrays are not needed any more
        self.state = state_of(saved.state)
        assign(self.model.variables, saved.arrays, "model")
        assign(self.model.optimizer.variables, saved.arrays, "optimizer")
        self.sums = [array for name, array in saved.arrays.items() if name.startswith("sums/")]
        if self.state.best_epoch is not None:
            self._restore_best(saved.path.with_name(BEST))

    def _restore_best(self, path: Path) -> None:
        if not path.exists():
            checkpoints.log.warning(
                "%s is missing, with the weights of epoch %d, the best one until now: the best epoch is chosen among "
                "those that follow; if none follows, the last epoch is the result",
                printable(path),
                self.state.best_epoch,
            )
            self.state.best, self.state.best_epoch = -math.inf, None
            return
        try:
            arrays = checkpoints.read_arrays(path)
            check_shapes(printable(path), arrays, {str(n): variable for n, variable in enumerate(self.model.variables)})
        except ValueError as error:
            raise ValueError(
                f"{error}; remove this file to continue without it: the best epoch is then chosen among those that "
                "follow"
            ) from error
        self.best = [arrays[str(number)] for number in range(len(arrays))]

    def finish(self) -> list[np.ndarray]:
        """Gives the model the weights that are the result of the training; returns the weights of the last epoch."""
        swap_average(self.model)
        last_weights = self.model.get_weights()
        for variable, value in zip(self.model.variables, self.best or ()):
            variable.assign(value)
        return last_weights

    def on_train_begin(self, logs: Any = None) -> None:
        """Starts the clock."""
        self.clock = time.monotonic()

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Restores the sums of the metrics if an epoch continues."""
        for variable, value in zip(self.model.metrics_variables, self.sums):
            variable.assign(value)
        self.sums = []

    def on_train_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Updates the averages, checks the loss, and stops the training after a signal."""
        self.state.step += 1
        is_check = self.state.step % CHECK_EVERY == 0
        if is_check or self.state.step == self.steps:  # a validation, which needs the averages, may follow
            steps = self.state.step % CHECK_EVERY or CHECK_EVERY
            update_average_statistics(self.model, steps, first=self.state.epoch == 0 and self.state.step == steps)
        if is_check or (self.signal and self.where.processes == 1):
            self._check_loss(logs or {})
            if self._stop_requested() and self.state.step < self.steps:  # after the last step, `on_epoch_end` stops
                self._stop()

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Records the logs and saves a checkpoint."""
        logs = logs or {}
        self._check_loss(logs)
        self._record(logs)
        self.state.epoch, self.state.step = epoch + 1, 0
        if self.state.epoch < epochs_of(self.settings, self.steps) and has_stopped_rising(
            self.state.history.get(self.watched, [0.0]), self.settings["early_stopping"]
        ):
            self.model.stop_training = True
        self.state.ended = self.model.stop_training
        if logs.get(self.watched, -math.inf) > self.state.best:
            self.state.best, self.state.best_epoch = float(logs[self.watched]), epoch + 1
            self._save_best()
        self.save()
        if self._stop_requested():
            self._stop(saved=True)

    def save(self) -> None:
        """Writes a checkpoint; raises `DivergedError` if a variable is not finite."""
        now = time.monotonic()
        self.state.seconds, self.clock = self.state.seconds + now - self.clock, now
        variables = numbered(self._variable_groups(self.state))
        arrays = {name: keras.ops.convert_to_numpy(variable) for name, variable in variables.items()}
        if not all(np.isfinite(array).all() for array in arrays.values()):
            raise self._diverged("a weight")  # the last step made it infinite, after its loss was computed
        if self.directory is None or not self.writes:
            return
        state = {**dataclasses.asdict(self.state), "settings": self.settings}
        checkpoints.save(self.directory / CHECKPOINTS, self.state.epoch * self.steps + self.state.step, arrays, state)
        write_history(self.state.history, self.directory / "history.csv")

    def _record(self, logs: Mapping[str, Any]) -> None:
        """Appends the logs to the history; NaN for a missing value, because callbacks may log different names."""
        history, earlier_epochs = self.state.history, len(next(iter(self.state.history.values()), ()))
        for name in {**history, **logs}:
            history.setdefault(name, [math.nan] * earlier_epochs).append(float(logs.get(name, math.nan)))

    def _check_loss(self, logs: Mapping[str, Any]) -> None:
        loss = float(logs.get("loss", 0))
        if not math.isfinite(loss):
            _synchronize_variables(self.model)
            raise self._diverged(f"the loss, {loss},")

    def _diverged(self, name: str) -> DivergedError:
        directory = self.directory and self.directory / CHECKPOINTS
        saved = directory and checkpoints.numbers(directory)
        return DivergedError(
            f"{name} is not a finite number in epoch {self.state.epoch + 1}, step {self.state.step}; a lower "
            f"learning_rate, a longer warmup or clip_norm=1 may help. "
            + (
                f"The last good checkpoint is {printable(directory / str(saved[-1]))}"
                if directory and saved
                else "No checkpoint was saved before"
            )
        )

    def _save_best(self) -> None:
        with average_weights(self.model):
            self.best = [keras.ops.convert_to_numpy(variable) for variable in self.model.variables]
        if self.directory and self.writes:
            save_best(self.best, self.directory / CHECKPOINTS)

    def _stop_requested(self) -> bool:
        """Whether a process got a signal. All processes stop after the same step, since none can train alone."""
        number = max(gather(self.signal or 0, self.where))
        if number:
            self.signal = signal.Signals(number)
        return bool(number)

    def _stop(self, saved: bool = False) -> None:
        _synchronize_variables(self.model)
        if not saved:
            self.save()
        number = self.signal or signal.SIGTERM
        position = f"epoch {self.state.epoch + 1}, step {self.state.step} of {self.steps}"
        hint = f"; saved in {printable(self.directory)}, the same call continues from there" if self.directory else ""
        raise Stopped(f"stopped by {number.name} in {position}{hint}", number)

    def _acknowledge(self) -> None:
        """Says on stderr what follows from Ctrl-C: the step, and the checkpoint after it, may take a while."""
        when = "after this step" if self.where.processes == 1 else f"after at most {CHECK_EVERY} steps"
        how = (", saving a checkpoint", "stop without saving") if self.directory else ("", "stop at once")
        # RuntimeError: the signal came while Python wrote to stderr. OSError: Ctrl-C ended the reader of stderr too,
        # as in `train 2>&1 | tee log`. ValueError: stderr is closed. None of them may prevent the checkpoint.
        with contextlib.suppress(RuntimeError, OSError, ValueError):
            print(f"\nstopping {when}{how[0]}; press Ctrl-C again to {how[1]}", file=sys.stderr, flush=True)

    @contextlib.contextmanager
    def stop_on_signals(self) -> Iterator[None]:
        """Makes Ctrl-C and SIGTERM end the training after the current step; a second signal ends it at once.

        Several processes stop together, at the next check of the loss. In another thread than the main one nothing
        changes: Python allows signal handlers only there.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def request_stop(number: int, frame: FrameType | None) -> None:
            self.signal = signal.Signals(number)
            signal.signal(number, handlers[signal.Signals(number)])
            if number == signal.SIGINT:
                self._acknowledge()

        handlers = {each: signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)}
        for each in handlers:
            signal.signal(each, request_stop)
        try:
            yield
        finally:
            for each, handler in handlers.items():
                signal.signal(each, handler)


def save_best(values: Sequence[Any], directory: Path) -> None:
    """Writes the values of all variables of the model in the best epoch to a directory of checkpoints."""
    directory.mkdir(parents=True, exist_ok=True)
    with atomic_write(directory / BEST) as temporary:
        arrays = {str(n): keras.ops.convert_to_numpy(value) for n, value in enumerate(values)}
        checkpoints.write_arrays(arrays, temporary)


def precision_before(directory: Path | None) -> str | None:
    """The precision of the training whose checkpoints are in a directory; None if there is none that can be read."""
    if directory is None:
        return None
    for number in reversed(checkpoints.numbers(directory / CHECKPOINTS)):
        with contextlib.suppress(ValueError, TypeError, KeyError):  # damage, which `ResumeCallback` reports
            state = read_object(directory / CHECKPOINTS / str(number) / checkpoints.STATE)
            return recipe_of({"precision": state["settings"]["precision"]}).precision
    return None


def epochs_of(settings: Mapping[str, Any], steps: int) -> int:
    """The number of epochs of a training with these settings."""
    return recipe_of({name: settings[name] for name in LENGTH}).epochs_of(steps)


def settings_of(
    model: keras.Model, recipe: Recipe, train: Split, validation: Split | None, teacher: keras.Model | None
) -> dict[str, Any]:
    """Everything that must be the same when a training is resumed, by name, as it is after writing and reading JSON."""
    settings = {
        **dataclasses.asdict(recipe),
        "model": fingerprint_of_shapes(model),
        "images": train.size,
        "validation": 0 if validation is None else validation.size,
        "classes": train.classes,
        "teacher": fingerprint(teacher),  # earlier versions had no teachers, and did not write it
    }
    return json.loads(json.dumps(settings))


def fingerprint_of_shapes(model: keras.Model) -> str:
    """A hash of the names and shapes of the variables of a model."""
    shapes = [[variable.name, *variable.shape] for variable in model.variables]
    return hashlib.sha256(json.dumps(shapes).encode()).hexdigest()


def _setting_text(name: str, value: Any) -> str:
    """A setting for an error message; `model` and `teacher` are hashes, and `classes` may be a long list."""
    teacher = "another teacher" if value else "no teacher"
    texts = {"model": "another model", "classes": "other classes", "teacher": teacher}
    return texts.get(name, f"{name}={value!r}")


def _synchronize_variables(model: keras.Model) -> None:
    """Gives the variables their values; on JAX they have none between two steps of `fit`."""
    if hasattr(model, "jax_state_sync"):
        model.jax_state_sync()
