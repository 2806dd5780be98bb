"""A training step of ResNet-50 on a GPU in bfloat16: this package on JAX against torchvision with `torch.compile`.

The subjects are in `gpu_steps`. The benchmark needs JAX, torch and torchvision, but neither TensorFlow nor images.
Without a GPU it prints that, and measures nothing.
"""

from __future__ import annotations

import dataclasses
import functools

from benchmarks import gpu_steps
from benchmarks.measure import ROUNDS, in_turns
from benchmarks.report import Report
from benchmarks.workers import Turn, UnavailableError, needs, workers

OURS, PEER = "keras_resnet on JAX", "torchvision, torch.compile"
TOPS = ("convolutions in bfloat16", "matrices in bfloat16")


@dataclasses.dataclass(frozen=True)
class Amount:
    """How much is measured: images per step, their side in pixels, rows of the matrices, steps per turn, rounds."""

    batch: int
    size: int
    matrix: int
    steps: int
    rounds: int


FULL = Amount(256, 224, 8192, 20, ROUNDS)
QUICK = Amount(64, 224, 8192, 5, 3)


def why_not() -> str:
    """The reason why nothing can be measured on this machine; "" if it can be measured."""
    try:
        needs("jax", "torch", "torchvision")
    except UnavailableError as reason:
        return str(reason)
    import torch

    none = "there is no GPU that both torch and JAX can use"
    if not torch.cuda.is_available():
        return none
    # In another process: this one must not start Keras on JAX, because other benchmarks follow in it.
    with workers({"JAX": gpu_steps.jax_has_a_gpu}, lambda *_: None) as started:
        return "" if started["JAX"]() else none


def run(report: Report, amount: Amount) -> None:
    """Measures all subjects in turns, each in its own process."""
    reason = why_not()
    if reason:
        report.leave_out("ResNet50", reason)
        return
    size = (amount.batch, amount.size, amount.steps)
    subjects: dict[str, functools.partial[Turn]] = {
        OURS: functools.partial(gpu_steps.ours, *size),
        PEER: functools.partial(gpu_steps.theirs, *size),
        TOPS[0]: functools.partial(gpu_steps.convolutions, amount.batch, amount.steps),
        TOPS[1]: functools.partial(gpu_steps.matrices, amount.matrix, amount.steps),
    }
    with workers({"MACs": functools.partial(gpu_steps.macs, amount.size)}, report.leave_out) as started:
        flops = 3 * 2 * started["MACs"]()
    with workers(subjects, report.leave_out) as started:
        rates = in_turns(started, amount.rounds)
    both = (OURS, PEER)
    report.compare("ResNet50", rates, PEER, "images", dict.fromkeys(both, flops), dict.fromkeys(both, TOPS))
