"""Each figure that something is asked of, and each that BENCHMARKS.md shows, is one that its benchmark gives."""

import contextlib
import csv

import pytest

from benchmarks import build, exporting, gpu, input, latency, memory, serve, speed_section, train
from benchmarks import report as reports
from benchmarks.measure import Rates
from benchmarks.report import Report
from benchmarks.targets import TABLE, targets
from tests.conftest import quick_among

MODULES = {of.__name__.rpartition(".")[2]: of for of in (serve, train, input, build, memory, gpu, exporting)}
# Theirs are named after trained networks, which test_benchmarks.py and tests/export/test_serving_load.py measure.
ELSEWHERE = {"serve_accuracy", "serve_load"}


@contextlib.contextmanager
def on_paper(subjects, leave_out):
    """Workers that do nothing."""
    yield {name: lambda *_: 1.0 for name in subjects}


@pytest.fixture
def everything(monkeypatch):
    """A machine that can do all, and takes no time."""
    for module in (*MODULES.values(), latency):
        monkeypatch.setattr(module, "workers", on_paper)
        if hasattr(module, "in_turns"):
            monkeypatch.setattr(module, "in_turns", lambda subjects, *_: dict.fromkeys(subjects, Rates([1.0])))
    for module in (reports, train):
        monkeypatch.setattr(module, "bfloat16_is_native", lambda: True)
    monkeypatch.setattr(input, "micrographs", input.windows)
    monkeypatch.setattr(build, "seconds_of_import", lambda: 0.1)
    monkeypatch.setattr(gpu, "why_not", lambda: "")


# They build large networks to count what those compute.
SLOW = {"serve", "train"}


@pytest.mark.parametrize("name", quick_among(MODULES, *MODULES.keys() - SLOW))
def test_a_full_run_gives_each_figure_that_is_asked_for_or_shown(name, everything):
    report = Report(name)
    MODULES[name].run(report, MODULES[name].FULL)
    with speed_section.TABLE.open(newline="") as file:
        shown = {row["figure"] for row in csv.DictReader(file) if row["benchmark"] == name}
    assert targets(name).keys() | shown <= report.figures.keys()
    assert report.left_out == {}


def test_latency_gives_both_precisions_of_every_network(everything):
    report = Report("latency")
    latency.run(report, latency.FULL)
    wanted = {f"{name}, {kind}, ms" for name in latency.FULL.networks for kind in ("float32", "bfloat16")}
    assert wanted <= report.figures.keys()


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
        assert f", {cases[row['figure'].partition(',')[0].split(' of ')[0]].batch} images a step," in row["words"]
