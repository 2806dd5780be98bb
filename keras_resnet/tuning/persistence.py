"""What keeps a search safe: its files are whole at any moment, and what was finished is found again.

KerasTuner writes its files in place, so that a kill can leave half of one, on which it then stops; and it takes
`oracle.json` for the truth where a trial's own file knows better. Here both are written beside and renamed, the
`oracle.json` before is kept, and what the trials say is put into the oracle. Written against KerasTuner 1.4.8, whose
oracles have no public way to do this.
"""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

from keras_tuner import HyperParameters
from keras_tuner.engine.trial import Trial

from keras_resnet._internal.atomic_files import atomic_write
from keras_resnet.training.recipe import current_names

ORACLE, PREVIOUS, SEARCH = "oracle.json", "oracle.previous.json", "search.json"


def check(directory: Path, description: dict[str, Any]) -> None:
    """Raises a `ValueError` if `directory` holds another search; nothing there is touched."""
    files = [name for name in (SEARCH, ORACLE, PREVIOUS) if (directory / name).exists()]
    if not files:
        return
    found = _read(directory / SEARCH)
    if found is None:
        raise ValueError(
            f"directory must be new, or hold a search of this package. Received: {directory}, which holds "
            f"{', '.join(files)} and no readable {SEARCH}"
        )
    if "recipe" in found:
        found["recipe"] = current_names(found["recipe"])
    asked = json.loads(json.dumps(description))
    if other := sorted(name for name in {*asked, *found} if asked.get(name) != found.get(name)):
        raise ValueError(
            f"directory must be new, or hold the same search. Received: {directory}, whose {', '.join(other)} "
            f"{'is' if len(other) == 1 else 'are'} not the same"
        )


def persist(oracle: Any, directory: Path, description: dict[str, Any]) -> None:
    """Lets an oracle write whole files from now on, and take up what is in `directory`."""
    oracle.save = functools.partial(_save, oracle, directory)
    oracle._save_trial = functools.partial(_save_trial, directory)
    directory.mkdir(parents=True, exist_ok=True)
    if not (directory / SEARCH).exists():
        write(description, directory / SEARCH)
    _restore(oracle, directory)


def write(content: Any, path: Path) -> None:
    """Writes JSON."""
    with atomic_write(path) as aside:
        aside.write_text(json.dumps(content, indent=1))


def _save(oracle: Any, directory: Path) -> None:
    path = directory / ORACLE
    with atomic_write(path) as aside:
        aside.write_text(json.dumps(oracle.get_state()))
        if path.exists():
            path.replace(directory / PREVIOUS)


def _save_trial(directory: Path, trial: Any) -> None:
    path = directory / f"trial_{trial.trial_id}" / "trial.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    write(trial.get_state(), path)


def _restore(oracle: Any, directory: Path) -> None:
    paths = sorted(directory.glob("trial_*/trial.json"))
    oracle.trials = {path.parent.name.removeprefix("trial_"): _trial(path) for path in paths}
    state = _read(directory / ORACLE)
    if state is None:
        (directory / ORACLE).unlink(missing_ok=True)  # or it would become the one before
        state = _read(directory / PREVIOUS)
    if state is not None:
        for name in ("start_order", "end_order", "retry_queue"):
            state[name] = [trial for trial in state[name] if trial in oracle.trials]
        for bracket in state.get("brackets", ()):  # Hyperband's
            bracket["rounds"] = [[row for row in rows if row["id"] in oracle.trials] for rows in bracket["rounds"]]
        oracle.set_state({**state, "ongoing_trials": {}})
    for number, trial in oracle.trials.items():
        over = trial.status in ("COMPLETED", "FAILED")
        # A trial that was begun or ended after the oracle's last word; what was begun and not ended begins again.
        for order, belongs in (
            (oracle.start_order, True),
            (oracle.end_order, over),
            (oracle._retry_queue, not over),
        ):
            if belongs and number not in order:
                order.append(number)
        if over and number in oracle._retry_queue:
            oracle._retry_queue.remove(number)
        if not over:
            forget_metrics(trial)
        if trial.hyperparameters.values:
            oracle._record_values(trial)
    if hasattr(oracle, "_ordered_ids"):
        _restore_grid(oracle)


def forget_metrics(trial: Any) -> None:
    """For a trial that begins again: KerasTuner would keep what the first run reported, with the second's weights."""
    trial.metrics = type(trial.metrics)()


def _restore_grid(oracle: Any) -> None:
    """KerasTuner saves nothing of where a grid is, so that a search taken up would end at once."""
    compare = functools.cmp_to_key(oracle._compare)
    oracle._ordered_ids = type(oracle._ordered_ids)()
    known = [trial for trial in oracle.trials.values() if trial.hyperparameters.values]
    for trial in sorted(known, key=lambda trial: compare(trial.hyperparameters.values)):
        oracle._ordered_ids.insert(trial.trial_id)
    oracle._populate_next = [number for number in oracle.end_order if oracle.trials[number] in known]


def _trial(path: Path) -> Trial:
    """The trial of a file; where that is torn one that failed, as KerasTuner numbers trials by how many there are."""
    state = _read(path)
    if state is not None:
        return Trial.from_state(state)
    number = path.parent.name.removeprefix("trial_")
    return Trial(HyperParameters(), number, "FAILED", f"{path} cannot be read")


def _read(path: Path) -> Any:
    """What a file of JSON holds; None where it is torn or absent."""
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError):
        return None
