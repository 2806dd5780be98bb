"""Each subject in a process of its own, which builds it once and takes a turn whenever it is asked.

So libraries do not share threads, memory or settings. All peers are of one environment, as none of them conflict.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import importlib.util
import multiprocessing
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from multiprocessing.connection import Connection
from typing import Any

Turn = Callable[..., float]  # one turn, and what it did per second
SPAWN = multiprocessing.get_context("spawn")


class UnavailableError(Exception):
    """A subject cannot be measured here, and why."""


class SubjectError(Exception):
    """A subject ended in an error; the text is its traceback."""


def needs(*packages: str) -> None:
    """Leaves the subject out where one of the packages is not installed."""
    missing = [package for package in packages if not importlib.util.find_spec(package)]
    if missing:
        raise UnavailableError(f"not installed: {', '.join(missing)}")


class Worker:
    """A process with a subject."""

    def __init__(self, name: str, build: Callable[[], Turn]) -> None:
        self.name = name
        self._ours, theirs = SPAWN.Pipe()
        self._process = SPAWN.Process(target=_serve, args=(build, theirs))
        self._process.start()
        theirs.close()
        self._heard()

    def __call__(self, *arguments: object) -> float:
        """A turn."""
        with contextlib.suppress(BrokenPipeError):  # it has died while others had their turns
            self._ours.send(arguments)
        return self._heard()

    def close(self) -> None:
        """Ends the process."""
        self._ours.close()
        self._process.join(10)
        self._process.kill()
        self._process.join()  # what it held is free before the next begins

    def _heard(self) -> Any:
        try:
            error, value = self._ours.recv()
        except (EOFError, ConnectionResetError):
            self._process.join(10)
            raise SubjectError(f"{self.name}: its process has died with {self._process.exitcode}") from None
        if error is not None:
            self.close()
            raise error(value if error is UnavailableError else f"{self.name}:\n{value}")
        return value


@contextlib.contextmanager
def workers(
    subjects: Mapping[str, Callable[[], Turn]], leave_out: Callable[[str, str], object]
) -> Iterator[dict[str, Worker]]:
    """Starts the subjects one after another, and ends them.

    Args:
        subjects: functions that can be pickled and build a turn, by name.
        leave_out: called with the name of each that cannot be measured here, and the reason.

    Yields:
        The others.
    """
    with contextlib.ExitStack() as stack:
        found = {}
        for name, build in subjects.items():
            try:
                found[name] = Worker(name, build)
            except UnavailableError as reason:
                leave_out(name, str(reason))
                continue
            stack.callback(found[name].close)
        yield found


def _serve(build: Callable[[], Turn], pipe: Connection) -> None:
    """In the process: builds, then takes turns until the other end is closed."""
    try:
        turn = build()
        _give_back()
        pipe.send((None, None))
        while True:
            try:
                arguments = pipe.recv()
            except EOFError:
                return
            gc.collect()  # nobody pays for what the turn before left behind
            pipe.send((None, turn(*arguments)))
    except UnavailableError as reason:
        pipe.send((UnavailableError, str(reason)))
    except Exception:
        pipe.send((SubjectError, traceback.format_exc()))


def _give_back() -> None:
    """To the system what building has left: an export of a ResNet-50 leaves 3 GiB, and `serve` has 17 subjects."""
    gc.collect()
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc by itself keeps what was freed
        if trim is not None:
            trim(0)
