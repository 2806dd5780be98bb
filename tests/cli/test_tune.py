"""The command `tune` writes a table, a plot, a line of Python and a trained network. A second call resumes it."""

import contextlib
import csv
import dataclasses
import re
import signal

import keras
import pytest
import tensorflow as tf

import keras_resnet as kr
from keras_resnet import zoo
from keras_resnet.tuning.run import TRIALS
from tests import processes
from tests.cli.test_cli import invoke
from tests.conftest import UNTRACED

pytestmark = UNTRACED

BUDGET = ("--size", 8, "--max-macs", "8e4", "--epochs", 1, "--batch-size", 256, "--validation-split", 0.5)


# The command, with a small base network also in its process.
SMALL = """
import sys
from keras_resnet import cli
from tests.cli.test_tune import small_base
sys.argv[0] = "keras-resnet"
with small_base():
    sys.exit(cli.main())
"""


@contextlib.contextmanager
def small_base():
    """Makes the base network a ResNet20 with one block, and runs it eagerly. Trials then take a fifth of the time."""
    tf.config.run_functions_eagerly(True)
    row = zoo.ROWS["ResNet20"]
    with pytest.MonkeyPatch.context() as patch:
        fields = {**row.fields, "depths": (1,), "filters": (8,)}
        patch.setitem(zoo.ROWS, row.name, dataclasses.replace(row, fields=fields))
        yield
    tf.config.run_functions_eagerly(False)


@pytest.fixture(scope="module", autouse=True)
def _small_base():
    with small_base():
        yield


@pytest.fixture(scope="module")
def search(tmp_path_factory):
    out = tmp_path_factory.mktemp("search") / "digits"
    result = invoke(
        "tune", "--data", "digits", "--out", out, *BUDGET, "--trials", 2, "--tune", "depth", "--tune", "width"
    )
    assert result.exit_code == 0, result.output
    return out, result.output


@pytest.mark.slow
def test_a_search_leaves_a_leaderboard_and_a_picture(search):
    out, output = search
    assert re.search(r"trial 0 of 2: [\d,]+ parameters, 0\.\d M MACs", output)
    assert re.search(r"trial 1: val_accuracy 0\.\d+", output)
    with (out / "leaderboard.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2
    assert float(rows[0]["val_accuracy"]) >= float(rows[1]["val_accuracy"])
    assert all(int(row["macs"]) <= 8e4 for row in rows)
    words = re.sub(r"[\s│┃]+", " ", output)
    assert all(word in words for word in ("top-1", "parameters", "MACs", "minutes"))
    assert tf.io.decode_png((out / "pareto.png").read_bytes()).shape[1] == 960


@pytest.mark.slow
def test_the_best_network_is_left_trained_and_as_a_line_of_python(search):
    out, output = search
    scope = {}
    exec((out / "best.py").read_text(), scope)
    line = re.search(r"kr\.ResNet\(.*\)", re.sub(r"\n(?! )", "\n", output))[0]
    trained = keras.saving.load_model(out / "best.keras")
    assert eval(line, scope).count_params() == scope["model"].count_params() == trained.count_params()
    accuracy = kr.training.evaluate(trained, kr.data.load("digits", "test"))
    assert f"{accuracy:.2%} of the 360 test images are right" in output


@pytest.mark.processes
@pytest.mark.slow
def test_a_killed_search_goes_on_when_the_command_is_typed_again(tmp_path):
    arguments = [*("tune", "--data", "digits", "--out", tmp_path / "out", *BUDGET, "--trials", 2)]
    process = processes.start("-c", SMALL, *arguments)
    process.wait_for("trial 0: ")
    process.kill(signal.SIGKILL)
    process.end()
    again = invoke(*arguments)
    assert again.exit_code == 0, again.output
    before, started, _ = again.output.partition("trial 1")
    assert started
    assert "trial 0" not in before
    assert (tmp_path / "out" / "best.keras").is_file()
    other = str(invoke(*arguments, "--max-params", 5000).exception)
    assert re.search(r"directory must be new, or hold the same search. .*budget is not the same", other)


@pytest.mark.slow
def test_a_search_of_which_nothing_comes_says_why(tmp_path):
    diverging = ("--learning-rate", "1e30", "--warmup", 0, "--trials", 3)
    result = invoke("tune", "--data", "digits", "--out", tmp_path / "out", *BUDGET, *diverging)
    assert re.search(r"trial 0: failed, .*the loss, nan, is not a finite number", " ".join(result.output.split()))
    assert "no trial of the search in" in str(result.exception)


@pytest.mark.slow
def test_a_directory_of_something_else_is_refused(tmp_path, search):
    (tmp_path / "thesis.txt").write_text("years of work")
    assert "out must be a new directory" in str(
        invoke("tune", "--data", "digits", "--out", tmp_path, *BUDGET).exception
    )
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]
    other = invoke("tune", "--data", f"idx:{tmp_path}", "--out", search[0], *BUDGET)
    assert other.exit_code != 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--max-macs", 100), "max_macs must be at least"),
        (("--tune", "hight"), "unknown name in tune"),
        (("--tuner", "genetic"), "--tuner must be one of"),
        (("--process-name", "chief", "--chief-address", "localhost"), "address must be HOST:PORT"),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_written(options, message, tmp_path):
    result = invoke("tune", "--data", "digits", "--out", tmp_path / "out", "--size", 8, *options)
    assert message in str(result.exception)
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_trials_are_where_kerastuner_finds_them(search):
    assert (search[0] / TRIALS / "oracle.json").is_file()
