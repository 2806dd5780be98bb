"""Timing that holds on a machine whose speed drifts: in turns, and judged by the ratio."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

ROUNDS = 5


class Times(NamedTuple):
    """Seconds of each round."""

    seconds: list[float]

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)


def said_in_turns(subjects: Mapping[str, Callable[[], float]], rounds: int = ROUNDS) -> dict[str, Times]:
    """The same for subjects that say themselves how many seconds what counts took them; they warm up by themselves."""
    seconds: dict[str, list[float]] = {name: [] for name in subjects}
    for _ in range(rounds):
        for name, subject in subjects.items():
            gc.collect()
            seconds[name].append(subject())
    return {name: Times(values) for name, values in seconds.items()}


def in_turns(subjects: Mapping[str, Callable[[], object]], rounds: int = ROUNDS) -> dict[str, Times]:
    """Runs all subjects once to warm up and then in turns, A B A B, and times each turn."""
    for subject in subjects.values():
        subject()
    seconds: dict[str, list[float]] = {name: [] for name in subjects}
    for _ in range(rounds):
        for name, subject in subjects.items():
            gc.collect()  # nobody pays for what the one before left behind
            start = time.perf_counter()
            subject()
            seconds[name].append(time.perf_counter() - start)
    return {name: Times(values) for name, values in seconds.items()}
