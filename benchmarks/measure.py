"""Rates that hold on a machine whose speed drifts: in turns, A B A B, and judged by ratios within a round."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

ROUNDS = 5
SECONDS = 1.0  # of a turn, at least; with 0.3 s the same network came out 20 % apart in two runs


class Rates(NamedTuple):
    """What was done per second in each round."""

    rounds: list[float]

    @property
    def median(self) -> float:
        """The middle one."""
        return statistics.median(self.rounds)

    def ratios(self, peer: Rates) -> list[float]:
        """Those of each round: both ran in it, seconds apart, so drift falls out."""
        return [own / other for own, other in zip(self.rounds, peer.rounds)]

    def over(self, peer: Rates) -> float:
        """The median of the ratios."""
        return statistics.median(self.ratios(peer))


def timed(work: float, act: Callable[[], object]) -> Callable[[], float]:
    """A turn of `act`, which does so much work: what it does per second."""

    def turn() -> float:
        began = time.perf_counter()
        act()
        return work / (time.perf_counter() - began)

    return turn


def repeated(work: float, act: Callable[[], object], seconds: float = SECONDS) -> float:
    """What `act`, which does so much work, does per second when it is called again and again for so many seconds."""
    began, count = time.perf_counter(), 0
    while count == 0 or time.perf_counter() - began < seconds:
        act()
        count += 1
    return work * count / (time.perf_counter() - began)


def in_turns(subjects: Mapping[str, Callable[..., float]], rounds: int, *arguments: object) -> dict[str, Rates]:
    """Each subject once to warm up, then all in turns.

    Args:
        subjects: by name; each says itself how much it did per second (`timed`, `repeated`).
        rounds: that count.
        arguments: for each call.

    Returns:
        The rates by name.

    Example:
        >>> from benchmarks.measure import in_turns, timed
        >>> rates = in_turns({"a": timed(1, lambda: sum(range(1000))), "b": timed(1, lambda: None)}, 3)
        >>> rates["b"].over(rates["a"]) > 1
        True
    """
    for subject in subjects.values():
        subject(*arguments)
    rates: dict[str, list[float]] = {name: [] for name in subjects}
    for _ in range(rounds):
        for name, subject in subjects.items():
            rates[name].append(subject(*arguments))
    return {name: Rates(values) for name, values in rates.items()}
