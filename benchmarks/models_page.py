"""Writes the text of MODELS.md: cost and accuracy of each network of the zoo, and its checkpoints."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from benchmarks.latency import BESIDE
from benchmarks.measure import Rates
from benchmarks.results_of import figures, left_out, result
from keras_resnet.weights import Checkpoint
from keras_resnet.weights.table import checkpoints_of
from keras_resnet.zoo import Row

INTRODUCTION = """# Models

Written by `python -m benchmarks table`; the tests hold what is exact (parameters, multiply-accumulates, activations,
checkpoints) against the code, but for what a checkpoint costs at another size, which is counted when this is written.
Multiply-accumulates and activations (outputs of convolutions) are for one image of the size given.

{latency}

![ImageNet top-1 over multiply-accumulates](docs/pareto.png)
"""
MEASURED = """Latency is for one image, of the network as `kr.export` folds it, on {machine}
(`python -m benchmarks latency`, commit {commit}): the median, over five rounds, of how many times as long as ResNet-50
in float32 beside it the network takes, times the median of all that this took. In the middle of all cells the rounds'
ratios are {spread:.0%} apart.{without}"""
NOT_MEASURED = "Latency has not been measured yet (`python -m benchmarks latency`)."
TOP1 = """Top-1 is in percent, of ImageNet or, for 32x32 images, CIFAR-10; of the checkpoint that is recommended. Its
images may be larger than the row's, and cost more: both stand beside it."""
NETWORKS = (
    "model",
    "image",
    "parameters",
    "MACs",
    "activations",
    "latency, float32",
    "latency, bfloat16",
    "top-1",
    "of checkpoint",
)
CHECKPOINTS = ("model", "`weights=`", "data", "top-1", "at", "measured by", "licence", "source")


def page(rows: Iterable[Row], activations: Callable[[Row], int], macs: Callable[[Checkpoint], int]) -> str:
    """The text of MODELS.md.

    Args:
        rows: rows of the zoo.
        activations: function that counts the activations of a row's network.
        macs: function that counts the multiply-accumulates of a checkpoint's network at the size at which the
            checkpoint was measured.
    """
    rows = list(rows)
    took = figures("latency")
    without = "".join(f"\nLeft out there: {what}." for what in left_out("latency"))
    of = result("latency")
    latency = MEASURED.format(**of, spread=spread(of["rounds"]), without=without) if took else NOT_MEASURED
    networks = [[*exact(row, activations(row)), *_times(row, took), *_best(row, macs)] for row in rows]
    checkpoints = [checkpoint(found) for row in rows for found in checkpoints_of(row.name)]
    parts = (
        INTRODUCTION.format(latency=latency),
        "## Networks\n",
        "\n".join(_lines(NETWORKS, networks)),
        f"\n{TOP1}\n",
        "## Checkpoints\n",
        "\n".join(_lines(CHECKPOINTS, checkpoints)),
        "\nThose of licence cc-by-nc must not be used commercially.",
    )
    return "\n".join(parts) + "\n"


def exact(row: Row, activations: int) -> list[str]:
    """The cells of a network that do not depend on the machine."""
    size = f"{row.size}x{row.size}"
    return [f"`{row.name}`", size, f"{row.parameters:,}", f"{row.macs / 1e9:.3f} G", f"{activations / 1e6:.2f} M"]


def checkpoint(found: Checkpoint) -> list[str]:
    """The cells of a checkpoint's line."""
    top1 = "" if found.top1 is None else f"{found.top1:.2f}"
    tag = f"`{found.tag}`{', recommended' if found.recommended else ''}"
    return [
        f"`{found.model}`",
        tag,
        found.data,
        top1,
        f"{found.size}, {found.crop_pct:g}",
        found.top1_source,
        found.licence,
        found.source,
    ]


def line(cells: Iterable[str]) -> str:
    """A line of a Markdown table."""
    return f"| {' | '.join(cells)} |"


def _lines(head: Iterable[str], rows: Iterable[Iterable[str]]) -> list[str]:
    head = list(head)
    return [line(head), line("---" for _ in head), *map(line, rows)]


def _times(row: Row, took: Mapping[str, Any]) -> list[str]:
    found = [took.get(f"{row.name}, {precision}, ms") for precision in ("float32", "bfloat16")]
    return ["" if value is None else f"{two_digits(value)} ms" for value in found]


def two_digits(value: float) -> str:
    """A number with two significant digits."""
    return f"{float(f'{value:.2g}'):g}"


def spread(rounds: Mapping[str, list[float]]) -> float:
    """Range of the ratios to `BESIDE` over the rounds, divided by their median; the median over all cells."""
    found = []
    for cell, rates in rounds.items():
        name, _, subject = cell.partition(", ")
        if subject != BESIDE:
            ratios = Rates(rounds[f"{name}, {BESIDE}"]).ratios(Rates(rates))
            found.append((max(ratios) - min(ratios)) / statistics.median(ratios))
    return statistics.median(found)


def recommended(name: str) -> Checkpoint | None:
    """The recommended checkpoint of a model, if its accuracy is published."""
    return next((found for found in checkpoints_of(name) if found.recommended and found.top1 is not None), None)


def _best(row: Row, macs: Callable[[Checkpoint], int]) -> list[str]:
    best = recommended(row.name)
    if best is None:
        return ["", ""]
    return [f"{best.top1:.2f}", f"`{best.tag}` at {best.size}, {macs(best) / 1e9:.3f} G, {best.licence}"]
