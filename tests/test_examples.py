"""The examples do what their headers say."""

import ast
import importlib
import subprocess
import sys

import pytest

from keras_resnet.training import run
from tests.conftest import ROOT

EXAMPLES = sorted(path.stem for path in (ROOT / "examples").glob("*.py"))


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_is_short_and_says_command_time_and_result(name):
    source = (ROOT / "examples" / f"{name}.py").read_text()
    header = ast.get_docstring(ast.parse(source))
    assert f"python examples/{name}.py" in header
    assert "Time:" in header
    assert "Result:" in header
    assert len(source.splitlines()) < 150


def test_own_blocks_learns_digits():
    assert importlib.import_module("examples.own_blocks").main() >= 0.97


def test_segmentation_scores_every_pixel(capsys):
    model = importlib.import_module("examples.segmentation").build(classes=5, size=64)
    assert model.output.shape == (None, 64, 64, 5)
    assert "C5 (None, 4, 4, 512)" in capsys.readouterr().out


def test_many_machines_train_one_network(tmp_path):
    pytest.importorskip("ray.train")
    command = "from pathlib import Path; from examples import many_machines; many_machines.main(Path({!r}) / 'run')"
    # Ray begins processes that this one is not to keep.
    ran = subprocess.run(
        [sys.executable, "-c", command.format(str(tmp_path))], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert ran.returncode == 0, ran.stderr
    assert run.read(tmp_path / "run").test_accuracy >= 0.97
    assert not (tmp_path / "run" / "checkpoints").exists()


def test_every_example_is_tested():
    assert EXAMPLES == ["many_machines", "own_blocks", "segmentation"]
