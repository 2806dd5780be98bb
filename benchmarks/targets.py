"""What is asked of the figures: the table `targets.csv`, and whether a figure holds."""

from __future__ import annotations

import csv
import functools
from pathlib import Path
from typing import NamedTuple

TABLE = Path(__file__).with_name("targets.csv")


class Target(NamedTuple):
    """A bound of a figure: "at least" or "at most" `value`."""

    benchmark: str
    figure: str
    bound: str
    value: float

    def holds(self, found: float) -> bool:
        """Whether the figure is within."""
        return found >= self.value if self.bound == "at least" else found <= self.value

    def said(self, found: float) -> str:
        """The judgement in words."""
        return f"{self.bound} {self.value:g}: {'holds' if self.holds(found) else 'MISSED'}"


@functools.cache
def all_targets() -> tuple[Target, ...]:
    """The rows of the table."""
    with TABLE.open(newline="") as file:
        return tuple(
            Target(row["benchmark"], row["figure"], row["bound"], float(row["value"])) for row in csv.DictReader(file)
        )


def targets(benchmark: str) -> dict[str, Target]:
    """Those of a benchmark, by figure."""
    return {row.figure: row for row in all_targets() if row.benchmark == benchmark}
