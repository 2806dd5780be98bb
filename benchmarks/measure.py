"""Measures rates on a machine whose speed drifts: subjects take turns (A B A B), and ratios are taken in each round.

Measures the memory of the own process too.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

ROUNDS = 5
SECONDS = 1.0  # shortest time of a turn; with 0.3 s, two runs of the same network differed by 20 %


class Rates(NamedTuple):
    """Work per second in each round."""

    rounds: list[float]

    @property
    def median(self) -> float:
        """The median of the rounds."""
        return statistics.median(self.rounds)

    def ratios(self, peer: Rates) -> list[float]:
        """The ratio in each round. Both subjects ran within seconds in it, so drift of the machine has no effect."""
        return [own / other for own, other in zip(self.rounds, peer.rounds)]

    def over(self, peer: Rates) -> float:
        """The median of the ratios to a peer."""
        return statistics.median(self.ratios(peer))


def timed(work: float, act: Callable[[], object]) -> Callable[[], float]:
    """A turn that calls `act` once, which does this amount of work; it returns work per second."""

    def turn() -> float:
        began = time.perf_counter()
        act()
        return work / (time.perf_counter() - began)

    return turn


def repeated(work: float, act: Callable[[], object], seconds: float = SECONDS) -> float:
    """Calls `act` again and again for a number of seconds, and returns work per second; a call does `work`."""
    began, count = time.perf_counter(), 0
    while count == 0 or time.perf_counter() - began < seconds:
        act()
        count += 1
    return work * count / (time.perf_counter() - began)


def in_turns(subjects: Mapping[str, Callable[..., float]], rounds: int, *arguments: object) -> dict[str, Rates]:
    """Calls each subject once to warm up, then all subjects in turns.

    Args:
        subjects: subjects by name; each returns its work per second (`timed`, `repeated`).
        rounds: number of rounds that are measured.
        arguments: arguments of each call.

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


def reset_peak_of_memory() -> None:
    """Lets `bytes_of_process("VmHWM")` start anew. Linux only."""
    Path("/proc/self/clear_refs").write_text("5")


def bytes_of_process(which: str) -> int:
    """Memory of this process as the kernel reports it, in bytes. Linux only.

    Args:
        which: "VmRSS": at this moment; "VmHWM": the largest value since the start, or since `reset_peak_of_memory`.
    """
    # getrusage would be wrong: its maximum starts with that of the parent process.
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(f"{which}:"))
