"""`python -m benchmarks NAME` measures, prints, and writes benchmarks/results/NAME.json."""

from __future__ import annotations

import argparse
import importlib
import json
import os
import platform
from importlib.metadata import version
from pathlib import Path

RESULTS = Path(__file__).parent / "results"
NAMES = (
    "augmentation",
    "build",
    "exporting",
    "memory",
    "pipelines",
    "serving",
    "serving_accuracy",
    "serving_load",
    "training",
)


def main() -> None:
    """Runs one benchmark."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("name", choices=NAMES, help="what to measure")
    name = parser.parse_args().name
    figures = importlib.import_module(f"benchmarks.{name}").run()
    RESULTS.mkdir(exist_ok=True)
    record = {
        "figures": {key: round(value, 3) for key, value in figures.items()},
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "versions": {package: version(package) for package in ("keras", "tensorflow", "numpy")},
    }
    (RESULTS / f"{name}.json").write_text(json.dumps(record, indent=2) + "\n")


if __name__ == "__main__":
    main()
