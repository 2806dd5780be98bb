"""The command line from end to end; the main job of the README is run as it is typed."""

import json
import os
import platform
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from keras_resnet import cli
from keras_resnet.cli import COMMANDS
from keras_resnet.data import idx
from keras_resnet.data.sources import SOURCES
from tests.conftest import FASHION, ROOT, run_python
from tests.serving.process import serving
from tests.test_data import write_idx, write_png
from tests.test_package import main_command

COMMAND = str(Path(sys.executable).with_name("keras-resnet"))


def shell(*arguments, cwd=None):
    env = {**os.environ, "COLUMNS": "80", "NO_COLOR": "1"}
    env.pop("TF_CPP_MIN_LOG_LEVEL", None)
    return subprocess.run(
        [COMMAND, *map(str, arguments)], capture_output=True, text=True, env=env, cwd=cwd, check=False
    )


def invoke(*arguments):
    return CliRunner().invoke(cli.app, list(map(str, arguments)), env={"COLUMNS": "120"})


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """The README's main job, as typed."""
    folder = tmp_path_factory.mktemp("main")
    words = main_command().split()
    assert words[0].endswith("keras-resnet")
    run = shell(*words[1:], cwd=folder)
    assert run.returncode == 0, run.stderr
    return folder, run


def test_the_main_job_reads_digits(digits):
    folder, run = digits
    # What is promised to new users: 98.5 % on images that the training never saw.
    assert json.loads((folder / "runs/digits/run.json").read_text())["test_accuracy"] >= 0.985
    assert len(re.findall(r"^epoch +\d+/15", run.stdout, re.M)) == 15
    assert run.stderr == ""


@pytest.mark.skipif(platform.machine() != "x86_64", reason="oneDNN is for x86")
@pytest.mark.parametrize(("set_by_user", "found"), [(None, "1"), ("0", "0")])
def test_commands_compute_on_onednn_unless_told_otherwise(set_by_user, found, monkeypatch):
    monkeypatch.delenv("TF_ENABLE_ONEDNN_OPTS")
    if set_by_user:
        monkeypatch.setenv("TF_ENABLE_ONEDNN_OPTS", set_by_user)
    code = (
        "from keras_resnet.quiet import start_keras; start_keras()\n"
        "from tensorflow.python.util import _pywrap_util_port; print(int(_pywrap_util_port.IsMklEnabled()))"
    )
    assert run_python(code).strip() == found


def test_what_the_main_job_says_to_type_next_works(digits):
    folder, run = digits
    commands = [line.strip() for line in run.stdout.splitlines() if re.match(r"  \S*keras-resnet ", line)]
    assert [command.split()[1] for command in commands] == ["evaluate", "predict"]
    outputs = []
    for command in commands:
        result = subprocess.run(command, shell=True, capture_output=True, text=True, cwd=folder, check=False)
        assert (result.returncode, result.stderr) == (0, "")
        outputs.append(result.stdout)
    said = json.loads((folder / "runs/digits/run.json").read_text())["test_accuracy"]
    assert f"top-1 {said:.2%} on the 360 test images of digits" in outputs[0]
    is_class = re.search(r"_is_(\d)\.png", commands[1])[1]
    assert re.search(rf"_is_{is_class}\.png: {is_class} \d+\.\d%", outputs[1])


def test_the_main_job_says_how_to_serve_a_directory_that_is_there(digits):
    folder, run = digits
    mounted = re.search(r"docker run .* -v (\S+):/models/ResNet20:ro", run.stdout)[1]
    assert (Path(mounted) / "1" / "saved_model.pb").is_file()
    assert Path(mounted).is_relative_to(folder.resolve())


def test_the_deploy_lines_of_the_readme_serve_digits(digits):
    folder, _ = digits
    (block,) = re.findall(r"^## Deploy\n.*?```sh\n(.*?)```", (ROOT / "README.md").read_text(), re.S | re.M)
    export, start, ask = block.splitlines()
    assert start == "docker compose --project-directory deploy up -d --wait"  # in place of which the server below
    assert shell(*export.split()[1:], cwd=folder).returncode == 0
    with serving("ResNet20", f"--model_base_path={folder / 'deploy/models/ResNet20'}") as server:
        before, _, files = ask.replace("localhost:8500", server.grpc).rpartition(" ")
        images = sorted(str(path.relative_to(folder)) for path in folder.glob(files))
        asked = shell(*before.split()[1:], *images, cwd=folder)
    assert (asked.returncode, asked.stderr) == (0, "")
    lines = asked.stdout.splitlines()
    assert len(lines) == len(images) > 1
    for line in lines:
        assert re.search(r"_is_(\d)\.png: \1 \d+\.\d%", line), line


def test_a_bad_image_is_named_and_the_others_are_done(digits):
    folder, _ = digits
    good = sorted((folder / "runs/digits/samples").iterdir())[:2]
    (folder / "bad[final].png").write_bytes(good[0].read_bytes()[:40])
    result = shell("predict", good[0], "bad[final].png", "none[x].png", good[1], "--model", "runs/digits", cwd=folder)
    assert result.returncode == 1
    assert [line.split(":")[0] for line in result.stdout.splitlines()] == list(map(str, good))
    assert result.stderr.splitlines() == [
        "Error: bad[final].png is no readable JPEG, PNG, BMP, WebP or GIF",
        "Error: cannot read none[x].png: No such file or directory",
    ]


def test_a_photograph_in_colour_is_read_by_a_net_for_grey_images(digits):
    folder, _ = digits
    write_png(folder / "colour.png", (40, 30, 3), 120)
    result = shell("predict", "colour.png", "--model", "runs/digits/model.keras", "--top", 10, cwd=folder)
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.count("%") == 10


def test_a_user_error_is_one_line_and_status_2(tmp_path):
    result = shell("train", "ResNet5O", "--data", "digits", "--out", tmp_path / "run")
    assert result.returncode == 2
    assert result.stdout == ""
    assert result.stderr == (
        "Error: unknown model; keras_resnet.list_models() lists them. "
        "Did you mean ResNet56, ResNet50, ResNet50D? Received: 'ResNet5O'\n"
    )
    assert not (tmp_path / "run").exists()


@pytest.mark.skipif(not FASHION.is_dir(), reason="needs Debian's package dataset-fashion-mnist")
def test_train_reads_fashion_mnist(tmp_path):
    """The first images of the real files, in files of the same format."""
    for split, count in (("train", 256), ("test", 64)):
        images, labels = idx.read(FASHION, split)
        write_idx(tmp_path / f"{idx.PREFIX[split]}-images-idx3-ubyte", images[:count])
        write_idx(tmp_path / f"{idx.PREFIX[split]}-labels-idx1-ubyte", labels[:count])
    result = invoke(
        *("train", "ResNet20", "--data", f"idx:{tmp_path}", "--out", tmp_path / "run"),
        *("--epochs", 2, "--batch-size", 32, "--learning-rate", 0.1, "--size", 16, "--flip", "--seed", 1),
    )
    assert result.exit_code == 0, result.output
    recipe = json.loads((tmp_path / "run" / "run.json").read_text())["recipe"]
    assert (recipe["epochs"], recipe["batch_size"], recipe["learning_rate"]) == (2, 32, 0.1)
    assert (recipe["flip"], recipe["seed"]) == (True, 1)
    assert "of the 64 held-out test images are right" in result.output


def test_paths_with_spaces_are_quoted_and_a_file_is_no_directory(tmp_path):
    for name, value in (("dark", 20), ("bright", 200)):
        for number in range(2):
            write_png(tmp_path / "photos" / name / f"{number}.png", (8, 8, 3), value + number)
    options = ("--data", f"folder:{tmp_path / 'photos'}", "--epochs", 1, "--size", 8)
    (tmp_path / "file").write_text("")
    failed = shell("train", "ResNet20", *options, "--out", tmp_path / "file")
    assert (failed.returncode, failed.stderr.count("\n")) == (2, 1)
    assert "File exists" in failed.stderr
    run = shell("train", "ResNet20", *options, "--out", "a run", cwd=tmp_path)
    command = re.search(r"\S*keras-resnet predict .*", run.stdout)[0]
    assert "--model 'a run'" in command
    asked = subprocess.run(command, shell=True, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert re.fullmatch(r"a run/samples/0_is_bright.png: (bright|dark) .*\n", asked.stdout), asked.stderr


def test_evaluate_refuses_data_of_other_classes(digits, tmp_path):
    folder, _ = digits
    labels = np.arange(10, dtype="uint8")
    write_idx(tmp_path / "t10k-images-idx3-ubyte", np.zeros((10, 8, 8), "uint8"))
    write_idx(tmp_path / "t10k-labels-idx1-ubyte", labels)
    (tmp_path / "classes.txt").write_text("\n".join("abcdefghij"))
    error = invoke("evaluate", folder / "runs/digits", "--data", f"idx:{tmp_path}").exception
    assert "--data must have the classes of the run, ('0', '1'" in str(error)


def test_models_lists_the_zoo():
    result = invoke("models", "seresnext*")
    assert result.exit_code == 0
    cells = [re.split(r"\s*[│┃]\s*", line.strip("│┃ ")) for line in result.output.splitlines() if "SE" in line]
    assert cells == [
        ["SEResNeXt50_32x4d", "50", "27,559,896", "4.23 G", "224x224"],
        ["SEResNeXt101_32x4d", "101", "48,955,416", "7.97 G", "224x224"],
    ]


def test_models_says_when_nothing_matches():
    assert "no model matches 'vgg*'" in str(invoke("models", "vgg*").exception)


def test_summary_shows_the_stages():
    result = invoke("summary", "ResNet18", "--size", 64, "--channels", 1, "--classes", 5)
    assert result.exit_code == 0
    for part in ("conv1", "conv2_x", "conv5_x", "16 x 16 x 64", "2 x 2 x 512", "head", "total"):
        assert part in result.output


@pytest.mark.parametrize("command", ["", *(command.__name__ for command in COMMANDS)])
def test_help_answers_at_once_and_explains(command):
    """Keras takes seconds to import, so no help may import it."""
    code = (
        "import sys; sys.argv = ['keras-resnet', *sys.argv[1:]]\n"
        "from keras_resnet.cli import main\n"
        "try: main()\n"
        "except SystemExit as stop: assert stop.code == 0, stop.code\n"
        "assert 'keras' not in sys.modules and 'tensorflow' not in sys.modules"
    )
    arguments = [*command.split(), "--help"]
    run = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert run.returncode == 0, run.stderr
    assert "Usage" in run.stdout
    if command == "train":
        assert all(kind in run.stdout for kind in SOURCES)


def test_evaluate_needs_to_know_what_on(digits):
    folder, _ = digits
    model = folder / "runs/digits/model.keras"
    assert "--data must be given for a .keras file" in str(invoke("evaluate", model).exception)
    result = invoke("evaluate", model, "--data", "digits", "--split", "train")
    assert re.search(r"top-1 (9\d|100)\.\d\d% on the 1,437 train images of digits", result.output)
