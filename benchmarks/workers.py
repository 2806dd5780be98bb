"""Runs each subject in its own process, which builds the subject once and then takes a turn for each request.

So the libraries do not share threads, memory or settings. All peers are installed in the same environment, because they
do not conflict.
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

Turn = Callable[..., Any]  # takes one turn, and returns work per second, or a result
SPAWN = multiprocessing.get_context("spawn")


class UnavailableError(Exception):
    """A subject cannot be measured on this machine; the text is the reason."""


class SubjectError(Exception):
    """A subject ended in an error; the text is its traceback."""


def needs(*packages: str) -> None:
    """Raises an `UnavailableError` if a package is not installed, so that the subject is left out."""
    missing = [package for package in packages if not importlib.util.find_spec(package)]
    if missing:
        raise UnavailableError(f"not installed: {', '.join(missing)}")


class Worker:
    """A process with one subject."""

    def __init__(self, name: str, build: Callable[[], Turn]) -> None:
        self.name = name
        self._ours, theirs = SPAWN.Pipe()
        self._process = SPAWN.Process(target=_serve, args=(build, theirs))
        self._process.start()
        theirs.close()
        self._receive()

    def __call__(self, *arguments: object) -> Any:
        """Takes a turn, and returns its work per second, or its result."""
        with contextlib.suppress(BrokenPipeError):  # the process ended during the turns of others
            self._ours.send(arguments)
        return self._receive()

    def close(self) -> None:
        """Ends the process."""
        self._ours.close()
        self._process.join(10)
        self._process.kill()
        self._process.join()  # so that its memory is free before the next worker starts

    def _receive(self) -> Any:
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
    """Starts a worker for each subject, one after another, and ends them after the block.

    Args:
        subjects: functions by name; each can be pickled and builds a turn.
        leave_out: function that is called with the name and the reason of each subject that cannot be measured here.

    Yields:
        The workers of all other subjects, by name.
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
    """Runs in the process: builds the subject, then takes turns until the other end of the pipe is closed."""
    try:
        turn = build()
        _give_back()
        pipe.send((None, None))
        while True:
            try:
                arguments = pipe.recv()
            except EOFError:
                return
            gc.collect()  # so that the garbage of the last turn is not collected during this one
            pipe.send((None, turn(*arguments)))
    except UnavailableError as reason:
        pipe.send((UnavailableError, str(reason)))
    except Exception:
        pipe.send((SubjectError, traceback.format_exc()))


def _give_back() -> None:
    """Returns the unused memory to the system after a subject is built.

    An export of a ResNet-50 leaves 3 GiB, and `serve` has 17 subjects.
    """
    gc.collect()
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc keeps freed memory by default
        if trim is not None:
            trim(0)
