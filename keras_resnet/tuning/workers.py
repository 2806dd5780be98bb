"""A search by several processes: KerasTuner's chief draws the trials, and workers run them.

The chief has no authentication and no encryption: anyone who can reach its port can send it results. By default it
listens on the loopback interface only. If you give it another address, use one in a private network.

KerasTuner's chief waits forever for a worker that was killed. Here each worker sends heartbeats to the chief while it
trains: it requests its own trial. If a worker sends nothing for some time, another worker gets its trial.
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


def join(process_name: str, chief_address: str = LOOPBACK) -> None:
    """Makes this process the chief or a worker of a search. Call it before you create the tuner.

    The chief and all workers create the same tuner and call `search` with the same arguments, with a directory that all
    of them can read and write. `search` returns in the chief when the search is finished.

    Args:
        process_name: "chief", or a name that no other worker has.
        chief_address: HOST:PORT of the chief. The chief listens on this address, and workers connect to it. It has no
            authentication: use loopback or a private network only.

    Raises:
        ValueError: `chief_address` is not HOST:PORT; or `process_name` is empty, contains "/",
            or contains "chief" and is longer.

    Example:
        >>> import keras_resnet as kr
        >>> kr.tuning.join("worker-1", "127.0.0.1:8000")  # doctest: +SKIP
    """
    host, _, port = chief_address.rpartition(":")
    if not host or not port.isdecimal():
        raise ValueError(
            f"chief_address must be HOST:PORT, for example {LOOPBACK}. Received: chief_address={chief_address!r}"
        )
    # KerasTuner recognizes the chief by this word in the name, and uses the name in a file name.
    if not process_name or (process_name != "chief" and "chief" in process_name) or "/" in process_name:
        raise ValueError(
            'process_name must be "chief", or for a worker a name without "chief" and without "/". '
            f"Received: process_name={process_name!r}"
        )
    # `Parent.to_proto` in KerasTuner 1.4.8 has a forgotten print, which would run for each message between processes.
    conditions.print = lambda *_, **__: None
    os.environ.update(KERASTUNER_TUNER_ID=process_name, KERASTUNER_ORACLE_IP=host, KERASTUNER_ORACLE_PORT=port)


def check_free() -> None:
    """Raises a `ValueError` if another process uses the chief's address.

    gRPC allows two chiefs on one port. The operating system would then connect each worker to one of the two.
    """
    host, port = (os.environ[f"KERASTUNER_ORACLE_{part}"] for part in ("IP", "PORT"))
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        socket.create_server((host.strip("[]"), int(port)), family=family).close()
    except OSError as error:
        raise ValueError(
            f"chief_address must be a free address of this machine. Received: {host}:{port}, {error}"
        ) from error


@contextlib.contextmanager
def watch_workers(oracle: Any, patience: float) -> Iterator[None]:
    """In the chief: if a worker sends nothing for `patience` seconds, its trial is given to another worker."""
    last_heard: dict[str, float] = {}
    create, get, end = oracle.create_trial, oracle.get_trial, oracle.end_trial

    def create_trial(tuner_id: str) -> Any:
        last_heard[tuner_id] = time.monotonic()
        trial = create(tuner_id)
        if trial.status == TrialStatus.STOPPED and (oracle.ongoing_trials or oracle._retry_queue):
            # The worker is needed again if another worker is lost.
            oracle.tuner_ids.add(tuner_id)
            trial.status = TrialStatus.IDLE
        return trial

    def get_trial(trial_id: str) -> Any:
        for tuner_id, trial in list(oracle.ongoing_trials.items()):
            if trial.trial_id == trial_id:
                last_heard[tuner_id] = time.monotonic()
        return get(trial_id)

    def end_trial(trial: Any) -> None:
        if trial.trial_id in oracle._retry_queue:  # its worker sent nothing for a while, but did not stop
            oracle._retry_queue.remove(trial.trial_id)
        end(trial)

    def check_workers() -> None:
        for tuner_id in list(oracle.tuner_ids):
            if time.monotonic() - last_heard.setdefault(tuner_id, time.monotonic()) > patience:
                _give_up_worker(oracle, tuner_id)

    oracle.create_trial, oracle.get_trial, oracle.end_trial = create_trial, get_trial, end_trial
    with _call_every(min(1.0, patience / 4), check_workers):
        yield


@contextlib.contextmanager
def send_heartbeats(tuner: Any, patience: float) -> Iterator[None]:
    """In a worker: sends a message to the chief at regular intervals while a trial runs."""

    def send() -> None:
        if tuner.running is not None:
            with contextlib.suppress(grpc.RpcError):  # the next message may arrive
                tuner.oracle.get_trial(tuner.running)

    with _call_every(patience / 4, send):
        yield


@keras_tuner.synchronized
def _give_up_worker(oracle: Any, tuner_id: str) -> None:
    oracle.tuner_ids.discard(tuner_id)
    trial = oracle.ongoing_trials.get(tuner_id)
    if trial is not None:
        print(f"no message from {tuner_id}: trial {trial.trial_id} starts again")
        forget_metrics(trial)
        oracle._retry_queue.append(trial.trial_id)  # before the next line, because `create_trial` looks at both
        del oracle.ongoing_trials[tuner_id]
        oracle.save()


@contextlib.contextmanager
def _call_every(seconds: float, function: Callable[[], None]) -> Iterator[None]:
    stopped = threading.Event()

    def repeat() -> None:
        while not stopped.wait(seconds):
            function()

    thread = threading.Thread(target=repeat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stopped.set()
        thread.join()
