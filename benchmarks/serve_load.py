"""A server under load and abuse: 16 clients for a minute, batches of 1 to 8, 1,000 malformed requests; then 100 swaps.

ResNet-20, float32, asked by gRPC and REST about pixels and files; clients and server share the machine, so the
milliseconds say how a crowded machine does, not how fast the network is. Faults are requests that were answered wrongly
or not at all. The server is `tensorflow_model_server` where it is on the PATH, else the tests' stand-in.
"""

from __future__ import annotations

import collections
import dataclasses
import time
from collections.abc import Mapping

import numpy as np

from benchmarks.report import Report
from tests.serving.load import Size, drive
from tests.serving.process import REAL


@dataclasses.dataclass(frozen=True)
class Amount:
    """What is driven, by name.

    Swaps apart: to load a version takes seconds of both cores, which would be all that the other's milliseconds say.
    """

    sizes: Mapping[str, Size]


FULL = Amount(
    {
        "load": Size(clients=16, seconds=60, malformed=1000, swaps=0),
        "swaps": Size(clients=4, seconds=0, malformed=0, swaps=100),
    }
)
QUICK = Amount({"load": Size(clients=16, seconds=10, malformed=100, swaps=0)})


def run(report: Report, amount: Amount) -> None:
    """Each in a run of its own."""
    if REAL is None:
        report.leave_out("tensorflow_model_server", "it is not on the PATH: the server is the tests' stand-in")
    for name, size in amount.sizes.items():
        measured(report, name, size)


def measured(report: Report, name: str, size: Size) -> None:
    """The figures of one run."""
    start = time.perf_counter()
    outcome = drive(size)
    missing = size.malformed - len(outcome.refused) + size.swaps - len(outcome.swapped)
    for what, figure in {
        "seconds": time.perf_counter() - start,
        "answered": len(outcome.milliseconds),
        "p50 ms": np.percentile(outcome.milliseconds, 50),
        "p99 ms": np.percentile(outcome.milliseconds, 99),
        "malformed and refused": len(outcome.refused),
        "swaps": len(outcome.swapped),
        "faults": len(outcome.faults),
        "malformed not refused or swaps not made": missing,
        "server MB before": outcome.megabytes[0],
        "server MB after": outcome.megabytes[1],
    }.items():
        report.add(f"{name}, {what}", float(figure))
    for fault, count in collections.Counter(outcome.faults).most_common(20):
        print(f"{count} times: {fault}")
