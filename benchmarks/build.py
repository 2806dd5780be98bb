"""Time to build a network, per layer, compared with keras.applications and KerasHub; and time to import the package.

Most of the time of a layer is spent in Keras. This package takes about a fifth longer than keras.applications, because
it draws the weights from the normal distribution of He et al. 2015, which is slower than their uniform distribution.
"""

from __future__ import annotations

import dataclasses
import functools
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping

import keras

import keras_resnet as kr
from benchmarks import keras_hub_nets
from benchmarks.measure import ROUNDS, in_turns, timed
from benchmarks.report import Report
from benchmarks.workers import Turn, workers
from keras_resnet._internal.keras_graph import all_layers

PEER = "keras.applications"
# The interpreter measures the import itself, after Keras is imported. The difference of two total times of several
# seconds would be too inexact.
IMPORT = """
import time, keras
began = time.perf_counter()
import keras_resnet
keras_resnet.ResNet50
print(time.perf_counter() - began)
"""


@dataclasses.dataclass(frozen=True)
class Amount:
    """How much is measured: networks, each with the peers that also have it, and the number of rounds."""

    cases: Mapping[str, tuple[str, ...]]
    rounds: int


FULL = Amount(
    {
        "ResNet50": ("keras.applications", "KerasHub"),
        "ResNet152": ("keras.applications",),
        "ResNet110": (),
        "ResNet1001V2": (),
        "ResNet1202": (),
    },
    ROUNDS,
)
QUICK = Amount({"ResNet50": ("keras.applications", "KerasHub"), "ResNet110": ()}, 3)


def layers_of(build: Callable[[], keras.Model]) -> Turn:
    """A turn that builds a network and returns layers per second."""
    build()
    count = len(list(all_layers(build())))
    return lambda *_: timed(count, build)()


def ours(name: str) -> Turn:
    """Builds a model of the zoo."""
    return layers_of(getattr(kr, name))


def of_applications(name: str) -> Turn:
    """Builds the network of keras.applications."""
    return layers_of(functools.partial(getattr(keras.applications, name), weights=None))


def of_keras_hub(name: str) -> Turn:
    """Builds the network of KerasHub."""
    return layers_of(functools.partial(keras_hub_nets.net, name))


SUBJECTS: dict[str, Callable[[str], Turn]] = {PEER: of_applications, "KerasHub": of_keras_hub, "keras_resnet": ours}


def seconds_of_import() -> float:
    """Seconds that the import of this package takes after the import of Keras, in a new interpreter."""
    said = subprocess.run([sys.executable, "-c", IMPORT], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True)
    return float(said.stdout.split()[-1])


def run(report: Report, amount: Amount) -> None:
    """Measures milliseconds per layer of each network, and the seconds that the import takes after that of Keras.

    The measured import includes the modules that build a network; `import keras_resnet` alone does not import Keras.
    """
    of = functools.partial
    for case, peers in amount.cases.items():
        with workers(
            {subject: of(SUBJECTS[subject], case) for subject in (*peers, "keras_resnet")}, report.leave_out
        ) as started:
            rates = in_turns(started, amount.rounds)
        report.compare(case, rates, PEER, "layers")
        for subject, rate in rates.items():
            report.add(f"{case}, {subject}, ms a layer", 1000 / rate.median)
    figure = "import keras_resnet beyond import keras, s"
    report.rounds[figure] = [seconds_of_import() for _ in range(amount.rounds)]
    report.add(figure, statistics.median(report.rounds[figure]))
