"""What benchmarks/results holds."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any

from benchmarks.report import RESULTS


def result(benchmark: str) -> dict[str, Any]:
    """What the last run of a benchmark that was kept has written; empty if there is none."""
    path = RESULTS / f"{benchmark}.json"
    return json.loads(path.read_text()) if path.exists() else {}


def figures(benchmark: str) -> dict[str, float]:
    """Its figures by name."""
    return result(benchmark).get("figures", {})


def left_out(benchmark: str) -> list[str]:
    """What it could not measure, each with the reason."""
    return [f"{what}: {reason}" for what, reason in result(benchmark).get("left out", {}).items()]


def excused(figure: str, without: Iterable[str]) -> bool:
    """Whether a figure is not there because of something that was left out: all its words are in the figure's name."""
    return any(all(re.search(rf"\b{re.escape(part)}\b", figure) for part in what.split(", ")) for what in without)
