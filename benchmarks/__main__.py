"""Measures this package beside its peers, in turns in one run.

`python -m benchmarks NAME` measures, prints, and writes benchmarks/results/NAME.json; `--quick` measures less and
writes nothing. `all` measures one after another, `check` runs the quick form of all and says which targets hold (exit
status 1 if one is missed), `table` writes MODELS.md, docs/pareto.png and README's speed section from what was measured.

TensorFlow is on oneDNN for all, us and peers; by itself it leaves that off where there is no AVX-512.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
import traceback

from benchmarks.report import Report

NAMES = (
    "serve",
    "train",
    "input",
    "build",
    "memory",
    "gpu",
    "latency",
    "augmentation",
    "exporting",
    "serve_accuracy",
    "serve_load",
)


def main() -> int:
    """Runs one benchmark, or what is made of them."""
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("name", choices=(*NAMES, "all", "check", "table"), help="what to do")
    parser.add_argument("--quick", action="store_true", help="less of it, and write nothing")
    asked = parser.parse_args()
    if asked.name == "table":
        importlib.import_module("benchmarks.table").write()
        return 0
    if asked.name == "check":
        modules = {name: importlib.import_module(f"benchmarks.{name}") for name in NAMES}
        return importlib.import_module("benchmarks.check").check(modules)
    names = NAMES if asked.name == "all" else (asked.name,)
    done = [measured(name, asked.quick) for name in names]
    return int(not all(done))


def measured(name: str, quick: bool) -> bool:
    """Runs one benchmark, and keeps what it found unless that was the quick form; whether it came to its end."""
    module = importlib.import_module(f"benchmarks.{name}")
    report = Report(name)
    try:
        module.run(report, module.QUICK if quick else module.FULL)
    except Exception:  # the others of `all` are measured all the same
        traceback.print_exc()
        return False
    if report.missed:
        print(f"missed: {'; '.join(report.missed)}")
    if not quick:
        report.write(f"python -m benchmarks {name}")
    return True


if __name__ == "__main__":
    sys.exit(main())
