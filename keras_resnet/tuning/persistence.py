"""Files of a search that survive a kill: atomic file writes, and recovery of all finished trials.

KerasTuner overwrites its files in place. If the process is killed during a write, half of a file remains, and
KerasTuner then fails on it. It also trusts `oracle.json` if the file of a trial is newer.

Here both kinds of files are written to a temporary file, which is then renamed. The previous `oracle.json` is kept,
and the oracle is updated from the files of the trials. A trial whose file is gone or incomplete stays as a failed
trial, because KerasTuner uses the number of trials as the number of the next trial. A file that is complete, but not as
it was written, is an error. This was written for KerasTuner 1.4.8, whose oracles have no
public functions for it.
"""

from __future__ import annotations

import contextlib
import functools
import json
import logging
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import keras
from keras_tuner import HyperParameters
from keras_tuner.engine.hyperparameters import Choice
from keras_tuner.engine.trial import Trial
from keras_tuner.errors import FatalError

from keras_resnet._internal.atomic_files import CannotWriteError, atomic_write
from keras_resnet._internal.keras_graph import weights_file
from keras_resnet._internal.validation import one_of
from keras_resnet.training.recipe import current_names

ORACLE, PREVIOUS, SEARCH = "oracle.json", "oracle.previous.json", "search.json"
MOST_TRIALS = 1_000_000  # numbers of trials that are gone are filled up to the last one
STATUSES = ("RUNNING", "IDLE", "INVALID", "STOPPED", "COMPLETED", "FAILED")
LOGGER = logging.getLogger("keras_resnet.tuning")


class CheckpointError(FatalError, CannotWriteError):
    """A checkpoint cannot be written. KerasTuner ends the search, and does not take it for a network that fails."""


class AtomicCheckpoint:
    """Stands for a model in KerasTuner's callback, and saves its weights atomically.

    Args:
        model: the model.
    """

    def __init__(self, model: keras.Model) -> None:
        self._model = model

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def save_weights(self, path: str) -> None:
        """Writes a `.weights.h5` file.

        Raises:
            CheckpointError: the file cannot be written, for example on a full disk; one that was there before stays.
        """
        try:
            with atomic_write(Path(path)) as temporary:
                temporary.write_bytes(weights_file(self._model))
        except CannotWriteError as error:
            raise CheckpointError(error.errno, error.strerror) from error


def check(directory: Path, description: dict[str, Any]) -> None:
    """Raises a `ValueError` if `directory` holds another search. No file in it is changed."""
    files = [name for name in (SEARCH, ORACLE, PREVIOUS) if (directory / name).exists()]
    if not files:
        return
    stored = _read(directory / SEARCH)
    if not isinstance(stored, dict):
        raise ValueError(
            f"directory must be new, or hold a search of this package. Received: {directory}, which holds "
            f"{', '.join(files)} and no readable {SEARCH}; choose another directory"
        )
    stored = _with_current_names(stored)
    requested = json.loads(json.dumps(description))
    names = {*requested, *stored}
    if different := sorted(name for name in names if requested.get(name) != stored.get(name)):
        raise ValueError(
            f"directory must be new, or hold the same search. Received: {directory}, whose {', '.join(different)} "
            f"{'is' if len(different) == 1 else 'are'} not the same; choose another directory for a new search"
        )


def _with_current_names(stored: dict[str, Any]) -> dict[str, Any]:
    """The description of a search of an earlier version, as this version writes it."""
    renamed = dict(stored)
    if isinstance(stored.get("recipe"), dict):
        renamed["recipe"] = current_names(stored["recipe"])
    if isinstance(stored.get("reward"), str):
        renamed["reward"] = stored["reward"].replace("Limited(", "MnasNetReward(")
    if isinstance(stored.get("base"), str):
        base = stored["base"].replace("strided=1", "stride_in='1x1'")
        renamed["base"] = base.replace("strided=2", "stride_in='3x3'")
    return renamed


def persist(oracle: Any, directory: Path, description: dict[str, Any]) -> None:
    """Makes an oracle write its files atomically from now on, and restores the search in `directory`."""
    oracle.save = functools.partial(_save, oracle, directory)
    oracle._save_trial = functools.partial(_save_trial, directory)
    directory.mkdir(parents=True, exist_ok=True)
    if not (directory / SEARCH).exists():
        write(description, directory / SEARCH)
    _restore(oracle, directory)


def refresh(oracle: Any, directory: Path) -> None:
    """Restores the search again if another process has changed `directory` in the meantime."""
    if _read(directory / ORACLE) != json.loads(json.dumps(oracle.get_state())):
        _restore(oracle, directory)


def write(content: Any, path: Path) -> None:
    """Writes `content` to a JSON file, atomically."""
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1))


def _save(oracle: Any, directory: Path) -> None:
    path = directory / ORACLE
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(oracle.get_state()))
        if path.exists():
            path.replace(directory / PREVIOUS)


def _save_trial(directory: Path, trial: Any) -> None:
    path = directory / f"trial_{trial.trial_id}" / "trial.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    write(trial.get_state(), path)


def _restore(oracle: Any, directory: Path) -> None:
    path = directory / ORACLE
    state = _read(path)
    if state is None:
        path.unlink(missing_ok=True)  # otherwise the next save would keep it as the previous file
        path = directory / PREVIOUS
        state = _read(path)
    if state is None:
        state = {**oracle.get_state(), "start_order": [], "end_order": [], "retry_queue": []}
    remedy = "remove this file: the search goes on with the files of its trials"
    with _named(path, remedy):
        numbers = _numbers(directory, state["start_order"])
    oracle.trials = {number: _trial(oracle, directory, number) for number in numbers}
    with _named(path, remedy):
        for name in ("start_order", "end_order", "retry_queue"):
            state[name] = [trial for trial in state[name] if trial in oracle.trials]
        for bracket in state.get("brackets", ()):  # Hyperband's
            bracket["rounds"] = [[row for row in rows if row["id"] in oracle.trials] for rows in bracket["rounds"]]
        # Lost trials did not end: KerasTuner would count them as failures in a row, which end a search.
        state["end_order"] = [trial for trial in state["end_order"] if oracle.trials[trial].hyperparameters.values]
        oracle.set_state({**state, "ongoing_trials": {}})
    for number, trial in oracle.trials.items():
        finished = trial.status in ("COMPLETED", "FAILED")
        # Trials that started or finished after the last save of the oracle are added. Unfinished trials start again.
        for order, is_member in (
            (oracle.start_order, True),
            (oracle.end_order, finished and trial.hyperparameters.values),
            (oracle._retry_queue, not finished),
        ):
            if is_member and number not in order:
                order.append(number)
        if finished and number in oracle._retry_queue:
            oracle._retry_queue.remove(number)
        if not finished:
            forget_metrics(trial)
        if trial.hyperparameters.values:
            oracle._record_values(trial)
    if hasattr(oracle, "_ordered_ids"):
        _restore_grid(oracle)


def forget_metrics(trial: Any) -> None:
    """Removes the metrics of a trial that starts again.

    Otherwise KerasTuner could keep the metrics of the first run with the weights of the second run.
    """
    trial.metrics = type(trial.metrics)()


def _restore_grid(oracle: Any) -> None:
    """Restores the position in a grid. KerasTuner does not save it, so a resumed search would end at once."""
    compare = functools.cmp_to_key(oracle._compare)
    oracle._ordered_ids = type(oracle._ordered_ids)()
    with_values = [trial for trial in oracle.trials.values() if trial.hyperparameters.values]
    for trial in sorted(with_values, key=lambda trial: compare(trial.hyperparameters.values)):
        oracle._ordered_ids.insert(trial.trial_id)
    oracle._populate_next = [number for number in oracle.end_order if oracle.trials[number] in with_values]


def _numbers(directory: Path, started: Sequence[str]) -> list[str]:
    """The numbers of all trials that began, as KerasTuner writes them; also of those whose directories are gone."""
    found = [path.parent.name.removeprefix("trial_") for path in directory.glob("trial_*/trial.json")]
    numbers = {number for number in (*started, *found) if number.isdecimal()}
    if (last := max(map(int, numbers), default=0)) > MOST_TRIALS:
        raise ValueError(f"the number of a trial must be at most {MOST_TRIALS:,}. Received: {last}")
    gone = set(range(last)) - set(map(int, numbers))
    width = max(map(len, numbers), default=1)
    return sorted(numbers | {str(number).zfill(width) for number in gone}, key=int)


def _trial(oracle: Any, directory: Path, number: str) -> Trial:
    """The trial with this number, or a failed trial if its file is gone or incomplete."""
    path = directory / f"trial_{number}" / "trial.json"
    state = _read(path)
    if state is None:
        return _failed(Trial(HyperParameters(), number), f"{path} cannot be read")
    with _named(path, f"remove the directory {path.parent.name}: its trial then counts as failed"):
        trial = Trial.from_state(state)
        one_of("trial_id", trial.trial_id, (number,))
        one_of("status", trial.status, STATUSES)
        for parameter in oracle.hyperparameters.space:
            # Of a range (`Float`, `Int`) `values` are only examples.
            if parameter.name in trial.hyperparameters.values and isinstance(parameter, Choice):
                one_of(parameter.name, trial.hyperparameters.values[parameter.name], parameter.values)
        if trial.status == "COMPLETED" and not is_score(trial.score):
            return _failed(trial, f"{path} has the score {trial.score}")
    return trial


def _failed(trial: Trial, reason: str) -> Trial:
    """The trial with the status of a failed one; a line in the log says why."""
    LOGGER.warning("trial %s counts as failed: %s", trial.trial_id, reason)
    trial.status, trial.message = "FAILED", reason
    return trial


def is_score(score: Any) -> bool:
    """Whether a trial can be ranked by its score. NaN is neither above nor below another number."""
    return isinstance(score, (int, float)) and math.isfinite(score)


@contextlib.contextmanager
def _named(path: Path, remedy: str) -> Iterator[None]:
    """Replaces an error about the content of a file by a `ValueError` that names the file."""
    try:
        yield
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"directory must hold the files of a search as it wrote them. Received: {path}, {type(error).__name__}: "
            f"{error!s:.200}; {remedy}; or choose another directory"
        ) from error


def _read(path: Path) -> Any:
    """The content of a JSON file; None if the file is missing or incomplete."""
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError):
        return None
