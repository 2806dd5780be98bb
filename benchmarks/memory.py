"""Memory that training needs in addition, with the activations of blocks kept or computed again (`remat`).

Each case runs in its own process, and the kernel reports the peak of its memory. The cases take no turns, because
memory does not drift as speed does.
"""

from __future__ import annotations

import dataclasses
import functools

import numpy as np

import keras_resnet as kr
from benchmarks.measure import bytes_of_process, reset_peak_of_memory
from benchmarks.report import Report
from benchmarks.workers import Turn, workers

GIB = 2**30


@dataclasses.dataclass(frozen=True)
class Amount:
    """How much is measured: networks, each with or without `remat`; images per step; number of steps."""

    cases: tuple[tuple[str, bool], ...]
    batch: int
    steps: int


FULL = Amount((("ResNet110", False), ("ResNet110", True), ("ResNet1202", True)), 128, 2)
QUICK = Amount((("ResNet110", False), ("ResNet110", True)), 128, 1)


def bytes_of(name: str, remat: bool, batch: int, steps: int) -> Turn:
    """A turn that trains, and returns the peak of the memory in bytes, less the memory before."""
    pixels = np.random.default_rng(0).integers(0, 256, (batch * steps, 32, 32, 3), "uint8")
    split = kr.data.from_arrays(pixels, np.arange(batch * steps) % 10, tuple(map(str, range(10))))
    model = getattr(kr, name)(input_shape=(32, 32, 3))
    recipe = kr.training.Recipe(
        epochs=1, batch_size=batch, learning_rate=1e-3, pad_and_crop=0.0, remat=remat, validation_split=0.0
    )

    def turn() -> float:
        reset_peak_of_memory()  # so that building the network does not count
        before = bytes_of_process("VmRSS")
        kr.training.fit(model, recipe, split)
        return bytes_of_process("VmHWM") - before

    return turn


def run(report: Report, amount: Amount) -> None:
    """Measures for each case the memory in addition to that before training, in GiB."""
    for name, remat in amount.cases:
        case = f"{name}{' remat' if remat else ''} at batch {amount.batch}"
        with workers(
            {case: functools.partial(bytes_of, name, remat, amount.batch, amount.steps)}, report.leave_out
        ) as started:
            report.add(f"{case}, GiB", started[case]() / GIB)
    for name in {name for name, remat in amount.cases if remat}:
        kept, again = (report.figures.get(f"{name}{how} at batch {amount.batch}, GiB") for how in ("", " remat"))
        if kept and again:
            report.add(f"{name}, share of memory that remat saves", 1 - again / kept)
