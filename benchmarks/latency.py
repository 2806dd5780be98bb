"""Milliseconds of each network of the zoo for one image.

Batch norms are folded and weights are constants, as in an export. The time includes the classifier, but not the
reading of a file. Each network is compared with ResNet-50 in float32 in the same rounds. The figure is this ratio times
the median of ResNet-50 over the whole run, so that networks which were measured an hour apart can be compared.
"""

from __future__ import annotations

import dataclasses
import functools
import statistics
from collections.abc import Callable

import numpy as np

import keras_resnet as kr
from benchmarks.measure import ROUNDS, in_turns, repeated
from benchmarks.report import Report
from benchmarks.serve import as_trained
from benchmarks.workers import Turn, workers
from keras_resnet import zoo

REFERENCE = "ResNet50"
PEER = f"{REFERENCE} in float32"


@dataclasses.dataclass(frozen=True)
class Amount:
    """How much is measured: the networks and the number of rounds."""

    networks: tuple[str, ...]
    rounds: int


FULL = Amount(tuple(zoo.ROWS), ROUNDS)
QUICK = Amount(("ResNet18", "ResNet20"), 3)


def network(name: str, precisions: tuple[str, ...]) -> Turn:
    """A turn of a network with one image at a time. It takes a precision and returns images per second."""
    import tensorflow as tf

    from keras_resnet.export.network import classifier_scores, float_features

    folded = kr.export.fold_batch_norm(as_trained(getattr(kr, name)()))
    side = zoo.ROWS[name].size
    image = tf.constant(np.random.default_rng(0).uniform(0, 255, (1, side, side, 3)).astype("float32"))
    score = classifier_scores(folded)

    def compiled(precision: str) -> Callable[[tf.Tensor], tf.Tensor]:
        features = float_features(folded, precision)
        return tf.function(lambda image: score(features(image)), autograph=False)

    answers = {precision: compiled(precision) for precision in precisions}

    return lambda precision: repeated(1, lambda: answers[precision](image))


def run(report: Report, amount: Amount) -> None:
    """Measures the milliseconds per image of each network in each precision."""
    precisions = report.precisions()
    ratios: dict[str, float] = {}
    references: list[float] = []
    with workers({REFERENCE: functools.partial(network, REFERENCE, precisions)}, report.leave_out) as reference:
        for name in amount.networks:
            with workers({name: functools.partial(network, name, precisions)}, report.leave_out) as started:
                turns: dict[str, Turn] = {
                    precision: functools.partial(started[name], precision) for precision in precisions
                }
                turns[PEER] = functools.partial(reference[REFERENCE], "float32")
                rates = in_turns(turns, amount.rounds)
            report.compare(name, rates, PEER, "images")
            references += rates[PEER].rounds
            ratios |= {f"{name}, {precision}": rates[PEER].over(rates[precision]) for precision in precisions}
    for figure, ratio in ratios.items():
        report.add(f"{figure}, ms", 1000 * ratio / statistics.median(references))
