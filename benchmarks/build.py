"""How long it takes to build a network, by layer, beside keras.applications and KerasHub; and to import the package.

What a layer costs is Keras' own. Ours takes about a fifth longer than keras.applications': its weights are drawn from
the normal distribution of He et al. 2015, which is slower to draw from than their uniform one.
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
# By the clock of one interpreter, after Keras: what is left of two times of seconds would say nothing.
IMPORT = """
import time, keras
began = time.perf_counter()
import keras_resnet
keras_resnet.ResNet50
print(time.perf_counter() - began)
"""


@dataclasses.dataclass(frozen=True)
class Amount:
    """Networks, each with the peers that have it too; and how often."""

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
    """Layers that are built a second."""
    build()
    count = len(list(all_layers(build())))
    return lambda *_: timed(count, build)()


def ours(name: str) -> Turn:
    """A row of the zoo."""
    return layers_of(getattr(kr, name))


def of_applications(name: str) -> Turn:
    """keras.applications' network."""
    return layers_of(functools.partial(getattr(keras.applications, name), weights=None))


def of_keras_hub(name: str) -> Turn:
    """KerasHub's."""
    return layers_of(functools.partial(keras_hub_nets.net, name))


SUBJECTS: dict[str, Callable[[str], Turn]] = {PEER: of_applications, "KerasHub": of_keras_hub, "keras_resnet": ours}


def seconds_of_import() -> float:
    """Seconds that the import adds to that of Keras, in a fresh interpreter."""
    said = subprocess.run([sys.executable, "-c", IMPORT], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True)
    return float(said.stdout.split()[-1])


def run(report: Report, amount: Amount) -> None:
    """Milliseconds a layer of each network, and the seconds that the import adds to that of Keras.

    The import is of what a network is built with: `import keras_resnet` alone does not even import Keras.
    """
    of = functools.partial
    for case, peers in amount.cases.items():
        with workers({who: of(SUBJECTS[who], case) for who in (*peers, "keras_resnet")}, report.leave_out) as started:
            rates = in_turns(started, amount.rounds)
        report.compare(case, rates, PEER, "layers")
        for who, rate in rates.items():
            report.add(f"{case}, {who}, ms a layer", 1000 / rate.median)
    figure = "import keras_resnet beyond import keras, s"
    report.rounds[figure] = [seconds_of_import() for _ in range(amount.rounds)]
    report.add(figure, statistics.median(report.rounds[figure]))
