"""Many clients at once, strangers among them, while versions are swapped: what is answered, how fast, and what not.

The tests run it for seconds, `python -m benchmarks serve_load` for minutes.
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
from tests.serving.asking import Asking, RefusedError, b64
from tests.serving.nets import Subjects, put, write
from tests.serving.process import Server, serving

MOST_IN_A_BATCH = 8
TOLERANCE = 1e-4  # of a probability: batches of other sizes are added up in another order


class Size(NamedTuple):
    """How much: clients at once, seconds at least, requests that are malformed, swaps of the version."""

    clients: int
    seconds: float
    malformed: int
    swaps: int


class Outcome(NamedTuple):
    """Milliseconds of requests that were answered rightly, malformed ones refused, swaps; and what went wrong."""

    milliseconds: list[float]
    refused: list[str]
    swapped: list[int]
    faults: list[str]
    megabytes: list[float]  # that the server holds, before and after


Way = Callable[[Asking, Subjects, np.ndarray], tuple[int | None, np.ndarray, list[np.ndarray]]]


def pixels_by_grpc(asking: Asking, of: Subjects, rows: np.ndarray) -> tuple[int | None, np.ndarray, list[np.ndarray]]:
    """The version that answered, where it says so; its probabilities; and those of either version."""
    rows = rows % len(of.pixels)
    version, found = asking.predict("serving_default", {"image": of.pixels[rows]})
    return version, found["probabilities"], [right[rows] for right in of.of_pixels]


def files_by_grpc(asking: Asking, of: Subjects, rows: np.ndarray) -> tuple[int | None, np.ndarray, list[np.ndarray]]:
    """The same for files."""
    rows = rows % len(of.files)
    version, found = asking.predict("serving_bytes", {"image_bytes": [of.files[row] for row in rows]})
    return version, found["probabilities"], [right[rows] for right in of.of_files]


def files_by_rest(asking: Asking, of: Subjects, rows: np.ndarray) -> tuple[int | None, np.ndarray, list[np.ndarray]]:
    """The same by REST, which does not say the version."""
    rows = rows % len(of.files)
    instances = [{"image_bytes": b64(of.files[row])} for row in rows]
    found = asking.post(":predict", {"signature_name": "serving_bytes", "instances": instances})["predictions"]
    return None, np.array([row["probabilities"] for row in found]), [right[rows] for right in of.of_files]


WAYS: tuple[Way, ...] = (pixels_by_grpc, files_by_grpc, files_by_rest)


def same(version: int | None, found: np.ndarray, of_versions: list[np.ndarray]) -> bool:
    """Whether an answer is that of its version as a whole; of either, where that is not known."""
    allowed = of_versions if version is None else [of_versions[1 - version % 2]]
    return any(found.shape == right.shape and np.abs(found - right).max() < TOLERANCE for right in allowed)


class Drive:
    """One run against a server that serves version 1 of the subjects from `served`."""

    def __init__(self, size: Size, server: Server, subjects: Subjects, served: Path) -> None:
        self.size, self.server, self.subjects, self.served = size, server, subjects, served
        self.outcome = Outcome([], [], [], [], [])
        self._over = threading.Event()

    def run(self) -> Outcome:
        """Until the seconds are over, all that is malformed was sent and all swaps are made."""
        clients = [
            threading.Thread(target=self._noting, args=(self.client, number)) for number in range(self.size.clients)
        ]
        others = [threading.Thread(target=self._noting, args=(work,)) for work in (self.strangers, self.swaps)]
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

    def client(self, number: int) -> None:
        """Asks about batches of 1 to 8, one after the other."""
        rng = np.random.default_rng(number)
        with Asking(self.server) as asking:
            while not self._over.is_set():
                way = WAYS[rng.integers(len(WAYS))]
                rows = rng.integers(0, 1000, rng.integers(1, MOST_IN_A_BATCH + 1))
                start = time.perf_counter()
                try:
                    answer = way(asking, self.subjects, rows)
                except RefusedError as error:
                    self.outcome.faults.append(f"{way.__name__}: {error.code} {error}")
                    continue
                if same(*answer):
                    self.outcome.milliseconds.append(1e3 * (time.perf_counter() - start))
                else:
                    self.outcome.faults.append(f"{way.__name__}: a wrong answer of version {answer[0]}")

    def strangers(self) -> None:
        """Sends what is malformed: a file between two sound ones, two times of three, or a whole request."""
        contents, names = malformed.files(np.random.default_rng(0)), itertools.cycle(malformed.REQUESTS)
        with Asking(self.server) as asking:
            for number in range(self.size.malformed):
                fault = (
                    _wrong_request(asking, next(names)) if number % 3 == 0 else self._wrong_file(asking, next(contents))
                )
                (self.outcome.faults if fault else self.outcome.refused).append(fault)

    def _wrong_file(self, asking: Asking, content: bytes) -> str:
        sound = self.subjects.files[:2]
        version, found = asking.predict("serving_bytes", {"image_bytes": [sound[0], content, sound[1]]})
        said = found["error"][1].decode()
        start = f"{len(content)} bytes, {content[:12]!r}: "
        if found["valid"].tolist() != [True, False, True] or not said:
            return f"{start}valid are {found['valid']}, said is {said!r}"
        if not said.isprintable() or any(part in said.encode() for part in re.findall(rb"(?s).{8}", content[:800])):
            return f"{start}repeated in {said!r}"
        right = same(version, found["probabilities"][[0, 2]], [of[:2] for of in self.subjects.of_files])
        return "" if right else f"{start}neighbours were answered wrongly"

    def swaps(self) -> None:
        """Puts one version after the other, and takes away those that are no longer served."""
        for version in range(2, self.size.swaps + 2):
            put(self.subjects.folder, self.served, version)
            self.server.wait_for(version)
            self.outcome.swapped.append(version)
            shutil.rmtree(self.served / str(version - 2), ignore_errors=True)

    def _noting(self, work: Callable[..., None], *arguments: int) -> None:
        try:
            work(*arguments)
        except Exception as error:  # in a thread nobody else would see it
            self.outcome.faults.append(f"{work.__name__}: {type(error).__name__}: {error}")


def _wrong_request(asking: Asking, name: str) -> str:
    try:
        malformed.REQUESTS[name](asking)
    except RefusedError as error:
        return "" if str(error) else f"{name}: refused without a word"
    return f"{name}: answered"


def _megabytes(server: Server) -> float:
    status = Path(f"/proc/{server.process.pid}/status")
    found = re.search(r"VmRSS:\s+(\d+) kB", status.read_text()) if status.exists() else None
    return int(found[1]) / 1024 if found else 0.0


def drive(size: Size, subjects: Subjects | None = None) -> Outcome:
    """A run with a server of its own, of ResNet-20 or of other subjects."""
    with tempfile.TemporaryDirectory() as folder:
        subjects, served = subjects or write(Path(folder) / "made"), Path(folder) / "net"
        served.mkdir()
        put(subjects.folder, served, 1)
        with serving("net", f"--model_base_path={served}") as server:
            return Drive(size, server, subjects, served).run()
