"""Reads the results in benchmarks/results."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any

from benchmarks.report import RESULTS


def result(benchmark: str) -> dict[str, Any]:
    """The stored results of a benchmark; an empty dict if there are none."""
    path = RESULTS / f"{benchmark}.json"
    return json.loads(path.read_text()) if path.exists() else {}


def figures(benchmark: str) -> dict[str, float]:
    """The stored figures of a benchmark, by name."""
    return result(benchmark).get("figures", {})


def left_out(benchmark: str) -> list[str]:
    """What a benchmark could not measure, each with the reason."""
    return [f"{what}: {reason}" for what, reason in result(benchmark).get("left out", {}).items()]


def excused(figure: str, left_out: Iterable[str]) -> bool:
    """Whether a figure is missing because of an entry in `left_out`, all of whose parts are in the figure's name."""
    return any(all(re.search(rf"\b{re.escape(part)}\b", figure) for part in what.split(", ")) for what in left_out)
