"""Measures this package beside its peers, in turns in one run.

`python -m benchmarks NAME` measures, prints, and writes benchmarks/results/NAME.json; `--quick` measures less and
writes nothing. `all` measures one after another (exit status 1 if one ends in an error), `check` runs the quick form of
all and says which targets hold (exit status 1 if one is missed), `table` writes MODELS.md, docs/pareto.png and README's
speed section from what was measured.

TensorFlow is on oneDNN for all, us and peers; by itself it leaves that off where there is no AVX-512.
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
    if asked.name == "all":
        return _all(["--quick"] if asked.quick else [])
    module = importlib.import_module(f"benchmarks.{asked.name}")
    report = Report(asked.name)
    module.run(report, module.QUICK if asked.quick else module.FULL)
    if report.missed:
        print(f"missed: {'; '.join(report.missed)}")
    if not asked.quick:
        report.write(f"python -m benchmarks {asked.name}")
    return 0


def _all(options: list[str]) -> int:
    """Each in a process of its own, as if it were typed: none has what another left, or ends with it."""
    failed = []
    for name in NAMES:
        print(f"\npython -m benchmarks {name}", flush=True)
        if subprocess.run([sys.executable, "-m", "benchmarks", name, *options], check=False).returncode:
            failed.append(name)
    print(f"\nended in an error: {', '.join(failed) or 'none'}")
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
