"""A server under load and abuse: 16 clients for a minute with batches of 1 to 8, 1,000 malformed requests, 100 swaps.

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

SIZE = Size(clients=16, seconds=60, malformed=1000, swaps=100)


def run() -> dict[str, float]:
    """Prints and returns the figures."""
    print(f"{' '.join(PROGRAM)}: {SIZE}")
    start = time.perf_counter()
    outcome = drive(SIZE)
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
    for name, figure in figures.items():
        print(f"{name:24}{figure:10.1f}")
    for fault, count in collections.Counter(outcome.faults).most_common(20):
        print(f"{count} times: {fault}")
    missing = SIZE.malformed - len(outcome.refused) + SIZE.swaps - len(outcome.swapped)
    if outcome.faults or missing:
        raise SystemExit(f"{len(outcome.faults)} faults, {missing} malformed requests or swaps missing")
    return figures
