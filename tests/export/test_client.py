"""Tests of the client and of `keras-resnet predict --server` with a running server."""

import contextlib
import re
import socket
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import numpy as np
import pytest
import tensorflow as tf

from keras_resnet.export import client
from tests.cli.test_cli import invoke
from tests.export.test_images import SOUND, WRONG
from tests.serving import nets
from tests.serving.asking import Client, RefusedError
from tests.serving.process import serving

FILES = {"a.jpg": SOUND["JPEG"], "b.png": SOUND["PNG"], "text.jpg": WRONG["text"][0], "c.gif": SOUND["GIF"]}


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("served")
    nets.publish(nets.small().folder, folder, 1)
    with serving("pets", f"--model_base_path={folder}") as server:
        yield server


@pytest.fixture(params=["gRPC", "REST"])
def address(request, server):
    return server.grpc if request.param == "gRPC" else server.rest


@pytest.fixture
def files(tmp_path):
    for name, content in FILES.items():
        (tmp_path / name).write_bytes(content)
    return [tmp_path / name for name in [*FILES, "none.png"]]


@pytest.mark.slow
@pytest.mark.serving
@pytest.mark.processes
def test_each_file_has_its_guess_or_its_reason(address, files, monkeypatch):
    monkeypatch.setattr(client, "MOST_FILES", 2)
    results = dict(client.ask(files, address, "pets"))
    assert list(results) == files
    for path in (files[0], files[1], files[3]):
        guess = results[path]
        assert set(guess.classes) < set(nets.CLASSES[1])
        assert len(guess.classes) == 5
        assert list(guess.scores) == sorted(guess.scores, reverse=True)
        assert 0 < sum(guess.scores) <= 1
    assert str(results[files[2]]).startswith(f"{files[2]}: image must be a JPEG, PNG, WebP or GIF. Received: ")
    assert str(results[files[4]]) == f"cannot read {files[4]}: No such file or directory"


@pytest.mark.slow
@pytest.mark.serving
@pytest.mark.processes
def test_an_export_that_raises_is_asked_file_by_file(files, rng):
    network, folder = nets.strict()
    images = rng.integers(0, 256, (4, 32, 32, 3)).astype("uint8")
    with serving("strict", f"--model_base_path={folder}") as server:
        with Client(server) as grpc_client:
            sound = [tf.io.encode_png(image).numpy() for image in images]
            _, outputs = grpc_client.predict("serving_bytes", {"image_bytes": sound})
            with pytest.raises(RefusedError, match=WRONG["text"][1]) as refused:
                grpc_client.predict("serving_bytes", {"image_bytes": list(FILES.values())})
        expected = network(images, training=False).numpy()
        assert outputs["valid"].tolist() == [True] * 4
        np.testing.assert_allclose(outputs["probabilities"], expected, atol=1e-5)
        assert outputs["classes"].tolist() == np.array([b"0", b"1", b"2"])[np.argsort(-expected)].tolist()
        assert refused.value.code == "INVALID_ARGUMENT"
        assert "question" not in str(refused.value)
        for address in (server.grpc, server.rest):
            results = list(dict(client.ask(files, address, "strict")).values())
            assert [isinstance(result, client.Guess) for result in results] == [True, True, False, True, False]
            assert re.fullmatch(r".*/text.jpg: image must be a JPEG, .* bytes of another kind", str(results[2]))


@pytest.mark.slow
@pytest.mark.serving
@pytest.mark.processes
def test_the_command_says_what_is_on_images(address, files):
    result = invoke("predict", *files, "--server", address, "--model", "pets", "--top", 2)
    assert result.exit_code == 1
    lines = result.stdout.splitlines()
    assert [line.partition(": ")[0] for line in lines] == [str(files[0]), str(files[1]), str(files[3])]
    assert re.fullmatch(rf"{files[0]}: old \w+ \d+\.\d%, old \w+ \d+\.\d%", lines[0])
    errors = result.stderr.splitlines()
    assert errors[0].startswith(f"Error: {files[2]}: image must be")
    assert errors[1] == f"Error: cannot read {files[4]}: No such file or directory"


@pytest.mark.slow
@pytest.mark.serving
@pytest.mark.processes
def test_what_is_wrong_with_the_server_is_said(address, files):
    for error, message in (
        (invoke("predict", files[0], "--server", address, "--model", "cars").exception, "model must be one that"),
        (invoke("predict", files[0], "--server", "here", "--model", "pets").exception, "server must be HOST:PORT"),
    ):
        assert message in str(error)
    ((_, label_error),) = client.ask(files[:1], address, "pets", label="canary")
    assert "label" in str(label_error)


@pytest.mark.parametrize("scheme", ["", "http://"])
def test_nobody_there(scheme, files):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        address = f"{scheme}127.0.0.1:{closed.getsockname()[1]}"
        error = invoke("predict", files[0], "--server", address, "--model", "pets").exception
    assert isinstance(error, ConnectionError)
    assert re.fullmatch(rf"no (gRPC|REST) server answers at {address}(: .*)?", str(error))


@pytest.mark.parametrize(
    ("status", "body", "reason"),
    [
        (502, b"<html>Bad gateway</html>", "HTTP status 502, and the answer is not JSON"),
        (200, b'{"predictions": []}', "HTTP status 200, and the answer has no outputs"),
        (500, b'["broken"]', "HTTP status 500, and the answer has no outputs"),
        (503, b'{"error": "the queue is full"}', "the queue is full"),
    ],
)
def test_a_server_that_is_none_of_these(status, body, reason, files):
    with fake_server(status, body) as address, pytest.raises(ValueError, match=f"refused the request: {reason}"):
        list(client.ask(files[:1], address, "pets"))


@pytest.mark.parametrize(
    "outputs",
    [
        '{"probabilities": [[0.5]]}',
        '{"classes": [], "scores": [], "error": []}',
        '{"classes": [["a"], ["b"]], "scores": [[1], [1]], "error": ["", ""]}',
        '{"classes": null, "scores": [[1]], "error": [""]}',
        '{"classes": [["a"]], "scores": [], "error": [""]}',
    ],
)
def test_a_server_of_something_else_than_an_export(outputs, files):
    refused = pytest.raises(
        ValueError, match="server must serve an export of .* of another form from http://127.0.0.1:"
    )
    with fake_server(200, f'{{"outputs": {outputs}}}'.encode()) as address, refused:
        list(client.ask(files[:1], address, "pets"))


@pytest.mark.parametrize("server", ["localhost:0", "localhost:99999", "http://localhost:99999"])
def test_a_port_is_a_number_of_sixteen_bits(server, files):
    with pytest.raises(ValueError, match=f"server must be HOST:PORT.* Received: server='{server}'"):
        list(client.ask(files[:1], server, "pets"))


@contextlib.contextmanager
def fake_server(status, body):
    """Starts an HTTP server that gives the same answer to each request. Yields its address."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *message):
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.mark.slow
def test_a_server_that_does_not_answer(files):
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        for scheme in ("", "http://"):
            address = f"{scheme}127.0.0.1:{silent.getsockname()[1]}"
            with pytest.raises(TimeoutError, match=f"{address} does not answer in time"):
                list(client.ask(files[:1], address, "pets", timeout=0.5))
