"""The command line from end to end. The main command of the README runs exactly as a user types it."""

import json
import os
import platform
import re
import shlex
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from tensorflow.python.util import _pywrap_util_port
from typer.testing import CliRunner

import keras_resnet as kr
from keras_resnet import cli
from keras_resnet.cli import COMMANDS, completion
from keras_resnet.data import idx, load
from keras_resnet.data.sources import SOURCES
from tests import needs, processes
from tests.conftest import FASHION, ROOT, UNTRACED
from tests.data.test_sources import write_idx, write_png
from tests.processes import command
from tests.serving.process import serving
from tests.small_training import of_one_block, without_export
from tests.test_package import main_command

# The command with small trainings, which run eagerly.
SMALL = """
import sys, warnings, pytest, tensorflow as tf
from keras_resnet import cli
from tests.small_training import of_one_block, without_export
of_one_block(pytest.MonkeyPatch())
without_export(pytest.MonkeyPatch())
warnings.filterwarnings("ignore", "Even though the .*run_functions_eagerly")
tf.config.run_functions_eagerly(True)
sys.argv[0] = "keras-resnet"
sys.exit(cli.main())
"""


def invoke(*arguments):
    return CliRunner().invoke(cli.app, list(map(str, arguments)), env={"COLUMNS": "120"})


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """Runs the README's main command in a new folder; returns the folder and the finished process."""
    folder = tmp_path_factory.mktemp("main")
    words = main_command().split()
    assert words[0].endswith("keras-resnet")
    program = Path(sys.executable).with_name("keras-resnet")
    environment = {**os.environ, "COLUMNS": "80", "NO_COLOR": "1"}
    environment.pop("TF_CPP_MIN_LOG_LEVEL", None)
    run = subprocess.run(
        [program, *words[1:]], capture_output=True, text=True, env=environment, cwd=folder, check=False
    )
    assert run.returncode == 0, run.stderr
    return folder, run


@pytest.mark.processes
@pytest.mark.slow
def test_the_main_job_reads_digits(digits):
    folder, run = digits
    # New users are promised at least 98.5 % on images that the training did not use.
    assert json.loads((folder / "runs/digits/run.json").read_text())["test_accuracy"] >= 0.985
    assert len(re.findall(r"^epoch +\d+/15", run.stdout, re.M)) == 15
    assert run.stderr == ""


ONEDNN = "TF_ENABLE_ONEDNN_OPTS"
# Starts Keras as in a new interpreter, but prints the variable and exits when TensorFlow is imported, which reads it.
PRINT_ONEDNN_SETTING = f"""
import os, sys
from keras_resnet.cli.startup import start_keras
for name in [name for name in sys.modules if name.partition(".")[0] in ("keras", "tensorflow")]:
    del sys.modules[name]
class Finder:
    def find_spec(self, name, *_):
        if name == "tensorflow":
            print(os.environ["{ONEDNN}"])
            sys.exit()
sys.meta_path.insert(0, Finder())
start_keras()
"""


@pytest.mark.slow
@pytest.mark.processes
@pytest.mark.skipif(platform.machine() != "x86_64", reason="oneDNN is for x86")
def test_commands_compute_on_onednn_unless_the_user_says_otherwise():
    assert _pywrap_util_port.IsMklEnabled() == (os.environ[ONEDNN] == "1")  # the value that tests/conftest.py sets
    for user_setting, expected in ((None, "1"), ("0", "0")):
        finished = processes.python("-c", PRINT_ONEDNN_SETTING, environment={ONEDNN: user_setting})
        assert processes.printed(finished) == f"{expected}\n"


@pytest.mark.processes
@pytest.mark.slow
def test_what_the_main_job_says_to_type_next_works(digits, monkeypatch):
    folder, run = digits
    lines = [line.strip() for line in run.stdout.splitlines() if re.match(r"  \S*keras-resnet ", line)]
    assert [line.split()[1] for line in lines] == ["evaluate", "predict"]
    # A new interpreter is needed: in a forked process TensorFlow prints no messages.
    environment = {"TF_CPP_MIN_LOG_LEVEL": None, "COLUMNS": "80", "NO_COLOR": "1"}
    words = ("keras_resnet", *shlex.split(lines[0])[1:])
    evaluated = processes.fresh("-m", *words, cwd=folder, environment=environment)
    assert (evaluated.returncode, evaluated.stderr) == (0, "")
    accuracy = json.loads((folder / "runs/digits/run.json").read_text())["test_accuracy"]
    assert f"top-1 {accuracy:.2%} on the 360 test images of digits" in evaluated.stdout
    monkeypatch.chdir(folder)
    predicted = invoke(*shlex.split(lines[1])[1:])
    assert (predicted.exit_code, predicted.stderr) == (0, "")
    is_class = re.search(r"_is_(\d)\.png", lines[1])[1]
    assert re.search(rf"_is_{is_class}\.png: {is_class} \d+\.\d%", predicted.stdout)


@pytest.mark.processes
@pytest.mark.slow
def test_the_main_job_says_how_to_serve_a_directory_that_is_there(digits):
    folder, run = digits
    mounted = re.search(r"docker run .* -v (\S+):/models/ResNet20:ro", run.stdout)[1]
    assert (Path(mounted) / "1" / "saved_model.pb").is_file()
    assert Path(mounted).is_relative_to(folder.resolve())


@pytest.mark.serving
@pytest.mark.processes
@pytest.mark.slow
def test_the_deploy_lines_of_the_readme_serve_digits(digits, monkeypatch):
    folder, _ = digits
    (block,) = re.findall(r"```sh\n(.*?)```", (ROOT / "docs" / "deployment.md").read_text(), re.S)
    export, start, client = block.splitlines()
    assert start == "docker compose --project-directory deploy up -d --wait"  # the server below replaces it
    monkeypatch.chdir(folder)
    assert invoke(*export.split()[1:]).exit_code == 0
    with serving("ResNet20", f"--model_base_path={folder / 'deploy/models/ResNet20'}") as server:
        client_command, _, files = client.replace("localhost:8500", server.grpc).rpartition(" ")
        images = sorted(str(path.relative_to(folder)) for path in folder.glob(files))
        result = command(*client_command.split()[1:], *images, cwd=folder)
    assert (result.returncode, result.stderr) == (0, "")
    lines = result.stdout.splitlines()
    assert len(lines) == len(images) > 1
    for line in lines:
        assert re.search(r"_is_(\d)\.png: \1 \d+\.\d%", line), line


@pytest.fixture(scope="module")
def predicted(digits):
    """The result of `predict` for two good images, a corrupt one, a missing one and one in colour."""
    folder, _ = digits
    good = sorted((folder / "runs/digits/samples").iterdir())[:2]
    (folder / "bad[final].png").write_bytes(good[0].read_bytes()[:40])
    write_png(folder / "colour.png", (40, 30, 3), 120)
    images = (good[0], "bad[final].png", "none[x].png", good[1], "colour.png")
    return good, command("predict", *images, "--model", "runs/digits/model.keras", "--top", 10, cwd=folder)


@pytest.mark.processes
@pytest.mark.slow
def test_a_bad_image_is_named_and_the_others_are_done(predicted):
    good, result = predicted
    assert result.returncode == 1
    assert [line.split(":")[0] for line in result.stdout.splitlines()] == [*map(str, good), "colour.png"]
    assert result.stderr.splitlines() == [
        "Error: bad[final].png is not a readable JPEG, PNG, BMP, WebP or GIF",
        "Error: cannot read none[x].png: No such file or directory",
    ]


@pytest.mark.processes
@pytest.mark.slow
def test_a_photograph_in_colour_is_read_by_a_net_for_grey_images(predicted):
    _, result = predicted
    (line,) = (line for line in result.stdout.splitlines() if line.startswith("colour.png"))
    assert line.count("%") == 10


@pytest.mark.processes
def test_a_user_error_is_one_line_and_status_2(tmp_path):
    result = command("train", "ResNet5O", "--data", "digits", "--out", tmp_path / "run")
    assert result.returncode == 2
    assert result.stdout == ""
    assert result.stderr == (
        "Error: unknown model; keras_resnet.list_models() lists them. "
        "Did you mean ResNet56, ResNet50, ResNet50D? Received: 'ResNet5O'\n"
    )
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
@needs.fashion_mnist
@UNTRACED
def test_train_reads_fashion_mnist(tmp_path, monkeypatch, eager):
    """Trains on the first images of the real files, in files of the same format."""
    of_one_block(monkeypatch)
    without_export(monkeypatch)
    for split, count in (("train", 128), ("test", 64)):
        images, labels = idx.read_idx(FASHION, split)
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
    assert "of the 64 test images are right" in result.output


@pytest.mark.slow
@UNTRACED
def test_paths_with_spaces_are_quoted_and_a_file_is_no_directory(tmp_path, monkeypatch, capfd, eager):
    of_one_block(monkeypatch)
    without_export(monkeypatch)
    monkeypatch.chdir(tmp_path)
    for name, value in (("dark", 20), ("bright", 200)):
        for number in range(4):
            write_png(tmp_path / "photos" / name / f"{number}.png", (8, 8, 3), value + number)
    options = ("--data", f"folder:{tmp_path / 'photos'}", "--epochs", "1", "--size", "8")
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(sys, "argv", ["keras-resnet", "train", "ResNet20", *options, "--out", "file"])
    with pytest.raises(SystemExit) as failed:
        cli.main()
    error = capfd.readouterr().err
    assert (failed.value.code, error.count("\n")) == (2, 1)
    assert "File exists" in error
    run = invoke("train", "ResNet20", *options, "--out", "a run")
    next_command = re.search(r"\S*keras-resnet (predict .*)", run.output)[1]
    assert "--model 'a run'" in next_command
    predicted = invoke(*shlex.split(next_command))
    assert re.fullmatch(r"a run/samples/0_is_bright.png: (bright|dark) .*\n", predicted.output), predicted.output


@pytest.mark.processes
@pytest.mark.slow
def test_evaluate_refuses_data_of_other_classes(digits, tmp_path):
    folder, _ = digits
    labels = np.arange(10, dtype="uint8")
    write_idx(tmp_path / "t10k-images-idx3-ubyte", np.zeros((10, 8, 8), "uint8"))
    write_idx(tmp_path / "t10k-labels-idx1-ubyte", labels)
    (tmp_path / "classes.txt").write_text("\n".join("abcdefghij"))
    error = invoke("evaluate", folder / "runs/digits", "--data", f"idx:{tmp_path}").exception
    assert "data must have only classes of the model. Received: 'a', 'b', 'c', 'd', 'e' and 5 more" in str(error)


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


@pytest.mark.slow
def test_summary_shows_the_stages():
    result = invoke("summary", "ResNet18", "--size", 64, "--channels", 1, "--classes", 5)
    assert result.exit_code == 0
    for part in ("conv1", "conv2_x", "conv5_x", "16 x 16 x 64", "2 x 2 x 512", "head", "total"):
        assert part in result.output


def test_summary_draws_the_stages(tmp_path):
    result = invoke("summary", "ResNet20", "--plot", tmp_path / "net.svg")
    assert result.exit_code == 0
    assert "<svg" in (tmp_path / "net.svg").read_text()
    assert "plot must end in .svg or .png" in str(invoke("summary", "ResNet20", "--plot", "net.pdf").exception)


@pytest.mark.slow
@pytest.mark.processes
def test_help_answers_at_once_and_explains():
    """Importing Keras takes seconds, so no help text may import it."""
    names = [function.__name__ for function in COMMANDS]
    code = (
        "import sys\n"
        "from keras_resnet.cli import main\n"
        "for name in ['', *sys.argv[1:]]:\n"
        "    sys.argv = ['keras-resnet', *name.split(), '--help']\n"
        "    try: main()\n"
        "    except SystemExit as stop: assert stop.code == 0, (name, stop.code)\n"
        "    assert 'keras' not in sys.modules and 'tensorflow' not in sys.modules, name"
    )
    help_texts = processes.printed(processes.fresh("-c", code, *names)).split("Usage: ")[1:]
    assert [re.match(r"keras-resnet (\w*)", text)[1] for text in help_texts] == ["", *names]
    assert all(kind in help_texts[1 + names.index("train")] for kind in SOURCES)


def completed(*words):
    """What the tab key completes at the end of a command line, in a new interpreter without Keras."""
    code = (
        "import sys; sys.argv[0] = 'keras-resnet'; from keras_resnet.cli import main\n"
        "try: main()\n"
        "finally: assert 'keras' not in sys.modules and 'tensorflow' not in sys.modules"
    )
    environment = {
        "_KERAS_RESNET_COMPLETE": "complete_bash",
        "COMP_WORDS": " ".join(("keras-resnet", *words)),
        "COMP_CWORD": str(len(words)),
    }
    ended = processes.fresh("-c", code, environment=environment)
    assert "Error" not in ended.stderr, ended.stderr
    return ended.stdout.split()


@pytest.mark.processes
@pytest.mark.slow
def test_a_shell_completes_commands_options_models_and_recipes():
    assert completed("ev") == ["evaluate"]
    assert completed("train", "ResNet20", "--overw") == ["--overwrite"]
    assert completed("summary", "SEResNeXt") == ["SEResNeXt50_32x4d", "SEResNeXt101_32x4d"]
    assert completed("tune", "--recipe", "timm_") == ["timm_a1", "timm_a2", "timm_a3"]
    assert completion.models("") == kr.list_models()


@pytest.mark.slow
def test_evaluate_needs_to_know_what_on(tmp_path):
    image = keras.Input((8, 8, 1))
    model = keras.Model(image, keras.layers.Dense(10)(keras.layers.Flatten()(image)))
    model.set_weights([np.zeros((64, 10)), np.eye(10)[3]])  # the model predicts 3 for every image
    model.save(tmp_path / "three.keras")
    assert "data must be given for weights and for .keras files" in str(
        invoke("evaluate", tmp_path / "three.keras").exception
    )
    result = invoke("evaluate", tmp_path / "three.keras", "--data", "digits", "--split", "train")
    threes = sum(int(label) == 3 for _, label in load("digits", "train").examples)
    assert f"top-1 {threes / 1437:.2%} on the 1,437 train images of digits" in result.output


def test_the_version_is_printed():
    assert invoke("--version").output == f"keras-resnet {kr.__version__}\n"


def test_errors_name_the_option_that_was_typed(monkeypatch, capsys, tmp_path):
    words = ("keras-resnet", "tune", "--data", "digits", "--out", tmp_path / "out", "--max-macs", 0)
    monkeypatch.setattr(sys, "argv", list(map(str, words)))
    with pytest.raises(SystemExit):
        cli.main()
    assert capsys.readouterr().err == "Error: --max-macs must be in [1, inf). Received: --max-macs=0.0\n"


def test_a_model_of_the_zoo_without_weights_is_answered_with_what_to_type():
    message = str(invoke("predict", "photo.jpg", "--model", "ResNet50").exception)
    assert (
        "a model of the zoo; for published weights add --weights, see keras-resnet models ResNet50 --weights" in message
    )
