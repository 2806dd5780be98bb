"""Deadlines for servers that answer slowly: a time-out between two bytes does not end a server that trickles."""

from __future__ import annotations

import contextlib
import os
import queue
import threading
import time
from collections.abc import Callable
from typing import TypeVar

from keras_resnet._internal.validation import number
from keras_resnet.weights.tensors import WeightsError

T = TypeVar("T")
PATIENCE = 60.0  # seconds after which a transfer must be as fast as `slowest`; so long may an answer take to begin
SPEED, SLOWEST = "KERAS_RESNET_MIN_SPEED", 10_000.0


def within(seconds: float, function: Callable[[], T]) -> T:
    """The result of a function that waits for a server.

    Raises:
        TimeoutError: the function takes longer. It goes on in a thread of its own, and its result is closed, as after
            Ctrl-C.
    """
    results: queue.SimpleQueue[tuple[T | None, BaseException | None]] = queue.SimpleQueue()
    given_up = threading.Event()

    def run() -> None:
        try:
            results.put((function(), None))
        except BaseException as error:  # raised below
            results.put((None, error))
        if given_up.is_set():
            _close(results)

    threading.Thread(target=run, daemon=True).start()
    try:
        result, error = results.get(timeout=seconds)
    except BaseException as stop:
        # Each thread looks for a result after it told the other, so one of them finds it.
        given_up.set()
        _close(results)
        if isinstance(stop, queue.Empty):
            raise TimeoutError(f"no answer within {seconds:g} s") from None
        raise
    if error is not None:
        raise error
    return result  # type: ignore[return-value]


def _close(results: queue.SimpleQueue[tuple[T | None, BaseException | None]]) -> None:
    """Closes a result that is not waited for any more."""
    with contextlib.suppress(queue.Empty):
        result, _ = results.get_nowait()
        if result is not None and hasattr(result, "close"):
            result.close()


class Pace:
    """How fast a transfer is since it began, over all its connections."""

    def __init__(self) -> None:
        self.start, self.received, self.slowest = time.monotonic(), 0, slowest()

    def add(self, count: int) -> bool:
        """Counts received bytes; returns whether the transfer is fast enough."""
        self.received += count
        return self.received >= (time.monotonic() - self.start - PATIENCE) * self.slowest


def slowest() -> float:
    """Bytes in a second that a transfer must have on average, from the environment; 0: it may take for ever."""
    text = os.environ.get(SPEED, "")
    try:
        return number(SPEED, float(text) if text else SLOWEST, "[0, inf)")
    except ValueError:
        raise WeightsError(f"{SPEED} must be bytes in a second, for example 10000, or 0. Received: {text!r}") from None
