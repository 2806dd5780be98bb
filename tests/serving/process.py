"""Starts a server process: `tensorflow_model_server` if it is on the PATH, otherwise `tests.serving`."""

from __future__ import annotations

import contextlib
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from typing import NamedTuple

import requests

from tests import processes

REAL = shutil.which("tensorflow_model_server")
POLL = "1" if REAL else "0.05"  # seconds; TF Serving accepts only whole seconds
TIMEOUT = 120.0  # seconds


class TFServing:
    """A process of TF Serving, with the same attributes and methods as `processes.Running`."""

    def __init__(self, flags: list[str]) -> None:
        self._log = tempfile.TemporaryFile()  # noqa: SIM115  (`end` closes it)
        self._process = subprocess.Popen([REAL, *flags], stdout=self._log, stderr=subprocess.STDOUT)
        self.pid, self.poll, self.kill = self._process.pid, self._process.poll, self._process.send_signal

    def end(self) -> processes.Ended:
        """Waits for the end of the process."""
        status = self._process.wait(TIMEOUT)
        with self._log as log:
            log.seek(0)
            return processes.Ended(status, log.read().decode(errors="replace"), "")


class Server(NamedTuple):
    """A server that runs.

    Attributes:
        grpc: address of gRPC, HOST:PORT.
        rest: address of REST, http://HOST:PORT.
        name: name of the served model.
        process: process of the server.
    """

    grpc: str
    rest: str
    name: str
    process: TFServing | processes.Running

    @property
    def url(self) -> str:
        return f"{self.rest}/v1/models/{self.name}"

    def versions(self) -> dict[int, str]:
        """The state of each version. Empty if the server does not know the model yet."""
        entries = requests.get(self.url, timeout=TIMEOUT).json().get("model_version_status", [])
        return {int(entry["version"]): entry["state"] for entry in entries}

    def wait_for(self, version: int, state: str = "AVAILABLE") -> None:
        """Waits until a version is in a state. The test fails if this takes too long or the server ends."""
        deadline = time.monotonic() + TIMEOUT
        states: object = "no answer"
        while time.monotonic() < deadline and self.process.poll() is None:
            with contextlib.suppress(requests.ConnectionError):
                states = self.versions()
                if self.versions().get(version) == state:
                    return
            time.sleep(0.02)
        raise AssertionError(f"version {version} is not {state}: {states}; exit status {self.process.poll()}")


@contextlib.contextmanager
def serving(name: str, *flags: str, version: int = 1) -> Iterator[Server]:
    """Starts a server, waits until it has loaded a version, and stops it at the end of the block.

    Args:
        name: name of the model.
        flags: `--model_base_path=DIR` or `--model_config_file=FILE`.
        version: the version to wait for.
    """
    ports = _free_ports(2)
    common = (f"--port={ports[0]}", f"--rest_api_port={ports[1]}", f"--file_system_poll_wait_seconds={POLL}")
    flags = [f"--model_name={name}", *flags, *common]
    process = TFServing(flags) if REAL else processes.start("-m", "tests.serving", *flags)
    server = Server(f"127.0.0.1:{ports[0]}", f"http://127.0.0.1:{ports[1]}", name, process)
    try:
        server.wait_for(version)
        yield server
    finally:
        with contextlib.suppress(ProcessLookupError):  # the server has already ended
            process.kill(signal.SIGTERM)
        ended = process.end()
        print(f"the server ended with status {ended.returncode}", ended.stdout[-4000:], ended.stderr[-4000:], sep="\n")


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for opened in sockets:
            opened.bind(("127.0.0.1", 0))
        return [opened.getsockname()[1] for opened in sockets]
