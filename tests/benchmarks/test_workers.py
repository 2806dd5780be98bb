"""Tests of how subjects are measured: in turns, each in its own process."""

import os
import signal
import time

import pytest

from benchmarks.measure import Rates, in_turns, repeated, timed
from benchmarks.workers import SubjectError, UnavailableError, needs, workers
from tests import benchmark_subjects as subjects


def test_subjects_take_turns_after_warming_up():
    order = []

    def subject(name):
        return lambda: order.append(name) or 1.0

    in_turns({"a": subject("a"), "b": subject("b")}, 2)
    assert order == ["a", "b", "a", "b", "a", "b"]


def test_the_warming_up_does_not_count():
    durations = iter([100.0, 1.0, 2.0, 3.0])
    assert in_turns({"a": lambda: next(durations)}, 3)["a"].rounds == [1.0, 2.0, 3.0]


def test_a_ratio_is_that_within_the_rounds_so_that_drift_falls_out():
    ours, theirs = Rates([20.0, 2.0, 10.0]), Rates([10.0, 1.0, 5.0])
    assert ours.over(theirs) == 2.0
    assert ours.median == 10.0


def test_a_rate_is_work_over_time():
    assert 0 < timed(1.0, lambda: sum(range(100_000)))() < timed(1.0, lambda: None)()


@pytest.mark.slow
def test_what_is_quick_is_repeated_for_the_seconds_asked_and_what_is_slow_is_done_once():
    calls = []
    rate = repeated(3.0, lambda: calls.append(time.sleep(0.01)), 1.0)
    assert 2 <= len(calls) <= 100
    assert 0 < rate <= 3.0 / 0.01
    calls.clear()
    repeated(1.0, lambda: calls.append(time.sleep(0.01)), 0.001)
    assert len(calls) == 1


@pytest.mark.slow
@pytest.mark.processes
def test_a_worker_is_a_process_of_its_own_that_stays():
    left_out = {}
    builds = {"one": subjects.number_of_the_process, "two": subjects.number_of_the_process}
    with workers(builds, left_out.__setitem__) as started:
        first = {name: worker() for name, worker in started.items()}
        assert {name: worker() for name, worker in started.items()} == first
    assert len(set(first.values())) == 2
    assert left_out == {}


@pytest.mark.processes
def test_a_subject_that_cannot_be_measured_is_left_out_with_its_reason(forked):
    left_out = {}
    with workers(
        {"cart": subjects.unavailable, "other": subjects.number_of_the_process}, left_out.__setitem__
    ) as started:
        assert list(started) == ["other"]
    assert left_out == {"cart": "it has no wheels"}


@pytest.mark.processes
@pytest.mark.parametrize(
    ("build", "message"),
    [(subjects.broken, "in the midst of building"), (subjects.dying, "has died with 7")],
)
def test_a_subject_that_fails_says_what_of(build, message, forked):
    with pytest.raises(SubjectError, match=message), workers({"bad": build}, {}.__setitem__):
        pass


@pytest.mark.slow
@pytest.mark.processes
def test_a_turn_that_fails_says_what_of(forked):
    builds = {"bad": subjects.broken_in_its_turn}
    with (
        workers(builds, {}.__setitem__) as started,
        pytest.raises(SubjectError, match=r"bad:\n(.|\n)*ZeroDivisionError"),
    ):
        started["bad"]()


@pytest.mark.slow
@pytest.mark.processes
def test_a_subject_that_dies_while_it_waits_says_what_of(forked):
    with workers({"bad": subjects.number_of_the_process}, {}.__setitem__) as started:
        os.kill(int(started["bad"]()), signal.SIGKILL)
        started["bad"]._process.join(10)
        with pytest.raises(SubjectError, match="bad: its process has died with -9"):
            started["bad"]()


def test_a_package_that_is_not_installed_is_named():
    with pytest.raises(UnavailableError, match="not installed: no_such_package"):
        needs("json", "no_such_package")
