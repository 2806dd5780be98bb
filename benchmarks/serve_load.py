"""A server under load: 16 clients for a minute, batches of 1 to 8, 1,000 malformed requests; then 100 version swaps.

The network is ResNet-20 in float32. The clients send pixels and files by gRPC and REST. Clients and server share the
machine, so the milliseconds describe a busy machine, and not the speed of the network. Faults are requests with a wrong
answer or without an answer. The server is `tensorflow_model_server` if it is on the PATH, otherwise the replacement in
the tests.
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
    """How much is measured: a `Size` for each run, by name.

    The swaps are a separate run. Loading a version keeps both cores busy for seconds, which would dominate the
    milliseconds of the requests.
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
    """Measures each size in a separate run."""
    if REAL is None:
        report.leave_out("tensorflow_model_server", "it is not on the PATH; the server of the tests took its place")
    for name, size in amount.sizes.items():
        measured(report, name, size)


def measured(report: Report, name: str, size: Size) -> None:
    """Adds the figures of one run to the report."""
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
