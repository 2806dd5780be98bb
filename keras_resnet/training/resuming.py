"""What keeps a training safe: it can be killed at any moment and goes on where it was, to the same end."""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import hashlib
import json
import math
import signal
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import FrameType
from typing import Any

import keras
import numpy as np

from keras_resnet._internal.atomic_files import atomic_write
from keras_resnet._internal.keras_graph import build_metrics_and_optimizer
from keras_resnet.data import Split
from keras_resnet.training import checkpoints
from keras_resnet.training.distribution import Placement, gather
from keras_resnet.training.ema import average_weights, swap_average, update_average_statistics
from keras_resnet.training.recipe import Recipe, current_names

CHECK_EVERY = 20  # steps between two looks at the loss: to look is to wait for the device
CHECKPOINTS, BEST = "checkpoints", "best.npz"


class DivergedError(ValueError):
    """The loss is no finite number any more."""


class Stopped(KeyboardInterrupt):
    """Ctrl-C or SIGTERM, which is its `signal`; where there is a directory, all was saved."""

    def __init__(self, message: str, number: signal.Signals) -> None:
        super().__init__(message)
        self.signal = number


@dataclasses.dataclass
class State:
    """Where a training is: beside the variables, all that it has to know to go on."""

    epoch: int = 0  # that are over
    step: int = 0  # of the epoch that is not
    ended: bool = False  # by a callback, before the last epoch
    history: dict[str, list[float]] = dataclasses.field(default_factory=dict)
    best: float = -math.inf  # validation accuracy
    best_epoch: int | None = None
    seconds: float = 0.0  # of training and validation


class ResumeCallback(keras.callbacks.Callback):
    """Records the history, keeps the best weights, and saves a checkpoint after each epoch and when told to stop.

    Args:
        model: compiled.
        recipe: of the training; with `validation_split` in it, the best epoch is chosen by validation accuracy.
        train: the images.
        steps: of an epoch.
        directory: for checkpoints and history.csv, and where the newest checkpoint is taken up; or None.
        where: it runs; the first of several processes is the one that writes.

    Raises:
        ValueError: the newest checkpoint in `directory` is of another training, or not the same for all processes.
    """

    def __init__(
        self, model: keras.Model, recipe: Recipe, train: Split, steps: int, directory: Path | None, where: Placement
    ) -> None:
        super().__init__()
        self.set_model(model)
        self.steps, self.chooses, self.directory, self.where = steps, recipe.validation_split > 0, directory, where
        self.writes = where.process == 0
        self.settings = _settings(model, recipe, train)
        self.state = State()
        self.best: list[np.ndarray] | None = None
        self.signal: signal.Signals | None = None
        self.sums: list[np.ndarray] = []
        found = directory and checkpoints.newest(directory / CHECKPOINTS)
        if len(set(gather(int(found.path.name) if found else -1, where))) > 1:
            raise ValueError(f"directory must be one that all processes see. Received: {directory}, where some do not")
        if found:
            self._restore(found)

    def _restore(self, found: checkpoints.Checkpoint) -> None:
        settings = current_names(found.state.pop("settings"))
        if settings != self.settings:
            other = ", ".join(name for name in self.settings if settings.get(name) != self.settings[name])
            raise ValueError(
                f"directory must be new, or hold a training with the same settings. "
                f"Received: {self.directory}, where {other} is another"
            )
        self.state = State(**found.state)
        # Keras makes the variables of metrics and optimizer when it sees a first batch.
        image, target = (keras.KerasTensor((1, *x.shape[1:])) for x in (self.model.inputs[0], self.model.output))
        build_metrics_and_optimizer(self.model, image, target)
        assign(self.model.variables, found.arrays, "model")
        assign(self.model.optimizer.variables, found.arrays, "optimizer")
        self.sums = [array for name, array in found.arrays.items() if name.startswith("sums/")]
        best = found.path.with_name(BEST)
        if self.state.best_epoch is not None and best.exists():
            self.best = list(checkpoints.read_arrays(best).values())

    def finish(self) -> list[np.ndarray]:
        """Leaves the model with what the training results in; returns the weights of the last epoch."""
        swap_average(self.model)
        last = self.model.get_weights()
        for variable, value in zip(self.model.variables, self.best or ()):
            variable.assign(value)
        return last

    def on_train_begin(self, logs: Any = None) -> None:
        """Starts the clock."""
        self.clock = time.monotonic()

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """An epoch that goes on has its sums again."""
        for variable, value in zip(self.model.metrics_variables, self.sums):
            variable.assign(value)
        self.sums = []

    def on_train_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Looks whether the training is sound, and whether it is to stop."""
        self.state.step += 1
        looks = self.state.step % CHECK_EVERY == 0
        if looks or self.state.step == self.steps:  # before a validation
            steps = self.state.step % CHECK_EVERY or CHECK_EVERY
            update_average_statistics(self.model, steps, first=self.state.epoch == 0 and self.state.step == steps)
        if looks or (self.signal and self.where.processes == 1):
            self._check(logs or {})
            if self._told_to_stop() and self.state.step < self.steps:  # at the end that is for `on_epoch_end`
                self._stop()

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Records and saves."""
        logs = logs or {}
        self._check(logs)
        self._record(logs)
        self.state.epoch, self.state.step = epoch + 1, 0
        self.state.ended = self.model.stop_training
        if self.chooses and logs["val_accuracy"] > self.state.best:
            self.state.best, self.state.best_epoch = float(logs["val_accuracy"]), epoch + 1
            self._keep_best()
        self.save()
        if self._told_to_stop():
            self._stop(saved=True)

    def save(self) -> None:
        """Writes a checkpoint of now, if the weights are sound."""
        now = time.monotonic()
        self.state.seconds, self.clock = self.state.seconds + now - self.clock, now
        groups = {
            "model": self.model.variables,
            "optimizer": self.model.optimizer.variables,
            "sums": self.model.metrics_variables if self.state.step else [],
        }
        arrays = {
            f"{group}/{number}": keras.ops.convert_to_numpy(variable)
            for group, variables in groups.items()
            for number, variable in enumerate(variables)
        }
        if not all(np.isfinite(array).all() for array in arrays.values()):
            raise self._diverged("a weight")  # in the last step, after its loss was seen
        if self.directory is None or not self.writes:
            return
        state = {**dataclasses.asdict(self.state), "settings": self.settings}
        checkpoints.save(self.directory / CHECKPOINTS, self.state.epoch * self.steps + self.state.step, arrays, state)
        write_history(self.state.history, self.directory / "history.csv")

    def _record(self, logs: Mapping[str, Any]) -> None:
        """One number an epoch and name, not a number where there is none: callbacks need not always log the same."""
        history, before = self.state.history, len(next(iter(self.state.history.values()), ()))
        for name in {**history, **logs}:
            history.setdefault(name, [math.nan] * before).append(float(logs.get(name, math.nan)))

    def _check(self, logs: Mapping[str, Any]) -> None:
        loss = float(logs.get("loss", 0))
        if not math.isfinite(loss):
            _synchronise(self.model)
            raise self._diverged(f"the loss, {loss},")

    def _diverged(self, what: str) -> DivergedError:
        kept = self.directory and checkpoints.newest(self.directory / CHECKPOINTS)
        return DivergedError(
            f"{what} is no finite number in epoch {self.state.epoch + 1}, step {self.state.step}; a lower "
            f"learning_rate, a longer warmup or clip_norm=1 may help. "
            + (f"The last good checkpoint is {kept.path}" if kept else "No checkpoint was saved before")
        )

    def _keep_best(self) -> None:
        with average_weights(self.model):
            self.best = [keras.ops.convert_to_numpy(variable) for variable in self.model.variables]
        if self.directory and self.writes:
            (self.directory / CHECKPOINTS).mkdir(parents=True, exist_ok=True)
            path = self.directory / CHECKPOINTS / BEST
            with atomic_write(path) as aside:
                checkpoints.write_arrays({str(number): array for number, array in enumerate(self.best)}, aside)

    def _told_to_stop(self) -> bool:
        """Whether any process is to: they stop after the same step, since none can take one alone."""
        told = max(gather(self.signal or 0, self.where))
        if told:
            self.signal = signal.Signals(told)
        return bool(told)

    def _stop(self, saved: bool = False) -> None:
        _synchronise(self.model)
        if not saved:
            self.save()
        number = self.signal or signal.SIGTERM
        where = f"epoch {self.state.epoch + 1}, step {self.state.step} of {self.steps}"
        kept = f"; saved in {self.directory}, the same call goes on from there" if self.directory else ""
        raise Stopped(f"stopped by {number.name} in {where}{kept}", number)

    @contextlib.contextmanager
    def stop_on_signals(self) -> Iterator[None]:
        """Ctrl-C and SIGTERM end the training after the step at hand; a second one ends it at once.

        Several processes stop together, where all look at the loss.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def heed(number: int, frame: FrameType | None) -> None:
            self.signal = signal.Signals(number)
            signal.signal(number, before[signal.Signals(number)])

        before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        for number in before:
            signal.signal(number, heed)
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


class LearningRateInLogs(keras.callbacks.Callback):
    """Gives the callbacks after it the learning rate; in every process, as it is computed on the devices of all."""

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Adds it."""
        if logs is not None:
            logs["learning_rate"] = float(keras.ops.convert_to_numpy(self.model.optimizer.learning_rate))


def assign(variables: list[Any], arrays: Mapping[str, np.ndarray], group: str) -> None:
    """Gives `variables` their values of a checkpoint."""
    for number, variable in enumerate(variables):
        variable.assign(arrays[f"{group}/{number}"])


def write_history(history: Mapping[str, list[float]], path: Path) -> None:
    """One line an epoch; nothing where there is no number."""
    with atomic_write(path) as aside, aside.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["epoch", *history])
        for epoch, values in enumerate(zip(*history.values(), strict=True), start=1):
            writer.writerow([epoch, *("" if math.isnan(value) else value for value in values)])


def _settings(model: keras.Model, recipe: Recipe, train: Split) -> dict[str, Any]:
    """What must be the same for a training to go on, by name, as JSON gives it back."""
    shapes = [[variable.name, *variable.shape] for variable in model.variables]
    settings = {
        **dataclasses.asdict(recipe),
        "model": hashlib.sha256(json.dumps(shapes).encode()).hexdigest(),
        "images": train.size,
        "classes": train.classes,
    }
    return json.loads(json.dumps(settings))


def _synchronise(model: keras.Model) -> None:
    """On JAX the variables have no values between the steps until they are asked for."""
    if hasattr(model, "jax_state_sync"):
        model.jax_state_sync()
