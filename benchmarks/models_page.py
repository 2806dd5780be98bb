"""Writes the text of MODELS.md: cost and accuracy of each network of the zoo, and its checkpoints."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from benchmarks.latency import PEER
from benchmarks.measure import Rates
from benchmarks.results_of import figures, left_out, result
from keras_resnet.weights import Checkpoint
from keras_resnet.weights.table import checkpoints_of
from keras_resnet.zoo import Row

INTRODUCTION = """# Models

`python -m benchmarks table` writes this page. Tests compare parameters, multiply-accumulates (MACs),
activations and checkpoints with the code; only the cost of a checkpoint at another image size is not tested.
MACs and activations (outputs of convolutions) are for one image of the size in the table.

{latency}

![ImageNet top-1 over multiply-accumulates](docs/pareto.png)
"""
MEASURED = """Latency is the time for one image, with batch norms folded as in an export, on {machine}
(`python -m benchmarks latency`, commit {commit}). In each of five rounds the network and ResNet-50 in float32 take
turns. The figure is the median of the ratio of the two times, multiplied by the median time of ResNet-50 over all
rounds. The ratios of the five rounds differ by {spread:.0%} (median over the cells).{not_measured}"""
NOT_MEASURED = "Latency has not been measured yet (`python -m benchmarks latency`)."
TOP1 = """Top-1 is the accuracy in percent of the recommended checkpoint, on ImageNet or, for 32x32 images, on CIFAR-10.
The last column has the image size at which it was measured, with the cost at this size and the licence."""
NETWORKS = (
    "model",
    "image",
    "parameters",
    "MACs",
    "activations",
    "latency, float32",
    "latency, bfloat16",
    "top-1",
    "checkpoint",
)
CHECKPOINTS = ("model", "`weights=`", "data", "top-1", "image size, crop", "measured by", "licence", "source")


def page(rows: Iterable[Row], activations: Callable[[Row], int], macs: Callable[[Checkpoint], int]) -> str:
    """The text of MODELS.md.

    Args:
        rows: rows of the zoo.
        activations: function that counts the activations of a row's network.
        macs: function that counts the multiply-accumulates of a checkpoint's network at the size at which the
            checkpoint was measured.
    """
    rows = list(rows)
    milliseconds = figures("latency")
    not_measured = "".join(f"\nNot measured: {what}." for what in left_out("latency"))
    stored = result("latency")
    latency = (
        MEASURED.format(**stored, spread=spread(stored["rounds"]), not_measured=not_measured)
        if milliseconds
        else NOT_MEASURED
    )
    networks = [[*exact(row, activations(row)), *_times(row, milliseconds), *_best(row, macs)] for row in rows]
    checkpoints = [checkpoint(published) for row in rows for published in checkpoints_of(row.name)]
    parts = (
        INTRODUCTION.format(latency=latency),
        "## Networks\n",
        "\n".join(_lines(NETWORKS, networks)),
        f"\n{TOP1}\n",
        "## Checkpoints\n",
        "\n".join(_lines(CHECKPOINTS, checkpoints)),
        "\nCheckpoints with the licence cc-by-nc must not be used commercially.",
    )
    return "\n".join(parts) + "\n"


def exact(row: Row, activations: int) -> list[str]:
    """The cells of a network that do not depend on the machine."""
    size = f"{row.size}x{row.size}"
    return [f"`{row.name}`", size, f"{row.parameters:,}", f"{row.macs / 1e9:.3f} G", f"{activations / 1e6:.2f} M"]


def checkpoint(published: Checkpoint) -> list[str]:
    """The cells of a checkpoint's line."""
    top1 = "" if published.top1 is None else f"{published.top1:.2f}"
    tag = f"`{published.tag}`{', recommended' if published.recommended else ''}"
    return [
        f"`{published.model}`",
        tag,
        published.data,
        top1,
        f"{published.size}, {published.crop_pct:g}",
        published.top1_source,
        published.licence,
        published.source,
    ]


def line(cells: Iterable[str]) -> str:
    """A line of a Markdown table."""
    return f"| {' | '.join(cells)} |"


def _lines(head: Iterable[str], rows: Iterable[Iterable[str]]) -> list[str]:
    head = list(head)
    return [line(head), line("---" for _ in head), *map(line, rows)]


def _times(row: Row, milliseconds: Mapping[str, Any]) -> list[str]:
    values = [milliseconds.get(f"{row.name}, {precision}, ms") for precision in ("float32", "bfloat16")]
    return ["" if value is None else f"{two_digits(value)} ms" for value in values]


def two_digits(value: float) -> str:
    """A number with two significant digits."""
    return f"{float(f'{value:.2g}'):g}"


def spread(rounds: Mapping[str, list[float]]) -> float:
    """Range of the ratios to `PEER` over the rounds, divided by their median; the median over all cells."""
    spreads = []
    for cell, rates in rounds.items():
        name, _, subject = cell.partition(", ")
        if subject != PEER:
            ratios = Rates(rounds[f"{name}, {PEER}"]).ratios(Rates(rates))
            spreads.append((max(ratios) - min(ratios)) / statistics.median(ratios))
    return statistics.median(spreads)


def recommended(name: str) -> Checkpoint | None:
    """The recommended checkpoint of a model, if its accuracy is published."""
    return next((c for c in checkpoints_of(name) if c.recommended and c.top1 is not None), None)


def _best(row: Row, macs: Callable[[Checkpoint], int]) -> list[str]:
    best = recommended(row.name)
    if best is None:
        return ["", ""]
    return [f"{best.top1:.2f}", f"`{best.tag}` at {best.size}, {macs(best) / 1e9:.3f} G, {best.licence}"]
