"""A run directory that is finished, goes on, or was edited: a call continues soundly, or its error names the file."""

import contextlib
import csv
import dataclasses
import json
import logging
import os
import re
import shutil
import signal
import sys
from unittest import mock

import keras
import numpy as np
import pytest
from rich.console import Console

from keras_resnet._internal.exclusive import exclusive
from keras_resnet.cli import report, with_options
from keras_resnet.cli.options import settings_from
from keras_resnet.training import Recipe, checkpoints, continuing, fit, run
from keras_resnet.training.compare import read_run
from keras_resnet.training.longer_runs import COPY, copy_run
from keras_resnet.training.precision_choice import Choice
from keras_resnet.training.resuming import Stopped
from keras_resnet.training.run_directory import read_task
from tests.cli.test_cli import invoke
from tests.conftest import UNTRACED, quick_among
from tests.data.test_sources import write_png
from tests.small_training import small_and_eager
from tests.training.test_resuming import AtStep, die, images

pytestmark = UNTRACED

RECIPE = Recipe(epochs=2, batch_size=12, pad_and_crop=0.0, validation_split=0.2, learning_rate=0.05)


@pytest.fixture(scope="module", autouse=True)
def _small_trainings():
    with small_and_eager():
        yield


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    for name, value in (("dark", 20), ("bright", 200)):
        for number in range(20):
            write_png(folder / name / f"{number}.png", (8, 8, 3), value + number)
    return folder


def task(photos, **changes):
    return run.Task("ResNet20", f"folder:{photos}", dataclasses.replace(RECIPE, **changes), 8)


@pytest.fixture(scope="module")
def finished(photos, tmp_path_factory):
    out = tmp_path_factory.mktemp("finished") / "run"
    run.train(task(photos), out)
    return out


@pytest.fixture(scope="module")
def stopped(photos, tmp_path_factory):
    """An unfinished run with two checkpoints: after the first epoch, and after one step of the second."""
    out = tmp_path_factory.mktemp("stopped") / "run"
    with pytest.raises(Stopped):
        run.train(task(photos), out, [AtStep(3, die(15))])
    assert sorted(path.name for path in (out / "checkpoints").iterdir()) == ["2", "3", "best.npz", "lock"]
    return out


def lines_of(photos, out, callbacks=(), **changes):
    lines = []
    result = run.train(task(photos, **changes), out, callbacks, write_line=lines.append)
    return result, lines


@pytest.mark.slow
def test_a_finished_run_says_so_and_nothing_is_done(photos, finished, caplog):
    before = {path: path.stat().st_mtime_ns for path in finished.rglob("*")}
    with caplog.at_level(logging.INFO, "keras_resnet.training"):
        result, lines = lines_of(photos, finished, [AtStep(1, lambda: pytest.fail("trained again"))])
    assert result == run.load_run(finished)
    assert lines == caplog.messages
    assert lines == [
        f"{finished} is finished; nothing to do: overwrite=True (on the command line --overwrite) trains it anew, "
        "more epochs go on from its end"
    ]
    assert {path: path.stat().st_mtime_ns for path in finished.rglob("*")} == before


@pytest.mark.slow
def test_the_command_line_answers_a_finished_run_with_its_result(photos, finished, tmp_path):
    out = shutil.copytree(finished, tmp_path / "run", ignore=shutil.ignore_patterns("samples"))
    result = invoke("train", "ResNet20", "--data", f"folder:{photos}", "--recipe", out / "recipe.json", "--out", out)
    assert result.exit_code == 0, result.exception
    assert result.output.startswith(f"{out} is finished; nothing to do")
    assert f"{run.load_run(out).test_accuracy:.2%} of the 8 test images are right" in result.output


@pytest.mark.slow
def test_more_epochs_go_on_from_the_end_of_a_finished_run(photos, finished, tmp_path):
    out = shutil.copytree(finished, tmp_path / "run")
    field(best=1.0)(out / "checkpoints" / "4" / "state.json")  # no epoch can be better
    with (out / "history.csv").open(newline="") as file:
        first = list(csv.DictReader(file))
    # A kill after the run was made an unfinished one, and one in mid-epoch, are continued by the same call.
    steps = []
    with pytest.raises(Stopped, match="in epoch 3, step 1 of 2"):
        run.train(task(photos, epochs=4), out, [AtStep(1, die(15))])
    assert not (out / "run.json").exists()
    result, _ = lines_of(photos, out, [AtStep(1, lambda: steps.append(1))], epochs=4)
    assert (result.recipe.epochs, steps) == (4, [1])
    with (out / "history.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows[:2] == first
    assert [row["epoch"] for row in rows] == ["1", "2", "3", "4"]
    assert [path.name for path in (out / "checkpoints").iterdir()] == ["8"]
    # The weights of the best epoch of before are kept, because no later epoch is better.
    assert result.best_epoch == run.load_run(finished).best_epoch
    kept = (run.open_run(path)[1].get_weights() for path in (finished, out))
    for one, two in zip(*kept, strict=True):
        np.testing.assert_array_equal(one, two)


@pytest.mark.slow
def test_fewer_epochs_or_no_checkpoint_do_not_go_on(photos, finished, tmp_path):
    out = shutil.copytree(finished, tmp_path / "run")
    with pytest.raises(ValueError, match=r"a finished run with another recipe: epochs \(was 2, is 1\)"):
        run.train(task(photos, epochs=1), out)
    shutil.rmtree(out / "checkpoints")
    message = "Received: none; a new training can start from the weights, with another --out and --weights .*last.keras"
    with pytest.raises(ValueError, match=message):
        run.train(task(photos, epochs=4), out)
    assert run.load_run(out) == run.load_run(finished)


def add_images(photos, out):
    for name in ("dark", "bright"):
        for number in range(20, 25):
            write_png(photos / name / f"{number}.png", (8, 8, 3), number)


def edit_state(**values):
    return lambda photos, out: field(**values)(out / "checkpoints" / "4" / "state.json")


def edit_setting(photos, out):
    path = out / "checkpoints" / "4" / "state.json"
    field(settings={**json.loads(path.read_text())["settings"], "learning_rate": 9.0})(path)


def edit_arrays(name):
    def edit(photos, out):
        arrays(lambda values: {**values, name: np.zeros((1, 2, 3))})(out / "checkpoints" / "4" / "arrays.npz")

    return edit


NOT_LONGER = {
    "more images": (add_images, "holds a training with .*images="),
    "a setting": (edit_setting, "holds a training with .*learning_rate=9.0"),
    "a field of the state": (edit_state(more=1), "no sound one; the newest is 4: state.json must have"),
    "a weight of another shape": (edit_arrays("model/0"), "the newest is 4: arrays.npz must have the arrays"),
    "a momentum of another shape": (edit_arrays("optimizer/2"), "the newest is 4: arrays.npz must have the arrays"),
}


@pytest.mark.slow
@pytest.mark.parametrize("edit", NOT_LONGER)
def test_a_finished_run_that_cannot_go_on_stays_as_it_is(edit, photos, finished, tmp_path):
    change, message = NOT_LONGER[edit]
    photos, out = shutil.copytree(photos, tmp_path / "photos"), shutil.copytree(finished, tmp_path / "run")
    for name in ("recipe.json", "run.json"):
        field(data=f"folder:{photos}")(out / name)
    change(photos, out)
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    with pytest.raises(ValueError, match=f"{message}.*; a new training can start from the weights, with another --out"):
        run.train(task(photos, epochs=4), out)
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before


@pytest.mark.slow
def test_a_longer_run_in_another_directory_ends_as_in_its_own(photos, finished, tmp_path):
    same, out = shutil.copytree(finished, tmp_path / "same"), tmp_path / "deep" / "longer"
    files = {path: path.read_bytes() for path in finished.rglob("*") if path.is_file()}
    run.train(task(photos, epochs=4), same)
    with pytest.raises(Stopped, match="in epoch 3, step 1 of 2"):
        run.train(task(photos, epochs=4), out, [AtStep(1, die(15))], resume_from=finished)
    assert sorted(path.name for path in out.parent.iterdir()) == ["longer"]
    command = ("train", "--resume-from", finished, "--epochs", 4, "--out", out)
    result = invoke(*command)
    assert result.exit_code == 0, result.exception
    assert f"continues {out} at epoch 3 of 4, step 2 of 2" in result.output
    assert (out / "history.csv").read_text() == (same / "history.csv").read_text()
    for file in ("model.keras", "last.keras"):
        kept = (run.open_model(path / file).get_weights() for path in (same, out))
        for one, two in zip(*kept, strict=True):
            np.testing.assert_array_equal(one, two)
    assert dataclasses.replace(run.load_run(out), seconds=0) == dataclasses.replace(run.load_run(same), seconds=0)
    assert {path.name for path in out.iterdir()} == {path.name for path in same.iterdir()}
    assert {path: path.read_bytes() for path in finished.rglob("*") if path.is_file()} == files
    assert invoke(*command).output.startswith(f"{out} is finished; nothing to do")


@pytest.mark.slow
def test_a_run_is_also_lengthened_in_its_own_directory_and_after_a_kill(photos, finished, tmp_path, monkeypatch):
    out = shutil.copytree(finished, tmp_path / "run")
    assert invoke("train", "--resume-from", out, "--epochs", 3, "--out", out).exit_code == 0
    assert run.load_run(out).recipe.epochs == 3
    # What a kill during an earlier copy left does not matter, and a kill after the copy leaves the shorter run.
    half = tmp_path / f".longer{COPY}"
    half.mkdir()
    (half / "recipe.json").write_text("half of it")
    longer = tmp_path / "longer"
    with monkeypatch.context() as patch:
        patch.setattr(continuing, "_reopen", mock.Mock(side_effect=KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            run.train(task(photos, epochs=3), longer, resume_from=finished)
    assert run.load_run(longer) == run.load_run(finished)
    assert run.train(task(photos, epochs=3), longer, resume_from=finished).recipe.epochs == 3
    assert sorted(path.name for path in tmp_path.iterdir()) == ["longer", "run"]


def test_a_copy_of_a_run_removes_nothing_of_others(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "recipe.json").write_text("{}")
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "HEAD").write_text("mine")
    copy_run(tmp_path / "run", tmp_path / "git")
    assert (tmp_path / "git" / "recipe.json").read_text() == "{}"
    assert sorted(path.name for path in tmp_path.rglob("*")) == [
        ".git",
        "HEAD",
        "git",
        "recipe.json",
        "recipe.json",
        "run",
    ]


@pytest.mark.slow
def test_a_longer_run_in_another_directory_keeps_the_precision_that_was_measured(
    photos, finished, tmp_path, monkeypatch
):
    monkeypatch.setattr(run, "settle_precision", lambda model, recipe, *_: Choice(recipe.precision, None))
    longer = run.train(task(photos, epochs=3, precision="auto"), tmp_path / "longer", resume_from=finished)
    assert longer.recipe.precision == "float32"


@pytest.mark.slow
def test_a_run_with_another_size_for_evaluation_is_known_again_and_lengthened(photos, tmp_path):
    short, longer = (task(photos, eval_size=12, epochs=epochs) for epochs in (1, 2))
    first = run.train(short, tmp_path)
    assert run.train(short, tmp_path) == first
    assert run.train(longer, tmp_path).recipe.epochs == 2


# What is typed with --resume-from RUN --out NEW, and a part of the error.
NOT_RESUMED = {
    "no run": (
        ["--resume-from", "none", "--epochs", 3],
        "--resume-from must be the directory of a run, with recipe.json",
    ),
    "as many epochs": (["--epochs", 2], "--epochs must be more than the 2 of the run in resume_from, .*: --epochs=2"),
    "no epochs": ([], "--epochs must be more than the 2 of the run in resume_from, .* Received: --epochs=2"),
    "another field": (["--epochs", 3, "--flip"], r"--resume-from must be .* recipe: flip \(was False, is True\)"),
    "another recipe": (["--epochs", 3, "--recipe", "one_cycle"], r"another recipe: batch_size \(was 12, is 32\)"),
    "another model": (["ResNet32", "--epochs", 3], "a run with another model"),
    "other data": (["--data", "digits", "--epochs", 3], "must be a run with the same settings.* another data"),
    "overwrite": (["--epochs", 3, "--overwrite"], "--overwrite must be False with resume_from"),
    "find rate": (["--epochs", 3, "--find-rate"], "--resume-from must not be given with --find-rate"),
    "replaced rate": (["--find-rate", "--overwrite"], "--overwrite must not be given with --find-rate"),
}


@pytest.mark.parametrize("case", quick_among(NOT_RESUMED, "no run"))
def test_what_cannot_be_resumed_from_is_named(case, tmp_path, request):
    typed, message = NOT_RESUMED[case]
    source = tmp_path if case == "no run" else request.getfixturevalue("finished")
    result = invoke("train", "--resume-from", source, "--out", tmp_path / "new", *typed)
    assert re.search(message, with_options(str(result.exception), "train")), result.exception
    assert not (tmp_path / "new").exists()


@pytest.mark.slow
def test_damaged_and_unfinished_runs_are_not_resumed_from(photos, finished, stopped, tmp_path):
    longer = task(photos, epochs=4)
    with pytest.raises(
        ValueError, match="resume_from must be the directory of a finished run. .* type its own command"
    ):
        run.train(longer, tmp_path / "new", resume_from=stopped)
    with pytest.raises(ValueError, match="Received: .*photos.*, without a run"):
        run.train(longer, tmp_path / "new", resume_from=photos)
    for name in ("checkpoints", "model.keras"):
        damaged = shutil.copytree(finished, tmp_path / name / "run")
        shutil.rmtree(damaged / name) if (damaged / name).is_dir() else (damaged / name).write_bytes(b"")
        with pytest.raises(ValueError, match=name):
            run.train(longer, tmp_path / "new", resume_from=damaged)
    assert not (tmp_path / "new").exists()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").write_text("mine")
    with pytest.raises(
        ValueError, match="out must be a new or empty directory if resume_from is another one. Received"
    ):
        run.train(longer, tmp_path / "full", resume_from=finished)
    with pytest.raises(ValueError, match=r"an unfinished run with another recipe: epochs \(was 2, is 4\)"):
        run.train(longer, shutil.copytree(stopped, tmp_path / "stopped"), resume_from=finished)
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["notes.txt"]


def test_a_training_needs_a_model_and_data_unless_it_is_resumed(tmp_path):
    error = invoke("train", "--data", "digits", "--out", tmp_path).exception
    assert str(error) == "NAME must be typed, for example ResNet20, unless --resume-from gives a run. Received: none"
    error = with_options(str(invoke("train", "ResNet20", "--out", tmp_path).exception), "train")
    assert error == "--data must be typed, unless --resume-from gives a run. Received: none"


def test_epochs_replace_the_iterations_of_a_run_that_is_resumed(tmp_path):
    settings = {"model": "ResNet20", "data": "digits", "recipe": {"iterations": 50}, "size": 8}
    (tmp_path / "recipe.json").write_text(json.dumps(settings))
    name, data, recipe, options = settings_from(tmp_path, None, None, None, {"epochs": 7})
    assert (name, data, recipe.epochs, recipe.iterations, options) == ("ResNet20", "digits", 7, 0, {"size": 8})
    assert settings_from(tmp_path, None, None, None, {"iterations": 90})[2].iterations == 90
    for content in ("{}", '{"model": 3, "data": "digits", "recipe": {}}', '{"recipe": {"epochs": 0}}'):
        (tmp_path / "recipe.json").write_text(content)
        with pytest.raises(ValueError, match="recipe.json must have model, data and recipe. Received"):
            settings_from(tmp_path, None, None, None, {})


@pytest.mark.slow
def test_a_training_that_continues_says_where(photos, stopped, tmp_path):
    out = shutil.copytree(stopped, tmp_path / "run")
    result = invoke(
        *("train", "ResNet20", "--data", f"folder:{photos}", "--recipe", out / "recipe.json", "--out", out),
    )
    assert f"\ncontinues {out} at epoch 2 of 2, step 2 of 2\n" in result.output


@pytest.fixture
def _interruptible():
    """Shells start programs in the background with Ctrl-C ignored; the tests may run there."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.slow
@pytest.mark.usefixtures("_interruptible")
def test_ctrl_c_is_acknowledged_at_once_and_a_second_one_ends_without_saving(photos, tmp_path, capfd):
    def twice():
        die(2)()
        assert "stopping after this step, saving a checkpoint; press Ctrl-C again" in capfd.readouterr().err
        die(2)()

    with pytest.raises(KeyboardInterrupt) as ended:
        run.train(task(photos), tmp_path / "run", [AtStep(1, twice)])
    assert not isinstance(ended.value, Stopped)
    assert [path.name for path in (tmp_path / "run" / "checkpoints").iterdir()] == ["lock"]


# Edits. Each has the file, a function that edits it, and what the call then says; None: a sound checkpoint is used.


def content(text):
    return lambda path: path.write_text(text)


def cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def gone(path):
    path.unlink()


def field(**values):
    """Changes fields of a JSON file; None removes one."""

    def edit(path):
        fields = {**json.loads(path.read_text()), **values}
        path.write_text(json.dumps({name: value for name, value in fields.items() if value is not None}))

    return edit


def arrays(change):
    def edit(path):
        with np.load(path) as file:
            values = dict(file)
        np.savez(path, **change(values))

    return edit


def single_array(path):
    with path.open("wb") as file:
        np.save(file, np.zeros(3))


def nan_weight(path):
    model = keras.saving.load_model(path)
    model.set_weights([np.full_like(weight, np.nan) for weight in model.get_weights()])
    model.save(path)


def other_model(path):
    image = keras.Input((8, 8, 3))
    keras.Model(image, keras.layers.Dense(2)(keras.layers.Flatten()(image))).save(path)


FINISHED = {
    "run.json cut": ("run.json", cut, "run.json must be a readable JSON file"),
    "run.json empty": ("run.json", content(""), "run.json must be a readable JSON file"),
    "run.json list": ("run.json", content("[1]"), "run.json must hold a JSON object"),
    "run.json number": ("run.json", content("7"), "run.json must hold a JSON object"),
    "run.json deep": ("run.json", content('{"a":' * 10**5), "run.json must be a readable JSON file"),
    "run.json no classes": ("run.json", field(classes=None), "run.json must be as a training writes it: .*classes"),
    "run.json extra": ("run.json", field(more=1), "run.json must be as a training writes it: .*more"),
    "run.json accuracy NaN": ("run.json", field(test_accuracy=float("nan")), "test_accuracy must be in .0, 1."),
    "run.json accuracy text": ("run.json", field(test_accuracy="0.9"), "test_accuracy must be a number"),
    "run.json recipe list": ("run.json", field(recipe=[]), "run.json.*a recipe must be an object"),
    "run.json a class less": ("run.json", field(classes=["dark"]), "model.keras must be the network that run.json"),
    "run.json class numbers": ("run.json", field(classes=[1, 2]), "classes.0. must be a string"),
    "model.keras cut": ("model.keras", cut, "must be a readable .keras file. Received: .*model.keras"),
    "model.keras empty": ("model.keras", content(""), "must be a readable .keras file. Received: .*model.keras"),
    "model.keras gone": ("model.keras", gone, "model.keras, there is no such file"),
    "model.keras NaN": ("model.keras", nan_weight, "must have finite weights. Received: .*model.keras"),
    "model.keras of another": ("model.keras", other_model, "model.keras must be the network that run.json describes"),
}


@pytest.mark.slow
@pytest.mark.parametrize("edit", FINISHED)
def test_an_edited_finished_run_is_not_opened(edit, finished, tmp_path):
    name, change, message = FINISHED[edit]
    for file in ("run.json", "model.keras"):
        shutil.copy(finished / file, tmp_path / file)
    change(tmp_path / name)
    with pytest.raises(ValueError, match=message):
        run.open_run(tmp_path)


@pytest.mark.slow
def test_each_command_refuses_an_edited_run_and_names_the_file(photos, finished, tmp_path):
    train = ("train", "ResNet20", "--data", f"folder:{photos}", "--recipe", finished / "recipe.json", "--out")
    for name in ("run.json", "model.keras"):
        out = shutil.copytree(finished, tmp_path / name, ignore=shutil.ignore_patterns("tensorboard"))
        cut(out / name)
        sample = min((out / "samples").iterdir())
        commands = [
            ("evaluate", out),
            ("predict", sample, "--model", out),
            ("export", out, "--out", tmp_path / "deploy"),
            (*train, out),
            *([("runs", out)] if name == "run.json" else []),
        ]
        for command in commands:
            error = invoke(*command).exception
            assert isinstance(error, ValueError), (command, error)
            assert str(out) in str(error), (command, error)
            assert name in str(error), (command, error)
            assert ("--overwrite" in str(error)) is (command[0] == "train")


UNREADABLE = {
    "recipe.json": (cut, content(""), content("[]"), content("3"), field(model=7), field(recipe=None), field(size="8")),
    "history.csv": (
        *(
            content(text)
            for text in (
                "",
                "epoch,loss\n",
                "epoch\n\0",
                "epoch,loss\n1,x\n",
                "epoch,loss\n2,0.5\n",
                "epoch,loss\n1,2,3\n",
            )
        ),
        lambda path: path.write_bytes(b"\xff\xfe"),
        gone,
    ),
}


@pytest.mark.parametrize("name", UNREADABLE)
def test_runs_names_the_file_that_it_cannot_read(name, tmp_path):
    recipe = dataclasses.asdict(RECIPE)
    settings = {"model": "ResNet20", "data": "digits", "recipe": recipe, "size": 8}
    numbers = {"parameters": 3, "test_images": 4, "test_accuracy": 0.5, "best_epoch": 1, "seconds": 2.0}
    result = {"model": "ResNet20", "data": "digits", "classes": ["a"], "recipe": recipe, "skipped": [], "versions": {}}
    for number, edit in enumerate(UNREADABLE[name]):
        out = tmp_path / str(number)
        out.mkdir()
        (out / "recipe.json").write_text(json.dumps(settings))
        (out / "run.json").write_text(json.dumps({**result, **numbers}))
        (out / "history.csv").write_text("epoch,loss,accuracy\n1,0.5,\n")
        assert read_run(out).history["loss"] == [0.5]
        assert read_run(out).balanced_accuracy is None  # as earlier versions wrote it
        edit(out / name)
        with pytest.raises(ValueError, match=name):
            read_run(out)


@pytest.mark.parametrize(("balanced", "columns"), [(0.5, []), (0.498, []), (0.25, ["balanced"])])
def test_runs_with_uneven_classes_have_a_column_of_balanced_accuracies(balanced, columns, tmp_path, capsys):
    fields = {"model": "ResNet20", "data": "digits", "classes": ["a"], "recipe": {}, "skipped": [], "versions": {}}
    numbers = {"parameters": 3, "test_images": 4, "test_accuracy": 0.5, "best_epoch": 1, "seconds": 2.0}
    for name, more in (("before", {}), ("now", {"balanced_accuracy": balanced})):  # runs of before do not have it
        (tmp_path / name).mkdir()
        (tmp_path / name / "recipe.json").write_text(json.dumps({"model": "ResNet20", "data": "digits", "recipe": {}}))
        (tmp_path / name / "history.csv").write_text("epoch,loss\n1,0.5\n")
        (tmp_path / name / "run.json").write_text(json.dumps({**fields, **numbers, **more}))
    report.runs([read_run(tmp_path / name) for name in ("before", "now")], Console(width=200))
    lines = [
        line.replace("┃", "│").split("│") for line in capsys.readouterr().out.splitlines() if set(line) & set("│┃")
    ]
    header, before, now = [[cell.strip() for cell in line[1:-1]] for line in lines]
    assert header == ["run", "epochs", "best epoch", "validation", "test", *columns, "minutes"]
    assert before[4:-1] == ["50.00%", *("-" for _ in columns)]
    assert now[4:-1] == ["50.00%", *("25.00%" for _ in columns)]


def test_a_result_of_another_run_is_not_compared(tmp_path):
    (tmp_path / "recipe.json").write_text(json.dumps({"model": "ResNet20", "data": "digits", "recipe": {}}))
    fields = {"model": "ResNet56", "data": "digits", "classes": ["a"], "recipe": {}, "skipped": [], "versions": {}}
    numbers = {"parameters": 3, "test_images": 4, "test_accuracy": 0.5, "best_epoch": 1, "seconds": 2.0}
    (tmp_path / "run.json").write_text(json.dumps({**fields, **numbers}))
    (tmp_path / "history.csv").write_text("epoch,loss\n1,0.5\n")
    with pytest.raises(
        ValueError, match="must hold one run. Received: run.json of ResNet56 on digits, and recipe.json"
    ):
        read_run(tmp_path)


@pytest.mark.parametrize("text", ["", "[]", "{", "1", '{"recipe": 3}', '{"recipe": {"epochs": "x"}}', '{"epoch": 3}'])
def test_a_recipe_file_that_is_none_is_named(tmp_path, text):
    (tmp_path / "recipe.json").write_text(text)
    words = ("train", "ResNet20", "--data", "digits", "--recipe", tmp_path / "recipe.json", "--out", tmp_path / "run")
    error = invoke(*words).exception
    assert isinstance(error, ValueError)
    assert str(error).startswith(f"{tmp_path}/recipe.json must "), error


# Checkpoints, of a network that is quick to train. If the newest one is damaged, the older one is used.


def network():
    keras.utils.set_random_seed(1)
    image = keras.Input((8, 8, 1))
    return keras.Model(image, keras.layers.Dense(2, activation="softmax")(keras.layers.Flatten()(image)))


@pytest.fixture(scope="module")
def two_checkpoints(tmp_path_factory):
    """A directory of `fit` with checkpoints after the first epoch and after one step of the second."""
    directory = tmp_path_factory.mktemp("checkpoints")
    fit(network(), RECIPE, images(), directory=directory / "whole")
    with pytest.raises(Stopped):
        fit(network(), RECIPE, images(), callbacks=[AtStep(6, die(15))], directory=directory)
    assert sorted(path.name for path in (directory / "checkpoints").iterdir()) == ["5", "6", "best.npz", "lock"]
    return directory


NEWEST = {
    "state cut": ("6/state.json", cut),
    "state list": ("6/state.json", content("[]")),
    "state without history": ("6/state.json", field(history=None)),
    "state with more": ("6/state.json", field(more=1)),
    "state of text": ("6/state.json", field(epoch="1")),
    "state of another step": ("6/state.json", field(step=0)),
    "best accuracy NaN": ("6/state.json", field(best=float("nan"))),
    "settings of no recipe": ("6/state.json", field(settings=[])),
    "arrays cut": ("6/arrays.npz", cut),
    "arrays empty": ("6/arrays.npz", content("")),
    "an array missing": ("6/arrays.npz", arrays(lambda values: {k: v for k, v in values.items() if k != "model/0"})),
    "an array more": ("6/arrays.npz", arrays(lambda values: {**values, "model/999": np.zeros(1)})),
    "an array of another shape": ("6/arrays.npz", arrays(lambda values: {**values, "optimizer/2": np.zeros(1)})),
    "an array of NaN": ("6/arrays.npz", arrays(lambda values: {**values, "model/0": np.nan * values["model/0"]})),
    "a single array": ("6/arrays.npz", single_array),
    "arrays of pickle": ("6/arrays.npz", arrays(lambda values: {**values, "model/0": np.array([{}], object)})),
    "arrays of another checkpoint": ("6/arrays.npz", lambda path: shutil.copy(path.parents[1] / "5/arrays.npz", path)),
    "renamed": ("6", lambda path: path.rename(path.with_name("9"))),
    "a file in its place": ("6", lambda path: (shutil.rmtree(path), path.write_text(""))),
}


@pytest.mark.slow
@pytest.mark.parametrize("edit", NEWEST)
def test_a_damaged_checkpoint_is_passed_over_with_a_warning(edit, two_checkpoints, tmp_path, caplog):
    name, change = NEWEST[edit]
    directory = shutil.copytree(two_checkpoints, tmp_path / "copy")
    change(directory / "checkpoints" / name)
    with caplog.at_level(logging.WARNING, "keras_resnet.training"):
        fit(network(), RECIPE, images(), directory=directory)
    assert re.search(r"checkpoints/\d+ cannot be read and is skipped", caplog.text)
    assert (directory / "history.csv").read_text() == (directory / "whole" / "history.csv").read_text()


BEST = {
    "cut": cut,
    "empty": content(""),
    "of another network": arrays(lambda values: {**values, "0": np.zeros(3)}),
    "with less": arrays(lambda values: {"0": values["0"]}),
}


@pytest.mark.slow
@pytest.mark.parametrize("edit", BEST)
def test_damaged_best_weights_are_named(edit, two_checkpoints, tmp_path):
    directory = shutil.copytree(two_checkpoints, tmp_path / "copy")
    BEST[edit](directory / "checkpoints" / "best.npz")
    with pytest.raises(ValueError, match="best.npz must .*; remove this file to continue without it"):
        fit(network(), RECIPE, images(), directory=directory)


@pytest.mark.slow
def test_missing_best_weights_are_said_and_the_best_epoch_is_one_that_follows(two_checkpoints, tmp_path, caplog):
    directory = shutil.copytree(two_checkpoints, tmp_path / "copy")
    field(best=1.0, best_epoch=1)(directory / "checkpoints/6/state.json")  # no epoch can be better
    gone(directory / "checkpoints" / "best.npz")
    with caplog.at_level(logging.WARNING, "keras_resnet.training"):
        result = fit(network(), RECIPE, images(), directory=directory)
    assert "best.npz is missing, with the weights of epoch 1" in caplog.text
    assert result.best_epoch == 2
    assert (directory / "history.csv").read_text() == (directory / "whole" / "history.csv").read_text()


@pytest.mark.slow
def test_ctrl_c_saves_a_checkpoint_also_when_nobody_reads_stderr(tmp_path, monkeypatch):
    reader, writer = os.pipe()
    os.close(reader)
    stderr = os.fdopen(writer, "w")
    monkeypatch.setattr(sys, "stderr", stderr)
    with pytest.raises(Stopped):
        fit(network(), RECIPE, images(), callbacks=[AtStep(2, die(2))], directory=tmp_path)
    with contextlib.suppress(BrokenPipeError):
        stderr.close()
    assert checkpoints.newest(tmp_path / "checkpoints").state["step"] == 2


def test_a_sequential_model_keeps_name_and_dtype_of_its_input(tmp_path):
    image = keras.Input((4, 4, 3), dtype="uint8", name="picture")
    layers = [keras.layers.Rescaling(1 / 255), keras.layers.Flatten(), keras.layers.Dense(2)]
    keras.Sequential([image, *layers]).save(tmp_path / "model.keras")
    (opened,) = run.open_model(tmp_path / "model.keras").inputs
    assert (opened.dtype, opened.name, opened.shape) == ("uint8", "picture", (None, 4, 4, 3))


def test_the_error_for_a_damaged_recipe_file_names_it_once(tmp_path):
    (tmp_path / "recipe.json").write_text('{"model": "ResNet20"}')
    with pytest.raises(ValueError, match=r"^[^ ]*/recipe.json must have 'recipe'. Received: \['model'\]$"):
        read_task(tmp_path)
    cut(tmp_path / "recipe.json")
    with pytest.raises(ValueError, match="^.*/recipe.json must be a readable JSON file. Received: ") as error:
        read_task(tmp_path)
    assert str(error.value).count("Received") == 1


@pytest.mark.slow
def test_a_run_is_not_overwritten_while_another_process_trains_in_its_directory(photos, stopped, tmp_path):
    out = shutil.copytree(stopped, tmp_path / "run")
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    with (
        exclusive(out / "checkpoints", "training"),
        pytest.raises(ValueError, match="used by one training at a time; .*, which a training of another process"),
    ):
        run.train(dataclasses.replace(task(photos), size=9), out, overwrite=True)
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file() and path.name != "lock"} == {
        path: content for path, content in before.items() if path.name != "lock"
    }


@pytest.mark.slow
def test_a_damaged_recipe_file_of_an_unfinished_run_is_named_and_can_be_overwritten(photos, stopped, tmp_path):
    out = shutil.copytree(stopped, tmp_path / "run")
    cut(out / "recipe.json")
    with pytest.raises(ValueError, match=r"overwrite=True .* where .*/recipe.json must be a readable JSON file"):
        run.train(task(photos), out)
    assert run.train(task(photos), out, overwrite=True).recipe == RECIPE


@pytest.mark.slow
def test_a_checkpoint_of_another_network_is_refused(two_checkpoints, tmp_path):
    directory = shutil.copytree(two_checkpoints, tmp_path / "copy")
    image = keras.Input((8, 8, 1))
    other = keras.Model(image, keras.layers.Dense(2)(keras.layers.Flatten()(keras.layers.MaxPool2D()(image))))
    with pytest.raises(ValueError, match="same settings. Received: .*copy, which holds a training with another model"):
        fit(other, RECIPE, images(), directory=directory)


@pytest.mark.slow
def test_fit_goes_on_for_more_epochs_in_the_same_directory(two_checkpoints, tmp_path):
    directory = shutil.copytree(two_checkpoints / "whole", tmp_path / "copy")
    first = (directory / "history.csv").read_text().splitlines()
    longer = dataclasses.replace(RECIPE, epochs=3)
    result = fit(
        network(), longer, images(), callbacks=[AtStep(6, lambda: pytest.fail("trained twice"))], directory=directory
    )
    assert (directory / "history.csv").read_text().splitlines()[:3] == first
    assert len(result.history["loss"]) == 3
    with pytest.raises(ValueError, match="which holds a training with epochs=3"):
        fit(network(), RECIPE, images(), directory=directory)
