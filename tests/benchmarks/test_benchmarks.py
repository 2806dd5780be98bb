"""Tests of reports and targets, and a smallest run of each benchmark."""

import contextlib
import csv
import functools
import json
import math
import pickle
import re
import subprocess
import sys
import types

import numpy as np
import pytest

from benchmarks import (
    __main__ as driver,
)
from benchmarks import (
    augmentation,
    build,
    ceilings,
    check,
    detect,
    exporting,
    gpu,
    input,
    keras_hub_nets,
    latency,
    machine,
    measure,
    memory,
    serve,
    serve_accuracy,
    speedrun,
    train,
)
from benchmarks import report as reports
from benchmarks.measure import Rates
from benchmarks.report import Report
from benchmarks.targets import TABLE, Target, targets
from benchmarks.workers import UnavailableError, workers
from keras_resnet.export import precisions
from keras_resnet.export.int8_kernels import available
from tests import benchmark_nets, needs, processes
from tests import benchmark_subjects as subjects
from tests.benchmark_nets import TINY, few_images_read, small_speedrun, small_speedrun_in_torch


@contextlib.contextmanager
def workers_in_this_process(builds, leave_out):
    """Replaces worker processes by plain functions. Like the original, it needs subjects that can be pickled."""
    pickle.dumps(builds)
    built = {}
    for name, build_subject in builds.items():
        try:
            built[name] = build_subject()
        except UnavailableError as reason:
            leave_out(name, str(reason))
    yield built


@pytest.fixture
def short_turns(monkeypatch):
    """Runs subjects in this process, with one call per turn and inputs of a few images."""

    def once(work, act, seconds=0.0):
        return measure.repeated(work, act, 0.0)

    for module in (build, detect, exporting, input, latency, serve, train):
        monkeypatch.setattr(module, "workers", workers_in_this_process)
    for module in (input, latency, ceilings, serve):
        monkeypatch.setattr(module, "repeated", once)
    monkeypatch.setattr(input, "network", lambda: benchmark_nets.network(input.SIZE))
    monkeypatch.setattr(input, "LARGE", (600, 800))
    for name, value in {"FILES": 4, "BATCH": 2, "SMALL": 64, "SMALL_BATCH": 16, "LABELS": np.arange(64) % 10}.items():
        monkeypatch.setattr(input, name, value)
    monkeypatch.setattr(augmentation, "SIZES", {"32x32": ((4, 32, 32, 3), 1)})
    monkeypatch.setattr(exporting, "built", lambda name: benchmark_nets.network())
    monkeypatch.setattr(train.Case, "build", benchmark_nets.TinyCase.build)
    monkeypatch.setattr(memory, "bytes_of", benchmark_nets.small_bytes_of)


def test_a_bound_holds_on_its_own_side():
    least, most = Target("x", "f", "at least", 2.0), Target("x", "f", "at most", 2.0)
    assert [least.is_met(value) for value in (1.9, 2.0, 2.1)] == [False, True, True]
    assert [most.is_met(value) for value in (1.9, 2.0, 2.1)] == [True, True, False]
    assert least.verdict(1.9) == "at least 2: MISSED"
    assert most.verdict(1.9) == "at most 2: met"


def test_the_targets_are_of_benchmarks_and_each_is_given_once():
    with TABLE.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["benchmark"] for row in rows} <= set(driver.NAMES)
    assert {row["bound"] for row in rows} == {"at least", "at most"}
    assert len({(row["benchmark"], row["figure"]) for row in rows}) == len(rows)
    assert {"serve", "train", "build"} <= {row["benchmark"] for row in rows}


@pytest.fixture
def report(monkeypatch):
    """A report with one target."""
    targets = {"case, ours over peer": Target("example", "case, ours over peer", "at least", 3.0)}
    monkeypatch.setattr(reports, "targets", lambda benchmark: targets)
    return Report("example")


def test_a_report_judges_what_is_asked_for(report, capsys):
    rates = {"peer": Rates([1.0, 2.0, 4.0]), "ours": Rates([2.0, 4.0, 8.0]), "top": Rates([1e12, 1e12, 1e12])}
    report.compare("case", rates, "peer", "images", {"ours": 1e11}, {"ours": ["top"]})
    assert report.figures == {
        "top, TFLOP/s in the run of case": 1.0,
        "case, peer, images/s": 2.0,
        "case, ours, images/s": 4.0,
        "case, ours over peer": 2.0,
        "case, ours of top": pytest.approx(0.4),
    }
    assert report.missed == ["case, ours over peer"]
    output = capsys.readouterr().out
    assert re.search(r"ours +4 +2 +8 +2\.00 times peer", output)
    assert "case, ours over peer: 2   at least 3: MISSED" in output


def test_a_report_is_written_with_what_it_was_measured_on(report, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(reports, "RESULTS", tmp_path)
    report.add("figure", 1.23456789)
    report.leave_out("the rest", "it rains")
    report.write("python -m benchmarks example")
    record = json.loads((tmp_path / "example.json").read_text())
    assert record["figures"] == {"figure": 1.235}
    assert record["left out"] == {"the rest": "it rains"}
    assert record["command"] == "python -m benchmarks example"
    assert record["machine"].startswith(machine.platform.machine())
    assert record["versions"]["keras"]
    assert record["commit"]


def test_a_changed_file_marks_the_commit(tmp_path, monkeypatch):
    def git(*words):
        subprocess.run(["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b", *words], check=True)

    git("init", "-q")
    (tmp_path / "code.py").write_text("1")
    git("add", ".")
    git("commit", "-qm", "one")
    monkeypatch.setattr(machine, "ROOT", tmp_path)
    assert re.fullmatch("[0-9a-f]{12}", machine.commit())
    (tmp_path / "benchmarks" / "results").mkdir(parents=True)
    (tmp_path / "benchmarks" / "results" / "x.json").write_text("{}")
    assert re.fullmatch("[0-9a-f]{12}", machine.commit())
    (tmp_path / "code.py").write_text("2")
    assert re.fullmatch(r"[0-9a-f]{12}\+", machine.commit())


def fake_benchmark(figures):
    """A benchmark module that reports these figures."""

    def run(report, amount):
        for name, value in figures.items():
            report.add(name, value)

    return types.SimpleNamespace(__doc__="Made up.", run=run, QUICK=None)


def test_check_fails_if_a_target_is_missed_or_a_benchmark_fails(capsys):
    figure, target = next(iter(targets("build").items()))
    assert check.check({"build": fake_benchmark({figure: target.value})}) == 0
    assert f"build: {figure}: {target.value:.3g}, at most {target.value:g}: met" in capsys.readouterr().out
    assert check.check({"build": fake_benchmark({figure: target.value + 1})}) == 1
    assert "MISSED" in capsys.readouterr().out
    broken = types.SimpleNamespace(__doc__="Made up.", run=lambda report, amount: 1 / 0, QUICK=None)
    assert check.check({"gpu": broken, "build": fake_benchmark({figure: 0.0})}) == 1
    output = capsys.readouterr().out
    assert "gpu: ended in an error" in output
    assert f"build: {figure}: 0, at most" in output


# The smallest run of each benchmark, with a figure that this run must give.
SMALL = {
    "train": (
        train,
        train.Amount((train.Case("ResNet20", "float32", 16, 2, 1), train.Case("ResNet20", "auto", 16, 2, 1)), 1),
        "ResNet20 auto over the best precision",
    ),
    "input": (input, input.Amount(1), "12 megapixels, prepared over naive"),
    "build": (build, build.Amount({"ResNet20": ()}, 1), "import keras_resnet beyond import keras, s"),
    "memory": (
        memory,
        memory.Amount((("ResNet20", False), ("ResNet20", True)), 32, 1),
        "ResNet20, share of memory that remat saves",
    ),
    "latency": (latency, latency.Amount(("ResNet20",), 1), "ResNet20, float32, ms"),
    "augmentation": (augmentation, augmentation.Amount(1), "flip 32x32, keras_resnet over keras.layers"),
    "exporting": (exporting, exporting.Amount("tiny", 1), "tiny, keras_resnet over model.export"),
    "serve_accuracy": (
        serve_accuracy,
        serve_accuracy.Amount(1),
        "ResNet20 on CIFAR-10, float32, chooses as Keras",
    ),
    "detect": (
        detect,
        detect.Amount((detect.Case(64, 1),), (detect.Case(64, 1),), 1, 1),
        "trained with 1 images of 64 pixels, keras_resnet over torchvision",
    ),
    "speedrun": (speedrun, speedrun.Amount(0.001), "keras_resnet, accuracy over torch"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", SMALL)
def test_a_benchmark_gives_its_figures(name, short_turns, forked, monkeypatch):
    module, amount, figure = SMALL[name]
    monkeypatch.setattr(input, "micrographs", list)
    report = Report(name)
    if name == "serve_accuracy":
        first = next(iter(serve_accuracy.trained(report)), None)
        if first is None:
            pytest.skip(needs.TRAINED)
        small = first._replace(images=first.images[:200], labels=first.labels[:200])  # half are for calibration
        monkeypatch.setattr(serve_accuracy, "trained", lambda report: [small])
        monkeypatch.setattr(serve_accuracy, "PRECISIONS", ("float32", "int8"))
        figure = f"{first.name}, float32, chooses as Keras"
    if name == "augmentation":  # one subject of each kind
        kinds = ("flip", "mixup", "random_resized_crop")
        rows = {kind: row for kind, row in augmentation.rows().items() if kind in kinds}
        monkeypatch.setattr(augmentation, "rows", lambda: rows)
    if name == "speedrun":
        monkeypatch.setattr(speedrun, "SUBJECTS", {"keras_resnet": small_speedrun, "torch": small_speedrun_in_torch})
        monkeypatch.setattr(speedrun, "reader", few_images_read)
    if name == "latency":
        monkeypatch.setattr(latency, "REFERENCE", "ResNet20")
    module.run(report, amount)
    assert math.isfinite(report.figures[figure])
    left_out = [what for what in report.left_out if what not in ("bfloat16", "micrographs")]
    assert not [what for what in left_out if not (what.endswith("int8") and not available())]


def test_serving_is_measured_in_turns(short_turns, monkeypatch):
    def two_subjects(name, precisions):
        quick = dict.fromkeys(("keras_resnet float32", "keras_resnet auto"), benchmark_nets.quick)
        return {serve.PEER: benchmark_nets.slow, **quick}

    monkeypatch.setattr(serve, "subjects", two_subjects)
    monkeypatch.setattr(serve, "in_applications_form", lambda name: benchmark_nets.network())
    monkeypatch.setattr(serve, "ceilings", lambda *_: {"convolutions in float32": subjects.ceiling})
    report = Report("serve")
    serve.run(report, serve.Amount(("ResNet50",), (1, 2), 1))
    assert report.figures["ResNet50 at 2, keras_resnet float32 over keras.applications"] > 1
    assert report.figures["ResNet50 at 1, keras_resnet float32 of convolutions in float32"] > 0
    assert "ResNet50 at 1, keras_resnet auto of convolutions in float32" not in report.figures
    assert report.figures["ResNet50 at 2, keras_resnet auto over the best precision"] > 0


@pytest.mark.slow
@pytest.mark.processes
@pytest.mark.parametrize("name", [name for name in serve.subjects("ResNet50", ("float32",)) if "int8" not in name])
def test_a_subject_of_serving_answers(name, forked):
    left_out = {}
    with workers({name: functools.partial(benchmark_nets.small, name)}, left_out.__setitem__) as started:
        needs.subject(left_out)
        assert started[name](1) > 0


@pytest.mark.slow
def test_what_is_served_in_another_precision_than_asked_for_ends_the_benchmark(monkeypatch, tmp_path):
    model = benchmark_nets.network(8)
    monkeypatch.setattr(precisions, "available", lambda: False)
    monkeypatch.setattr(serve, "available", lambda: True)
    with pytest.raises(RuntimeError, match="int8 was asked for, and it is computed in bfloat16, in place of int8"):
        serve.exported(model, "int8", np.zeros((2, 8, 8, 3), "uint8"), tmp_path)


def test_int8_is_left_out_where_there_is_no_kernel_for_it(monkeypatch, tmp_path):
    monkeypatch.setattr(serve, "available", lambda: False)
    with pytest.raises(UnavailableError, match="no exact int8 convolution"):
        serve.exported(benchmark_nets.network(8), "int8", np.zeros((2, 8, 8, 3), "uint8"), tmp_path)


@pytest.mark.slow
@pytest.mark.processes
@pytest.mark.parametrize(
    ("build", "case"),
    [
        (train.bare, TINY),
        (train.ours, TINY),
        (benchmark_nets.small_torch, train.Case("ResNet50", "float32", 32, 2, 1)),
    ],
)
def test_a_subject_of_training_trains(build, case, forked):
    left_out = {}
    with workers({"subject": functools.partial(build, case)}, left_out.__setitem__) as started:
        needs.subject(left_out)
        assert started["subject"]() > 0


def test_serving_has_all_its_subjects():
    names = serve.subjects("ResNet50", ("float32", "bfloat16"))
    exports = [
        f"{runtime} {precision}"
        for runtime in ("keras_resnet", "OpenVINO")
        for precision in ("float32", "bfloat16", "int8")
    ]
    torch = [f"torch {mode} {precision}" for mode in ("eager", "inductor") for precision in ("float32", "bfloat16")]
    others = [serve.PEER, "KerasHub", "onnxruntime float32", "keras_resnet auto"]
    assert sorted(names) == sorted([*others, *exports, *torch])


@pytest.mark.slow
@needs.package("keras_hub")
@pytest.mark.parametrize(("name", "parameters"), [("ResNet50", 25_557_032), ("ResNet50V2", 25_549_352)])
def test_the_peer_in_keras_hub_is_the_same_network(name, parameters):
    net = keras_hub_nets.net(name)
    assert sum(weight.shape.num_elements() for weight in net.trainable_weights) == parameters


@pytest.mark.slow
def test_without_a_gpu_it_is_said_and_nothing_is_measured():
    if not gpu.why_not():
        pytest.skip("this machine has a GPU")
    report = Report("gpu")
    gpu.run(report, gpu.FULL)
    assert report.figures == {}
    assert re.search("there is no GPU|not installed", report.left_out["ResNet50"])


BOUNDS_ON_JAX = """
from benchmarks import gpu_steps
for turn in (gpu_steps.convolutions(2, 1), gpu_steps.matrices(64, 1)):
    assert turn() > 0
import keras
# JAX needs a second to compile the initialiser for each new shape.
keras.initializers.VarianceScaling.__call__ = lambda self, shape, dtype=None: keras.ops.zeros(shape, dtype)
assert gpu_steps.macs(32)() > 0
print(keras.backend.backend())
"""


@pytest.mark.slow
@pytest.mark.processes
@needs.package("jax")
def test_what_bounds_a_step_on_jax_is_measured_on_any_device():
    output = processes.printed(processes.fresh("-c", BOUNDS_ON_JAX, environment={"KERAS_BACKEND": None}))
    assert output.split() == ["jax"]


def test_every_benchmark_is_tested():
    elsewhere = {"serve", "serve_load", "gpu"}  # serve_load: export/test_serving_load.py
    assert {*SMALL, *elsewhere} == {*driver.NAMES, "speedrun"}


@pytest.mark.processes
def test_the_driver_names_what_there_is():
    help_text = processes.printed(processes.python("-m", "benchmarks", "--help"))
    (choices,) = re.findall(r"^  \{([\w,\s]+)\}", help_text, re.M)
    assert re.split(r",\s*", choices) == [*driver.NAMES, "all", "check", "table"]
    assert "--quick" in help_text


def test_all_measures_each_and_one_that_fails_stops_no_other(monkeypatch, capfd):
    started = []

    def run(command, check):
        started.append(command[1:])
        return types.SimpleNamespace(returncode=int(command[3] == "train"))

    monkeypatch.setattr(driver.subprocess, "run", run)
    monkeypatch.setattr(sys, "argv", ["benchmarks", "all", "--quick"])
    assert driver.main() == 1
    assert started == [["-m", "benchmarks", name, "--quick"] for name in driver.NAMES]
    assert capfd.readouterr().out.endswith("ended in an error: train\n")
