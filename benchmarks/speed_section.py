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
    head = ("what", "result", "target", "command")
    lines = [line(head), line("---" for _ in head)]
    for row in rows:
        stored = result(row["benchmark"])
        figure = stored.get("figures", {}).get(row["figure"])
        if figure is not None or not excused(row["figure"], stored.get("left out", ())):
            target = targets(row["benchmark"]).get(row["figure"])
            shown = "not measured yet" if figure is None else f"{figure:.3g} {row['unit']}".strip()
            verdict = target.verdict(figure) if target and figure is not None else ""
            lines.append(line((row["words"], shown, verdict, f"`python -m benchmarks {row['benchmark']}`")))
    benchmarks = sorted({row["benchmark"] for row in rows} | {target.benchmark for target in all_targets()})
    measured = machines(benchmarks)
    if not measured:
        return "\n".join([BEGIN, NONE, END])
    in_table = {(row["benchmark"], row["figure"]) for row in rows}
    return "\n".join([BEGIN, *measured, "", *lines, *missed_targets(in_table), *not_measured(benchmarks), END])


def missed_targets(in_table: Collection[tuple[str, str]]) -> list[str]:
    """Lines that say how many targets are met, with an item for each missed target that is not in the table.

    Args:
        in_table: pairs (benchmark, figure) that the table shows.
    """
    values = {target: figures(target.benchmark).get(target.figure) for target in all_targets()}
    known = {target: value for target, value in values.items() if value is not None}
    missed = {target: value for target, value in known.items() if not target.is_met(value)}
    count = f"{len(known) - len(missed)} of the {len(known)} measured targets (`benchmarks/targets.csv`) are met."
    items = [
        f"- `{target.benchmark}`, {target.figure}: {value:.3g}, {target.bound} {target.value:g}"
        for target, value in missed.items()
        if (target.benchmark, target.figure) not in in_table
    ]
    return ["", f"{count} These are missed, in addition to those in the table:", "", *items] if items else ["", count]


def not_measured(benchmarks: Iterable[str]) -> list[str]:
    """Lines with an item for everything that could not be measured, and the reason."""
    items = [f"- `{benchmark}`, {what}" for benchmark in benchmarks for what in left_out(benchmark)]
    return ["", "Not measured on these machines:", "", *items] if items else []


def machines(benchmarks: Iterable[str]) -> list[str]:
    """Lines with an item for each machine and commit on which benchmarks were measured."""
    places: dict[tuple[str, str], list[str]] = {}
    measured_once: list[str] = []
    for benchmark in benchmarks:
        if stored := result(benchmark):
            places.setdefault((stored["machine"], stored["commit"]), []).append(f"`{benchmark}`")
            if stored["figures"] and not stored["rounds"]:
                measured_once.append(f"`{benchmark}`")
    items = [f"- {', '.join(names)}: {machine}, commit {commit}" for (machine, commit), names in sorted(places.items())]
    once = f" ({', '.join(measured_once)}: one measurement)" if measured_once else ""
    return [f"Medians of five rounds{once}, measured on:", "", *items] if items else []


def with_section(page: str) -> str:
    """The text of BENCHMARKS.md with the current section.

    Raises:
        ValueError: the marks are missing, or are there more than once.
    """
    text, count = re.subn(f"{re.escape(BEGIN)}.*?{re.escape(END)}", lambda _: section(), page, flags=re.DOTALL)
    if count != 1:
        raise ValueError(f"BENCHMARKS.md must have the marks {BEGIN} and {END} once. Received: {count} times")
    return text
