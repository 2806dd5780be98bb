"""Runs the quick form of every benchmark and prints which targets are met; it writes no file."""

from __future__ import annotations

import traceback
from collections.abc import Mapping
from types import ModuleType

from benchmarks.report import Report
from benchmarks.results_of import excused
from benchmarks.targets import targets


def check(modules: Mapping[str, ModuleType]) -> int:
    """Runs all benchmarks in the quick form, and prints which targets are met, are missed or were not measured.

    Args:
        modules: modules of the benchmarks, by name.

    Returns:
        0, or 1 if a target was missed or a benchmark ended in an error.
    """
    lines, bad = [], False
    for name, module in modules.items():
        print(f"\n{name}: {(module.__doc__ or '').splitlines()[0]}", flush=True)
        report = Report(name)
        try:
            module.run(report, module.QUICK)
        except Exception:
            traceback.print_exc()
            lines.append(f"{name}: ended in an error")
            bad = True
            continue
        lines += [f"{name}: {what} not measured, {reason}" for what, reason in report.left_out.items()]
        for figure, target in targets(name).items():
            if figure not in report.figures:
                why = "not possible on this machine" if excused(figure, report.left_out) else "not in the quick form"
                lines.append(f"{name}: {figure}: {why}")
            else:
                value = report.figures[figure]
                lines.append(f"{name}: {figure}: {value:.3g}, {target.verdict(value)}")
        bad |= bool(report.missed)
    print("\n" + "\n".join(lines))
    return int(bad)
