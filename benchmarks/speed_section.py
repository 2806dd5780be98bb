"""Writes the speed section of BENCHMARKS.md: a table of figures, each with the command that measures it."""

from __future__ import annotations

import csv
import re
from collections.abc import Collection, Iterable
from pathlib import Path

from benchmarks.models_page import line
from benchmarks.results_of import excused, figures, left_out, result
from benchmarks.targets import all_targets, targets

TABLE = Path(__file__).with_name("page.csv")  # the rows of its table: words, benchmark, figure, unit
BEGIN, END = "<!-- speed: written by python -m benchmarks table -->", "<!-- end of speed -->"
NONE = "Nothing has been measured yet."


def section() -> str:
    """The text of the section, with the marks."""
    with TABLE.open(newline="") as file:
        rows = list(csv.DictReader(file))
    head = ("what", "seen", "asked", "command")
    lines = [line(head), line("---" for _ in head)]
    for row in rows:
        of = result(row["benchmark"])
        found = of.get("figures", {}).get(row["figure"])
        if found is not None or not excused(row["figure"], of.get("left out", ())):
            asked = targets(row["benchmark"]).get(row["figure"])
            seen = "not measured yet" if found is None else f"{found:.3g} {row['unit']}".strip()
            said = asked.said(found) if asked and found is not None else ""
            lines.append(line((row["words"], seen, said, f"`python -m benchmarks {row['benchmark']}`")))
    benchmarks = sorted({row["benchmark"] for row in rows} | {target.benchmark for target in all_targets()})
    measured = machines(benchmarks)
    if not measured:
        return "\n".join([BEGIN, NONE, END])
    shown = {(row["benchmark"], row["figure"]) for row in rows}
    return "\n".join([BEGIN, *measured, "", *lines, *judged(shown), *without(benchmarks), END])


def judged(shown: Collection[tuple[str, str]]) -> list[str]:
    """Lines that say how many targets hold, with an item for each missed target that is not in `shown`.

    Args:
        shown: pairs (benchmark, figure) that the table shows.
    """
    found = {target: figures(target.benchmark).get(target.figure) for target in all_targets()}
    known = {target: value for target, value in found.items() if value is not None}
    missed = {target: value for target, value in known.items() if not target.holds(value)}
    said = f"Of the {len(known)} targets that were measured (`benchmarks/targets.csv`) {len(known) - len(missed)} hold"
    items = [
        f"- `{target.benchmark}`, {target.figure}: {value:.3g}, {target.bound} {target.value:g}"
        for target, value in missed.items()
        if (target.benchmark, target.figure) not in shown
    ]
    return ["", f"{said}; beside those above, missed are:", "", *items] if items else ["", f"{said}."]


def without(benchmarks: Iterable[str]) -> list[str]:
    """Lines with an item for everything that could not be measured, and the reason."""
    found = [f"- `{benchmark}`, {what}" for benchmark in benchmarks for what in left_out(benchmark)]
    return ["", "Left out there:", "", *found] if found else []


def machines(benchmarks: Iterable[str]) -> list[str]:
    """Lines with an item for each machine and commit on which benchmarks were measured."""
    found: dict[tuple[str, str], list[str]] = {}
    without_rounds: list[str] = []
    for benchmark in benchmarks:
        if of := result(benchmark):
            found.setdefault((of["machine"], of["commit"]), []).append(f"`{benchmark}`")
            if of["figures"] and not of["rounds"]:
                without_rounds.append(f"`{benchmark}`")
    items = [f"- {', '.join(names)}: {machine}, commit {commit}" for (machine, commit), names in sorted(found.items())]
    said = f" (without rounds: {', '.join(without_rounds)})" if without_rounds else ""
    return [f"Medians of five rounds{said}, measured on:", "", *items] if items else []


def with_section(page: str) -> str:
    """The text of BENCHMARKS.md with the current section.

    Raises:
        ValueError: the marks are missing, or are there more than once.
    """
    found, count = re.subn(f"{re.escape(BEGIN)}.*?{re.escape(END)}", lambda _: section(), page, flags=re.DOTALL)
    if count != 1:
        raise ValueError(f"BENCHMARKS.md must have the marks {BEGIN} and {END} once. Received: {count} times")
    return found
