"""A search by several processes: KerasTuner's chief, which draws the trials, and workers, which run them.

The chief has no authentication and no encryption: whoever reaches its port can give it results. It binds to the
loopback interface unless it is told another address; let that be one of a private network.

KerasTuner's chief waits for ever for a worker that was killed. Here a worker lets the chief hear from it while it
trains, by asking for its own trial; the trial of one that has fallen silent is given to another.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import keras_tuner
from keras_tuner.engine.trial import TrialStatus
from keras_tuner.src.engine import conditions

from keras_resnet.tuning.persistence import forget_metrics

LOOPBACK = "127.0.0.1:8000"


def join(name: str, address: str = LOOPBACK) -> None:
    """Lets this process be the chief of a search, or a worker of it; call it before the tuner is made.

    Chief and workers make the same tuner and call the same `search`, with a directory that all of them see. The
    chief's returns when the search is over.

    Args:
        name: "chief", or one that no other worker has.
        address: HOST:PORT of the chief: what it binds to, and where workers find it. It has no authentication: give
            it no address that strangers can reach.

    Raises:
        ValueError: `name` or `address` is not of that form.

    Example:
        >>> import keras_resnet as kr
        >>> kr.tuning.join("worker-1", "127.0.0.1:8000")  # doctest: +SKIP
    """
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal():
        raise ValueError(f"address must be HOST:PORT. Received: address={address!r}")
    # By that word KerasTuner knows the chief; after its name it calls a file.
    if not name or (name != "chief" and "chief" in name) or "/" in name:
        raise ValueError(f'name must be "chief", or a worker\'s without that word and "/". Received: name={name!r}')
    # A print was left in KerasTuner 1.4.8's `Parent.to_proto`: each message between the processes would tell the gate.
    conditions.print = lambda *_, **__: None
    os.environ.update(KERASTUNER_TUNER_ID=name, KERASTUNER_ORACLE_IP=host, KERASTUNER_ORACLE_PORT=port)


def check_free() -> None:
    """Raises a `ValueError` if the chief's address is taken.

    gRPC would let two chiefs have one port, and the system give each worker either of them.
    """
    host, port = (os.environ[f"KERASTUNER_ORACLE_{part}"] for part in ("IP", "PORT"))
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        socket.create_server((host.strip("[]"), int(port)), family=family).close()
    except OSError as error:
        raise ValueError(
            f"address must be a free one of this machine, for the chief. Received: {host}:{port}, {error}"
        ) from error


@contextlib.contextmanager
def watch_workers(oracle: Any, patience: float) -> Iterator[None]:
    """On the chief: gives the trials of workers that are silent for `patience` seconds to others."""
    last_heard: dict[str, float] = {}
    create, get, end = oracle.create_trial, oracle.get_trial, oracle.end_trial

    def create_trial(tuner_id: str) -> Any:
        last_heard[tuner_id] = time.monotonic()
        trial = create(tuner_id)
        if trial.status == TrialStatus.STOPPED and (oracle.ongoing_trials or oracle._retry_queue):
            # The worker may be needed yet, should one of the others fall silent.
            oracle.tuner_ids.add(tuner_id)
            trial.status = TrialStatus.IDLE
        return trial

    def get_trial(trial_id: str) -> Any:
        for tuner_id, trial in list(oracle.ongoing_trials.items()):
            if trial.trial_id == trial_id:
                last_heard[tuner_id] = time.monotonic()
        return get(trial_id)

    def end_trial(trial: Any) -> None:
        if trial.trial_id in oracle._retry_queue:  # its worker was silent, and at work
            oracle._retry_queue.remove(trial.trial_id)
        end(trial)

    def look() -> None:
        for tuner_id in list(oracle.tuner_ids):
            if time.monotonic() - last_heard.setdefault(tuner_id, time.monotonic()) > patience:
                _forget(oracle, tuner_id)

    oracle.create_trial, oracle.get_trial, oracle.end_trial = create_trial, get_trial, end_trial
    with _every(min(1.0, patience / 4), look):
        yield


@contextlib.contextmanager
def send_heartbeats(tuner: Any, patience: float) -> Iterator[None]:
    """On a worker: lets the chief hear from it, as long as a trial runs."""

    def ask() -> None:
        if tuner.running is not None:
            with contextlib.suppress(grpc.RpcError):  # the next may come through
                tuner.oracle.get_trial(tuner.running)

    with _every(patience / 4, ask):
        yield


@keras_tuner.synchronized
def _forget(oracle: Any, tuner_id: str) -> None:
    oracle.tuner_ids.discard(tuner_id)
    trial = oracle.ongoing_trials.get(tuner_id)
    if trial is not None:
        print(f"nothing heard of {tuner_id}: trial {trial.trial_id} begins again")
        forget_metrics(trial)
        oracle._retry_queue.append(trial.trial_id)  # before it is taken from the others: `create_trial` looks at both
        del oracle.ongoing_trials[tuner_id]
        oracle.save()


@contextlib.contextmanager
def _every(seconds: float, act: Callable[[], None]) -> Iterator[None]:
    over = threading.Event()

    def repeat() -> None:
        while not over.wait(seconds):
            act()

    thread = threading.Thread(target=repeat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
