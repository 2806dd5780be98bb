"""Runs the commands and the code of examples/serving/README.md, as far as this is possible without Docker."""

import contextlib
import re
import subprocess

import pytest

import keras_resnet as kr
from tests import needs
from tests.cli.test_cli import invoke
from tests.conftest import ROOT
from tests.export.test_images import SOUND
from tests.serving.process import serving

pytestmark = [pytest.mark.slow, pytest.mark.serving, pytest.mark.processes]

README = (ROOT / "examples" / "serving" / "README.md").read_text()
BLOCKS = re.findall(r"```(sh|python)\n(.*?)```", README, re.S)


def block(part):
    """The block of code that contains this text. There must be only one."""
    (code,) = (text for _, text in BLOCKS if part in text)
    return code


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """Runs the Python code of step 2 on an untrained network, and starts a server with its export."""
    folder = tmp_path_factory.mktemp("example")
    (folder / "runs" / "digits").mkdir(parents=True)
    kr.CifarResNet(8).save(folder / "runs" / "digits" / "model.keras")
    with contextlib.chdir(folder):
        exec(block("kit.write"), {})
    assert (folder / "serve" / "compose.yaml").is_file()
    (folder / "photo.png").write_bytes(SOUND["PNG"])
    with serving("digits", f"--model_base_path={folder / 'serve' / 'models' / 'digits'}") as server:
        yield folder, server


def with_addresses(server, text):
    """The text with the addresses of the server of the tests."""
    return text.replace("localhost:8500", server.grpc).replace("http://localhost:8501", server.rest)


@needs.curl
def test_curl_gets_classes(served):
    folder, server = served
    command = with_addresses(server, block("curl"))
    ended = subprocess.run(["bash", "-c", command], cwd=folder, capture_output=True, text=True, check=True)
    assert '"valid": true' in ended.stdout


def test_the_commands_get_classes(served, monkeypatch):
    folder, server = served
    monkeypatch.chdir(folder)
    outputs = set()
    for line in with_addresses(server, block("predict --server")).splitlines():
        result = invoke(*line.split()[1:])
        assert (result.exit_code, result.stderr) == (0, "")
        outputs.add(result.stdout)
    (output,) = outputs  # gRPC and REST give the same
    assert re.fullmatch(r"photo.png: \d \d+\.\d%, \d \d+\.\d%, \d \d+\.\d%\n", output)


def test_the_python_client_gets_classes(served, monkeypatch, capsys):
    folder, server = served
    monkeypatch.chdir(folder)
    exec(with_addresses(server, block("keras_resnet.export.client")), {})
    assert capsys.readouterr().out.startswith("photo.png Guess(classes=('")


def test_the_paths_that_are_named_are_there(served):
    folder, _ = served
    for path in re.findall(r"`(serve/[^`]*)`", README):
        assert (folder / path).exists(), path
    for path in re.findall(r"`(tests/[^`]*)`", README):
        assert (ROOT / path).exists(), path
