"""Tests that each benchmark gives all figures that have a target or are shown in BENCHMARKS.md."""

import contextlib
import csv

import pytest

from benchmarks import build, detect, exporting, gpu, input, latency, memory, serve, speed_section, train
from benchmarks import report as reports
from benchmarks.measure import Rates
from benchmarks.report import Report
from benchmarks.targets import TABLE, targets
from keras_resnet.training.precision_choice import Choice
from tests.conftest import quick_among

MODULES = {
    module.__name__.rpartition(".")[2]: module
    for module in (serve, train, input, build, memory, gpu, exporting, detect)
}
# These need trained networks or a server. test_benchmarks.py and tests/export/test_serving_load.py test them.
ELSEWHERE = {"serve_accuracy", "serve_load", "speedrun"}


@contextlib.contextmanager
def idle_workers(subjects, leave_out):
    """Replaces the workers by functions that do nothing."""
    yield {name: lambda *_: 1.0 for name in subjects}


@pytest.fixture
def nothing_measured(monkeypatch):
    """Replaces all measurements, so that every benchmark runs in full on this machine and takes no time."""
    for module in (*MODULES.values(), latency):
        monkeypatch.setattr(module, "workers", idle_workers)
        if hasattr(module, "in_turns"):
            monkeypatch.setattr(module, "in_turns", lambda subjects, *_: dict.fromkeys(subjects, Rates([1.0])))
    for module in (reports, train):
        monkeypatch.setattr(module, "bfloat16_is_native", lambda: True)
    monkeypatch.setattr(train, "settle_precision", lambda *_: Choice("bfloat16", "nothing was measured"))
    monkeypatch.setattr(input, "micrographs", input.windows)
    monkeypatch.setattr(input, "large", lambda: input.windows()[:2])
    monkeypatch.setattr(input, "prepared", lambda folder: f"folder:{folder}")
    monkeypatch.setattr(build, "seconds_of_import", lambda: 0.1)
    monkeypatch.setattr(gpu, "why_not", lambda: "")


# These build large networks to count their operations.
SLOW = {"serve", "train"}


@pytest.mark.parametrize("name", quick_among(MODULES, *MODULES.keys() - SLOW))
def test_a_full_run_gives_each_figure_that_is_asked_for_or_shown(name, nothing_measured):
    report = Report(name)
    MODULES[name].run(report, MODULES[name].FULL)
    with speed_section.TABLE.open(newline="") as file:
        shown = {row["figure"] for row in csv.DictReader(file) if row["benchmark"] == name}
    assert targets(name).keys() | shown <= report.figures.keys()
    assert report.left_out == {}


def test_latency_gives_both_precisions_of_every_network(nothing_measured):
    report = Report("latency")
    latency.run(report, latency.FULL)
    expected = {f"{name}, {kind}, ms" for name in latency.FULL.networks for kind in ("float32", "bfloat16")}
    assert expected <= report.figures.keys()


def test_nothing_is_asked_or_shown_of_other_benchmarks():
    for table in (TABLE, speed_section.TABLE):
        with table.open(newline="") as file:
            assert {row["benchmark"] for row in csv.DictReader(file)} <= MODULES.keys() | ELSEWHERE


def test_the_batch_that_readme_gives_of_a_training_is_the_one_that_is_measured():
    cases = {f"{case.model} {case.precision}": case for case in train.FULL.cases}
    with speed_section.TABLE.open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["benchmark"] == "train"]
    assert rows
    for row in rows:
        assert f", {cases[row['figure'].partition(',')[0].split(' of ')[0]].batch} images per step" in row["words"]
