"""The commands for training: recipes, data, runs, and train with every field of a recipe."""

import csv
import dataclasses
import functools
import json
import re
import shutil
import signal
import sys

import pytest
import tensorflow as tf

from keras_resnet import cli
from keras_resnet.training import RECIPES, Recipe, run
from tests import processes
from tests.cli.test_cli import SMALL, invoke
from tests.conftest import UNTRACED
from tests.data.test_sources import write_png
from tests.small_training import small_and_eager

pytestmark = UNTRACED

QUICK = ("--epochs", 2, "--batch-size", 16, "--size", 8)


@pytest.fixture(scope="module", autouse=True)
def _small_trainings():
    with small_and_eager():
        yield


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Two classes that differ in brightness, and one file that is not an image."""
    folder = tmp_path_factory.mktemp("photos")
    for name, value in (("dark", 20), ("bright", 200)):
        for number in range(20):
            write_png(folder / name / f"{number}.png", (12, 16, 3), value + number)
    (folder / "dark" / "7.png").write_bytes(b"no image")
    return f"folder:{folder}"


@pytest.fixture(scope="module")
def two_runs(photos, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    for name, options in (
        ("slow", ("--learning-rate", 0.001, "--epochs", 1, "--validation-split", 0)),
        ("fast", ("--validation-split", 0.25)),
    ):
        arguments = ("train", "ResNet20", "--data", photos, "--on-corrupt", "skip", "--out", folder / name)
        result = invoke(*arguments, *QUICK, *options)
        assert result.exit_code == 0, result.output
    return folder


def test_help_has_an_option_for_every_field_of_a_recipe():
    output = re.sub(r"\s+", " ", re.sub("[│]", "", invoke("train", "--help").output))
    for field in dataclasses.fields(Recipe):
        assert f"--{field.name.replace('_', '-')}" in output
        assert field.metadata["help"].partition(" ")[0] in output


def test_recipes_are_listed_with_what_they_change():
    output = invoke("recipes").output
    assert all(name in output for name in RECIPES)
    assert re.search(r"timm_a3 +epochs=100 batch_size=2048 optimizer=lamb learning_rate=0.008", output)
    assert "The defaults: epochs=15" in output


def test_an_unknown_recipe_is_named_with_the_nearest():
    assert "Did you mean timm_a2" in str(
        invoke("train", "ResNet20", "--recipe", "timm_a22", "--data", "digits", "--out", "x").exception
    )


@pytest.mark.slow
def test_a_corrupt_image_stops_a_training_or_is_skipped_and_counted(photos, two_runs, tmp_path, monkeypatch, capfd):
    words = ("keras-resnet", "train", "ResNet20", "--data", photos, "--out", tmp_path / "run", *QUICK)
    monkeypatch.setattr(sys, "argv", list(map(str, words)))
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    assert stopped.value.code == 2
    assert re.search(r"^Error: .*dark/7.png is not a readable JPEG", capfd.readouterr().err, re.M)
    for name in ("slow", "fast"):  # "fast" also holds images out
        run = json.loads((two_runs / name / "run.json").read_text())
        assert len(run["skipped"]) == 1
        assert "dark/7.png" in run["skipped"][0]


@pytest.mark.slow
def test_what_skipped_corrupt_images_is_measured_again_without_them(two_runs, photos):
    run = json.loads((two_runs / "fast" / "run.json").read_text())
    again = invoke("evaluate", two_runs / "fast")
    assert f"top-1 {run['test_accuracy']:.2%} on the 8 test images" in again.output
    trained = invoke("evaluate", two_runs / "fast", "--split", "train")
    assert re.search(r"on the 31 train images", trained.output)  # of 32
    assert "dark/7.png is not a readable" in str(
        invoke("evaluate", two_runs / "fast", "--split", "train", "--on-corrupt", "stop").exception
    )


@pytest.mark.slow
def test_a_run_is_measured_on_some_of_its_classes(two_runs, tmp_path):
    write_png(tmp_path / "bright" / "1.png", (12, 16, 3), 210)
    write_png(tmp_path / "bright" / "2.png", (12, 16, 3), 215)
    some = invoke("evaluate", two_runs / "fast", "--data", f"folder:{tmp_path}", "--split", "all")
    assert re.search(r"top-1 (0|50|100).00% on the 2 images of", some.output), some.output
    write_png(tmp_path / "grey" / "1.png", (12, 16, 3), 128)
    other = invoke("evaluate", two_runs / "fast", "--data", f"folder:{tmp_path}", "--split", "all")
    assert "data must have only classes of the model. Received: 'grey'" in str(other.exception)


@pytest.mark.slow
def test_a_run_can_be_repeated_from_its_recipe(two_runs, photos, tmp_path):
    recipe = two_runs / "fast" / "recipe.json"
    fields = json.loads(recipe.read_text())
    assert set(fields["versions"]) == {"keras_resnet", "keras", "tensorflow", "backend"}
    assert (fields["model"], fields["data"], fields["size"], fields["on_corrupt"]) == ("ResNet20", photos, 8, "skip")
    arguments = ("train", fields["model"], "--data", fields["data"], "--recipe", recipe)
    result = invoke(*arguments, "--out", tmp_path / "again")
    assert result.exit_code == 0, result.output
    assert json.loads((tmp_path / "again" / "recipe.json").read_text()) == fields
    assert (tmp_path / "again" / "history.csv").read_text() == (two_runs / "fast" / "history.csv").read_text()


@pytest.mark.slow
def test_the_best_epoch_and_the_last_are_both_left(two_runs):
    run = json.loads((two_runs / "fast" / "run.json").read_text())
    with (two_runs / "fast" / "history.csv").open(newline="") as file:
        accuracies = [float(row["val_accuracy"]) for row in csv.DictReader(file)]
    assert run["best_epoch"] == 1 + accuracies.index(max(accuracies))
    assert (two_runs / "fast" / "last.keras").is_file()


@pytest.mark.slow
def test_logs_for_tensorboard_are_left(two_runs):
    logs = list((two_runs / "fast" / "tensorboard").rglob("events.out.tfevents.*"))
    tags = {
        value.tag
        for log in logs
        for record in tf.data.TFRecordDataset(str(log)).as_numpy_iterator()
        for value in tf.compat.v1.Event.FromString(record).summary.value
    }
    assert {"epoch_loss", "epoch_accuracy"} <= tags


@pytest.mark.slow
def test_runs_are_compared_in_a_table_and_a_plot(two_runs, tmp_path):
    result = invoke("runs", two_runs / "slow", two_runs / "fast", "--plot", tmp_path / "plot.png")
    assert result.exit_code == 0, result.output
    words = re.sub(r"[\s│┃]+", " ", result.output)
    assert all(word in words for word in ("slow", "fast", "validation", "validation_split", "0.25", "0.001", "epochs"))
    assert "batch_size" not in words  # the same in both
    assert "best epoch" in words
    assert tf.io.decode_png((tmp_path / "plot.png").read_bytes()).shape[1] == 1200


@pytest.mark.slow
def test_a_learning_rate_is_proposed_beside_a_run_which_stays_as_it_is(photos, two_runs, tmp_path, monkeypatch):
    monkeypatch.setattr(run, "find_rate_of", functools.partial(run.find_rate_of, steps=30))
    out = shutil.copytree(two_runs / "fast", tmp_path / "run")
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    command = ("train", "ResNet20", "--data", photos, "--on-corrupt", "skip", *QUICK, "--find-rate")
    result = invoke(*command, "--out", out)
    assert result.exit_code == 0, result.exception
    rate = re.search(r"type --learning-rate ([\d.e-]+) in place of --find-rate", result.output)[1]
    assert 1e-5 < float(rate) < 1
    assert f"proposed learning rate: {rate}, " in result.output
    written = {path.name for path in out.rglob("*") if path.is_file() and path not in before}
    assert written == {"rates.csv", "rates.png"}
    assert all(path.read_bytes() == content for path, content in before.items())
    with (out / "rates.csv").open(newline="") as file:
        rates = [float(row["learning_rate"]) for row in csv.DictReader(file)]
    assert rates == pytest.approx([1e-4 * 10 ** (5 * step / 29) for step in range(len(rates))], rel=1e-4)


def test_wrong_arguments_of_a_search_for_a_rate_are_named_before_anything_is_written(tmp_path):
    (tmp_path / "file").write_text("")
    command = ("train", "ResNet20", "--data", "digits", "--find-rate", "--out")
    assert "out must be a directory. Received" in str(invoke(*command, tmp_path / "file").exception)
    wrong = invoke(*command, tmp_path / "run", "--batch-size", 4, "--repeated-augmentation", 5)
    assert "repeated_augmentation must be at most batch_size, 4" in str(wrong.exception)
    assert "processes must be 1 with --find-rate" in str(invoke(*command, tmp_path / "x", "--processes", 2).exception)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_what_is_no_run_is_not_compared(tmp_path):
    assert "must be a run directory, with a readable recipe.json" in str(invoke("runs", tmp_path).exception)


def test_a_data_set_is_described_without_a_preview(tmp_path):
    for name in ("train/dark/1.png", "train/dark/2.png", "train/bright/1.png", "val/dark/3.png", "test/bright/4.png"):
        write_png(tmp_path / name, (4, 4, 3), len(name))
    result = invoke("data", f"folder:{tmp_path}")
    assert result.output == "images: 3 train, 1 val, 1 test\nclasses: bright 1, dark 2\n"


@pytest.mark.slow
def test_images_are_drawn_as_a_recipe_augments_them(photos, tmp_path):
    arguments = ("data", photos, "--preview", tmp_path / "grid.png", "--size", 16, "--images", 6)
    result = invoke(*arguments, "--on-corrupt", "skip", "--mixup", 0.4, "--random-erase", 0.5, "--flip")
    assert result.exit_code == 0, result.output
    assert "images: 32 train, 8 test\nclasses: bright 16, dark 16\n" in result.output
    assert tf.io.decode_png((tmp_path / "grid.png").read_bytes()).shape[2] == 4


@pytest.mark.processes
@pytest.mark.slow
def test_a_stopped_training_goes_on_when_the_command_is_typed_again(photos, tmp_path):
    arguments = ("train", "ResNet20", "--data", photos, "--on-corrupt", "skip", "--out", tmp_path / "run")
    arguments = [*arguments, *QUICK, "--epochs", 8]
    process = processes.start("-c", SMALL, *arguments)
    process.wait_for("epoch ")
    process.kill(signal.SIGTERM)
    stopped = process.end()
    summary = (
        r"images: 28 training, 4 validation \(held out of the training images\), 8 test\n"
        r"classes: bright 14, dark 14\n"
        r"model: \w+, [\d,]+ parameters; 8 epochs of 1 steps in float32, by tensorflow on 1 (CPU|GPU)\n"
    )
    assert re.match(f"{summary}epoch +1/8", stopped.stdout)
    assert stopped.returncode == 128 + signal.SIGTERM
    assert "stopped by SIGTERM in epoch" in stopped.stdout
    other = invoke(*arguments, "--learning-rate", 0.5)
    assert "holds an unfinished run with another recipe: learning_rate (was 0.2, is 0.5)" in str(other.exception)
    again = invoke(*arguments, "--overwrite")  # it overwrites finished or other runs only, so this run continues
    assert again.exit_code == 0, again.output
    assert json.loads((tmp_path / "run" / "run.json").read_text())["seconds"] > 0
    wrong = invoke(*arguments, "--overwrite", "--gradient-accumulation-steps", 100_000)
    assert "gradient_accumulation_steps must be at most" in str(wrong.exception)
    assert (tmp_path / "run" / "model.keras").exists()
    assert "epoch   8/8" in again.output
    assert "epoch   1/8" not in again.output
    assert json.loads((tmp_path / "run" / "run.json").read_text())["test_images"] == 8
    assert len(list((tmp_path / "run" / "checkpoints").iterdir())) == 1
