"""Targets of the figures: reads the table `targets.csv`, and says whether a figure meets its target."""

from __future__ import annotations

import csv
import functools
from pathlib import Path
from typing import NamedTuple

TABLE = Path(__file__).with_name("targets.csv")


class Target(NamedTuple):
    """The limit of a figure. `bound` is "at least" or "at most"."""

    benchmark: str
    figure: str
    bound: str
    value: float

    def is_met(self, figure: float) -> bool:
        """Whether a value meets the target."""
        return figure >= self.value if self.bound == "at least" else figure <= self.value

    def verdict(self, figure: float) -> str:
        """The limit, and whether a value meets it, as text."""
        return f"{self.bound} {self.value:g}: {'met' if self.is_met(figure) else 'MISSED'}"


@functools.cache
def all_targets() -> tuple[Target, ...]:
    """All targets of the table."""
    with TABLE.open(newline="") as file:
        return tuple(
            Target(row["benchmark"], row["figure"], row["bound"], float(row["value"])) for row in csv.DictReader(file)
        )


def targets(benchmark: str) -> dict[str, Target]:
    """The targets of a benchmark, by figure."""
    return {row.figure: row for row in all_targets() if row.benchmark == benchmark}
