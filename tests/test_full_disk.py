"""A full disk: every command and writer ends with one sentence that names the path, and leaves what was there before.

The forked processes may write files of at most `LIMIT` bytes. A larger write fails with the error "File too large", at
the same places where a full disk fails.
"""

import json

import pytest

from tests import needs, processes

LIMIT = 20_000
pytestmark = [needs.linux, pytest.mark.processes]

WRITERS = """
import json, resource, sys
from pathlib import Path
import numpy as np
import keras_resnet as kr
from keras_resnet.training import checkpoints, run
from keras_resnet.training.curves import plot_curves
from keras_resnet.tuning.persistence import AtomicCheckpoint
from keras_resnet.weights import Checkpoint
from keras_resnet.weights.save import save_weights

folder, limit, names = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]
model = kr.ResNet((1, 1), kr.residual_block, filters=(16, 32), stem=kr.stems.cifar, input_shape=(8, 8, 3), classes=40)
row = Checkpoint("ResNet20", "mine", "mine", form="torch")
noise = np.random.default_rng(0).random(size=limit).tolist()
WRITERS = {
    "net.weights.h5": lambda path: save_weights(model, path, row, "ResNet20"),
    "net.keras": lambda path: save_weights(model, path, row, "ResNet20"),
    "net.npz": lambda path: save_weights(model, path, row, "ResNet20"),
    "net.safetensors": lambda path: save_weights(model, path, row, "ResNet20"),
    "run.keras": lambda path: run.save(model, path),
    "checkpoint.weights.h5": lambda path: AtomicCheckpoint(model).save_weights(str(path)),
    "checkpoints": lambda path: checkpoints.save(path, 1, {"a": np.array(noise)}, {}),
    "curves.png": lambda path: plot_curves({"loss": noise, "accuracy": noise}, "", path),
    "model": lambda path: kr.export.saved_model(model, path),
    "net.tflite": lambda path: kr.export.litert(model, path),
    "net.xml": lambda path: kr.export.openvino(model, path),
    "net.onnx": lambda path: kr.export.onnx(model, path),
}
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
for name in names:
    if "." in name:
        (folder / name).write_text("before")
    try:
        WRITERS[name](folder / name)
        message, kind = "written", ""
    except Exception as error:
        message, kind = str(error), isinstance(error, OSError)
    left = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
    before = "." not in name or (folder / name).read_text(errors="replace") == "before"
    print(json.dumps({"name": name, "message": message, "kind": kind, "left": left, "before": before}), flush=True)
    if "." in name:
        (folder / name).unlink()
"""


def outcomes(folder, *names):
    """What each writer says, in a process that cannot write large files."""
    ended = processes.python("-c", WRITERS, folder, LIMIT, *names)
    assert ended.returncode == 0, ended.stderr[-3000:]
    return {outcome.pop("name"): outcome for outcome in map(json.loads, ended.stdout.splitlines())}


@pytest.mark.slow
@pytest.mark.parametrize(
    "names",
    [
        (
            *("net.weights.h5", "net.keras", "net.npz", "net.safetensors", "run.keras", "checkpoint.weights.h5"),
            *("checkpoints", "model", "curves.png"),
        ),
        pytest.param(("net.tflite",), marks=needs.package("ai_edge_litert")),
        pytest.param(("net.xml",), marks=needs.package("openvino")),
        pytest.param(("net.onnx",), marks=needs.package("tf2onnx")),
    ],
    ids=lambda names: names[0],
)
def test_a_writer_names_the_path_and_leaves_the_file_of_before(tmp_path, names):
    results = outcomes(tmp_path, *names)
    assert list(results) == list(names)
    for name, result in results.items():
        reason = "basic_ios::clear: iostream error" if name == "net.xml" else "File too large"  # OpenVINO says no more
        assert result["message"].startswith(f"cannot write {tmp_path / name}"), result
        assert result["message"].endswith(f": {reason}"), result
        assert result["kind"] is True
        assert result["before"]
        assert result["left"] == ([name] if "." in name else [])


COMMAND = """
import resource, sys
import pytest
from keras_resnet import cli
from tests.cli.test_tune import small_base
from tests.small_training import of_one_block
limit = int(sys.argv.pop(1))
sys.argv[0] = "keras-resnet"
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
if limit == 100_000:
    sys.exit(cli.main())
with pytest.MonkeyPatch.context() as patch, small_base():
    of_one_block(patch)
    sys.exit(cli.main())
"""
SHORT = ("--data", "digits", "--epochs", 1, "--batch-size", 256, "--size", 8, "--validation-split", 0.5)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("limit", "arguments", "written"),
    [
        (10_000, ("train", "ResNet20", *SHORT, "--out", "run"), "run/checkpoints"),
        (
            30_000,
            ("tune", *SHORT, "--trials", 1, "--max-macs", "8e4", "--out", "search"),
            "search/trials/trial_0/checkpoint.weights.h5",
        ),
        (100_000, ("convert", "fashion_mnist", "--model", "ResNet20", "--out", "net.weights.h5"), "net.weights.h5"),
        (100_000, ("export", "ResNet20", "--weights", "fashion_mnist", "--out", "served"), "served/models/ResNet20/1"),
        (
            100_000,
            (
                "embed",
                "digits",
                "--split",
                "test",
                "--model",
                "ResNet20",
                "--weights",
                "fashion_mnist",
                "--out",
                "e.npz",
            ),
            "e.npz",
        ),
    ],
    ids=["train", "tune", "convert", "export", "embed"],
)
def test_a_command_ends_with_one_sentence(tmp_path, limit, arguments, written):
    """Training and search use networks of one block, which run eagerly."""
    terminal = {"COLUMNS": "500", "NO_COLOR": "1"}
    ended = processes.python("-c", COMMAND, limit, *arguments, cwd=tmp_path, environment=terminal)
    assert ended.returncode == 2, ended.stderr[-3000:]
    assert "Traceback" not in ended.stderr
    assert f"cannot write {written}: File too large" in ended.stderr.strip().splitlines()[-1]
