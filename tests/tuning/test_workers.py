"""A search by several processes. It ends even if a worker is killed, and by default only this machine can reach it."""

import os
import signal
import socket
import time
from concurrent import futures

import grpc
import pytest
from keras_tuner.src.engine import conditions

import keras_resnet as kr
from keras_resnet.tuning import workers
from tests import processes
from tests.tuning.test_tuners import space_of, tuner_of

VARIABLES = ("KERASTUNER_TUNER_ID", "KERASTUNER_ORACLE_IP", "KERASTUNER_ORACLE_PORT")


@pytest.fixture
def environment(monkeypatch):
    for name in VARIABLES:
        monkeypatch.setenv(name, "")
    return lambda: tuple(map(os.environ.get, VARIABLES))


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


@pytest.mark.slow
@pytest.mark.processes
def test_a_search_by_a_chief_and_two_workers_ends_though_one_is_killed_in_a_trial(tmp_path):
    address = f"127.0.0.1:{free_port()}"
    chief, lost, other = (
        processes.start("-m", "tests.tuning_worker", name, address, tmp_path)
        for name in ("chief", "worker-1", "worker-2")
    )
    lost.wait_for("begins")
    lost.kill(signal.SIGKILL)
    assert lost.end().returncode == -signal.SIGKILL
    assert other.end().returncode == 0
    ended = chief.end()
    assert ended.returncode == 0, ended.stderr
    assert "no message from worker-1: trial" in ended.stdout
    trials = tuner_of("RandomSearch", tmp_path, 6).oracle.trials.values()
    assert [trial.status for trial in trials] == ["COMPLETED"] * 6  # also the trial of the killed worker


@pytest.mark.slow
def test_a_lost_trial_begins_again_where_the_space_has_no_other_points_either(tmp_path):
    oracle = tuner_of("RandomSearch", tmp_path, 100, space_of(tune=("gate",), max_macs=None)).oracle
    oracle.verbose = 0
    with workers.watch_workers(oracle, patience=1.0):
        lost = oracle.create_trial("worker-1").trial_id
        oracle.update_trial(lost, {"val_accuracy": 1.0})  # the worker is killed before it reports the end of the trial
        while (trial := oracle.create_trial("worker-2")).status != "STOPPED":
            if trial.status == "RUNNING":
                assert not trial.metrics.exists("val_accuracy")
                oracle.update_trial(trial.trial_id, {"val_accuracy": 0.5})
                trial.status = "COMPLETED"
                oracle.end_trial(trial)
            time.sleep(0.1)
    assert {trial.status for trial in oracle.trials.values()} == {"COMPLETED"}
    assert oracle.trials[lost].score == 0.5


def test_the_chief_is_on_the_loopback_interface_unless_told_otherwise(environment):
    kr.tuning.join("chief")
    assert environment() == ("chief", "127.0.0.1", "8000")
    kr.tuning.join("worker-1", "10.0.0.7:9000")
    assert environment() == ("worker-1", "10.0.0.7", "9000")


def test_what_is_said_between_processes_is_not_printed(environment, capsys):
    kr.tuning.join("worker-1")
    message = conditions.Parent("gate", ["squeeze_excite"]).to_proto()
    assert message.parent.values[0].string_value == "squeeze_excite"
    assert capsys.readouterr().out == ""


def test_a_worker_has_no_results_and_one_of_another_space_is_refused(tmp_path, monkeypatch, environment):
    for name in VARIABLES:
        monkeypatch.delenv(name)
    tuner_of("RandomSearch", tmp_path)
    kr.tuning.join("worker-1", "127.0.0.1:9")
    worker = tuner_of("RandomSearch", tmp_path)
    with pytest.raises(ValueError, match="tuner must be the tuner of the chief process"):
        kr.tuning.trial_results(worker)
    with pytest.raises(ValueError, match="whose space is not the same"):
        tuner_of("RandomSearch", tmp_path, space=space_of(tune=("width",)))


def test_a_second_chief_on_an_address_is_refused(tmp_path, environment):
    first = grpc.server(futures.ThreadPoolExecutor(1))
    port = first.add_insecure_port("127.0.0.1:0")
    first.start()
    kr.tuning.join("chief", f"127.0.0.1:{port}")
    with pytest.raises(ValueError, match=f"address must be a free address .* Received: 127.0.0.1:{port}"):
        tuner_of("RandomSearch", tmp_path).search(verbose=0)
    first.stop(None).wait()


@pytest.mark.parametrize(
    ("name", "address", "message"),
    [
        ("chief", "10.0.0.7", "address must be HOST:PORT"),
        ("chief", ":8000", "address must be HOST:PORT"),
        ("", "10.0.0.7:8000", 'name must be "chief"'),
        ("undersecretary-to-the-chief", "10.0.0.7:8000", 'for a worker a name without "chief"'),
        ("lab/1", "10.0.0.7:8000", 'and without "/"'),
    ],
)
def test_what_is_no_name_or_address_is_refused(name, address, message, environment):
    with pytest.raises(ValueError, match=message):
        kr.tuning.join(name, address)
