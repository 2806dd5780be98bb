"""Time to export a network of 1,001 layers, compared with `model.export` of Keras."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import tempfile
from pathlib import Path

import keras

import keras_resnet as kr
from benchmarks.measure import ROUNDS, in_turns, timed
from benchmarks.report import Report
from benchmarks.workers import Turn, workers

PEER = "model.export"


@dataclasses.dataclass(frozen=True)
class Amount:
    """How much is measured: the network and the number of rounds."""

    network: str
    rounds: int


FULL = Amount("ResNet1001V2", ROUNDS)
QUICK = Amount("ResNet110V2", 3)


def built(name: str) -> keras.Model:
    """The network, with small kernels, so that its activations do not double with each block up to infinity."""
    model = getattr(kr, name)()
    for layer in model.layers:
        if isinstance(layer, keras.layers.Conv2D):
            layer.kernel.assign(0.1 * layer.kernel)
    return model


def stock(name: str) -> Turn:
    """A turn of `model.export` of Keras; it returns exports per second."""
    model = built(name)

    def export() -> None:
        with tempfile.TemporaryDirectory() as directory:
            model.export(Path(directory, "net"), verbose=False)

    return lambda *_: timed(1, export)()


def ours(name: str) -> Turn:
    """A turn of `saved_model`, which also loads the written model and calls it once; it returns exports per second."""
    model, numbers = built(name), itertools.count(1)

    def export() -> None:
        with tempfile.TemporaryDirectory() as directory:
            kr.export.saved_model(model, Path(directory, "net"), next(numbers))

    return lambda *_: timed(1, export)()


def run(report: Report, amount: Amount) -> None:
    """Measures the exports per second of both, and the ratio."""
    subjects = {PEER: functools.partial(stock, amount.network), "keras_resnet": functools.partial(ours, amount.network)}
    with workers(subjects, report.leave_out) as started:
        report.compare(amount.network, in_turns(started, amount.rounds), PEER, "exports")
