"""A load test: many clients at once, malformed requests and version swaps. It records times, refusals and faults.

The tests run it for seconds, `python -m benchmarks serve_load` runs it for minutes.
"""

from __future__ import annotations

import itertools
import re
import shutil
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tests.serving import malformed
from tests.serving.asking import Client, RefusedError, b64
from tests.serving.nets import Subjects, export_versions, publish
from tests.serving.process import Server, serving

MAX_BATCH = 8
TOLERANCE = 1e-4  # of a probability: the order of additions depends on the batch size


class Size(NamedTuple):
    """The size of a load test.

    Attributes:
        clients: number of clients at the same time.
        seconds: minimum duration.
        malformed: number of malformed requests.
        swaps: number of version swaps.
    """

    clients: int
    seconds: float
    malformed: int
    swaps: int


class Outcome(NamedTuple):
    """The result of a load test.

    Attributes:
        milliseconds: the time of each request with a right answer.
        refused: one empty string for each malformed request that was refused.
        swapped: the versions that became available.
        faults: descriptions of everything that went wrong.
        megabytes: memory of the server before and after the test.
    """

    milliseconds: list[float]
    refused: list[str]
    swapped: list[int]
    faults: list[str]
    megabytes: list[float]


# The version that answered, if it is known; its probabilities; and the right probabilities of both versions.
Answer = tuple[int | None, np.ndarray, list[np.ndarray]]
Request = Callable[[Client, Subjects, np.ndarray], Answer]


def pixels_by_grpc(client: Client, subjects: Subjects, rows: np.ndarray) -> Answer:
    """Classifies pixels by gRPC."""
    rows = rows % len(subjects.pixels)
    version, outputs = client.predict("serving_default", {"image": subjects.pixels[rows]})
    return version, outputs["probabilities"], [right[rows] for right in subjects.pixel_probabilities]


def files_by_grpc(client: Client, subjects: Subjects, rows: np.ndarray) -> Answer:
    """Classifies files by gRPC."""
    rows = rows % len(subjects.files)
    version, outputs = client.predict("serving_bytes", {"image_bytes": [subjects.files[row] for row in rows]})
    return version, outputs["probabilities"], [right[rows] for right in subjects.file_probabilities]


def files_by_rest(client: Client, subjects: Subjects, rows: np.ndarray) -> Answer:
    """Classifies files by REST, which does not state the version."""
    rows = rows % len(subjects.files)
    instances = [{"image_bytes": b64(subjects.files[row])} for row in rows]
    answers = client.post(":predict", {"signature_name": "serving_bytes", "instances": instances})["predictions"]
    probabilities = np.array([answer["probabilities"] for answer in answers])
    return None, probabilities, [right[rows] for right in subjects.file_probabilities]


REQUESTS: tuple[Request, ...] = (pixels_by_grpc, files_by_grpc, files_by_rest)


def is_right(version: int | None, probabilities: np.ndarray, of_versions: list[np.ndarray]) -> bool:
    """Whether the whole answer is right for its version, or for one of the versions if its version is not known."""
    allowed = of_versions if version is None else [of_versions[1 - version % 2]]
    return any(
        probabilities.shape == expected.shape and np.abs(probabilities - expected).max() < TOLERANCE
        for expected in allowed
    )


class LoadTest:
    """One load test of a server that serves version 1 of the subjects from the directory `served`."""

    def __init__(self, size: Size, server: Server, subjects: Subjects, served: Path) -> None:
        self.size, self.server, self.subjects, self.served = size, server, subjects, served
        self.outcome = Outcome([], [], [], [], [])
        self._over = threading.Event()

    def run(self) -> Outcome:
        """Runs until the time is over, all malformed requests are sent and all swaps are done."""
        clients = [
            threading.Thread(target=self._record_errors, args=(self.send_requests, number))
            for number in range(self.size.clients)
        ]
        others = [
            threading.Thread(target=self._record_errors, args=(work,))
            for work in (self.send_malformed, self.swap_versions)
        ]
        self.outcome.megabytes.append(_megabytes(self.server))
        for thread in (*clients, *others):
            thread.start()
        self._over.wait(self.size.seconds)
        for thread in others:
            thread.join()
        self._over.set()
        for thread in clients:
            thread.join()
        self.outcome.megabytes.append(_megabytes(self.server))
        if self.server.process.poll() is not None:
            self.outcome.faults.append(f"the server ended with status {self.server.process.poll()}")
        return self.outcome

    def send_requests(self, number: int) -> None:
        """Sends requests with batches of 1 to 8, one after the other."""
        rng = np.random.default_rng(number)
        with Client(self.server) as client:
            while not self._over.is_set():
                request = REQUESTS[rng.integers(len(REQUESTS))]
                rows = rng.integers(0, 1000, rng.integers(1, MAX_BATCH + 1))
                start = time.perf_counter()
                try:
                    answer = request(client, self.subjects, rows)
                except RefusedError as error:
                    self.outcome.faults.append(f"{request.__name__}: {error.code} {error}")
                    continue
                if is_right(*answer):
                    self.outcome.milliseconds.append(1e3 * (time.perf_counter() - start))
                else:
                    self.outcome.faults.append(f"{request.__name__}: a wrong answer of version {answer[0]}")

    def send_malformed(self) -> None:
        """Sends malformed requests. Two of three have a wrong file between two sound ones, one is wrong as a whole."""
        contents, names = malformed.files(np.random.default_rng(0)), itertools.cycle(malformed.REQUESTS)
        with Client(self.server) as client:
            for number in range(self.size.malformed):
                fault = (
                    _wrong_request(client, next(names)) if number % 3 == 0 else self._wrong_file(client, next(contents))
                )
                (self.outcome.faults if fault else self.outcome.refused).append(fault)

    def _wrong_file(self, client: Client, content: bytes) -> str:
        sound = self.subjects.files[:2]
        version, outputs = client.predict("serving_bytes", {"image_bytes": [sound[0], content, sound[1]]})
        message = outputs["error"][1].decode()
        start = f"{len(content)} bytes, {content[:12]!r}: "
        if outputs["valid"].tolist() != [True, False, True] or not message:
            return f"{start}valid is {outputs['valid']}, the message is {message!r}"
        if not message.isprintable() or any(
            part in message.encode() for part in re.findall(rb"(?s).{8}", content[:800])
        ):
            return f"{start}the message repeats the content: {message!r}"
        expected = [probabilities[:2] for probabilities in self.subjects.file_probabilities]
        right = is_right(version, outputs["probabilities"][[0, 2]], expected)
        return "" if right else f"{start}the other files have wrong answers"

    def swap_versions(self) -> None:
        """Publishes one version after the other, and removes those that are no longer served."""
        for version in range(2, self.size.swaps + 2):
            publish(self.subjects.folder, self.served, version)
            self.server.wait_for(version)
            self.outcome.swapped.append(version)
            shutil.rmtree(self.served / str(version - 2), ignore_errors=True)

    def _record_errors(self, work: Callable[..., None], *arguments: int) -> None:
        try:
            work(*arguments)
        except Exception as error:  # nobody else sees an error in a thread
            self.outcome.faults.append(f"{work.__name__}: {type(error).__name__}: {error}")


def _wrong_request(client: Client, name: str) -> str:
    try:
        malformed.REQUESTS[name](client)
    except RefusedError as error:
        return "" if str(error) else f"{name}: refused without a message"
    return f"{name}: answered"


def _megabytes(server: Server) -> float:
    status = Path(f"/proc/{server.process.pid}/status")
    found = re.search(r"VmRSS:\s+(\d+) kB", status.read_text()) if status.exists() else None
    return int(found[1]) / 1024 if found else 0.0


def drive(size: Size, subjects: Subjects | None = None) -> Outcome:
    """Runs a load test with its own server, of ResNet-20 or of other subjects."""
    with tempfile.TemporaryDirectory() as folder:
        subjects, served = subjects or export_versions(Path(folder) / "exported"), Path(folder) / "net"
        served.mkdir()
        publish(subjects.folder, served, 1)
        with serving("net", f"--model_base_path={served}") as server:
            return LoadTest(size, server, subjects, served).run()
