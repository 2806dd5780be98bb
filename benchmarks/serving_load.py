"""A server under load and abuse: 16 clients for a minute, batches of 1 to 8, 1,000 malformed requests; then 100 swaps.

ResNet-20, float32, asked by gRPC and REST about pixels and files; clients and server share the machine, so the
milliseconds say how a crowded machine does, not how fast the network is. It ends in an error if one request was
answered wrongly or not at all, or one that is malformed was not refused. The server is `tensorflow_model_server` where
it is on the PATH, else the tests' stand-in.
"""

from __future__ import annotations

import collections
import time

import numpy as np

from tests.serving.load import Size, drive
from tests.serving.process import PROGRAM

# In two runs: to load a version takes seconds of both cores, which would be all that the first one's milliseconds say.
SIZES = {
    "load": Size(clients=16, seconds=60, malformed=1000, swaps=0),
    "swaps": Size(clients=4, seconds=0, malformed=0, swaps=100),
}


def run() -> dict[str, float]:
    """Prints and returns the figures of both runs."""
    print(" ".join(PROGRAM))
    return {f"{name}: {what}": figure for name, size in SIZES.items() for what, figure in measured(name, size).items()}


def measured(name: str, size: Size) -> dict[str, float]:
    """Those of one run."""
    start = time.perf_counter()
    outcome = drive(size)
    figures = {
        "seconds": time.perf_counter() - start,
        "answered": float(len(outcome.milliseconds)),
        "p50 ms": float(np.percentile(outcome.milliseconds, 50)),
        "p99 ms": float(np.percentile(outcome.milliseconds, 99)),
        "malformed and refused": float(len(outcome.refused)),
        "swaps": float(len(outcome.swapped)),
        "faults": float(len(outcome.faults)),
        "server MB before": outcome.megabytes[0],
        "server MB after": outcome.megabytes[1],
    }
    print(f"\n{name}: {size}")
    for what, figure in figures.items():
        print(f"{what:24}{figure:10.1f}")
    for fault, count in collections.Counter(outcome.faults).most_common(20):
        print(f"{count} times: {fault}")
    missing = size.malformed - len(outcome.refused) + size.swaps - len(outcome.swapped)
    if outcome.faults or missing:
        raise SystemExit(f"{len(outcome.faults)} faults, {missing} malformed requests or swaps missing")
    return figures
