"""Measures this package and its peers, which take turns in the same run.

`python -m benchmarks NAME` measures, prints, and writes benchmarks/results/NAME.json; `--quick` measures less and
writes no file. `all` runs all benchmarks one after another (exit status 1 if one ends in an error). `check` runs the
quick form of all and prints which targets hold (exit status 1 if one is missed). `table` writes MODELS.md,
docs/pareto.png and the speed section of BENCHMARKS.md from the results.

TensorFlow uses oneDNN for this package and for all peers; by default it does not use oneDNN without AVX-512.
"""

from __future__ import annotations

import argparse
import importlib
import os
import subprocess
import sys

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
    "detect",
)


def main() -> int:
    """Runs one benchmark, all benchmarks, the check, or the table."""
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "name", choices=(*NAMES, "all", "check", "table"), help="name of a benchmark, or all, check or table, see above"
    )
    parser.add_argument("--quick", action="store_true", help="measure less, and write no file")
    requested = parser.parse_args()
    if requested.name == "table":
        importlib.import_module("benchmarks.table").write()
        return 0
    if requested.name == "check":
        modules = {name: importlib.import_module(f"benchmarks.{name}") for name in NAMES}
        return importlib.import_module("benchmarks.check").check(modules)
    if requested.name == "all":
        return _all(["--quick"] if requested.quick else [])
    module = importlib.import_module(f"benchmarks.{requested.name}")
    report = Report(requested.name)
    module.run(report, module.QUICK if requested.quick else module.FULL)
    if report.missed:
        print(f"missed: {'; '.join(report.missed)}")
    if not requested.quick:
        report.write(f"python -m benchmarks {requested.name}")
    return 0


def _all(options: list[str]) -> int:
    """Runs each benchmark in its own process, so that it does not depend on the state or the failure of another."""
    failed = []
    for name in NAMES:
        print(f"\npython -m benchmarks {name}", flush=True)
        if subprocess.run([sys.executable, "-m", "benchmarks", name, *options], check=False).returncode:
            failed.append(name)
    print(f"\nended in an error: {', '.join(failed) or 'none'}")
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
