"""docs/pareto.png: ImageNet top-1 of the published checkpoints over multiply-accumulates, families in colour."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

from keras_resnet.weights import Checkpoint
from keras_resnet.weights.table import of_model
from keras_resnet.zoo import Row

# By what a name begins or ends with; the first that fits.
FAMILIES: tuple[tuple[str, Callable[[str], bool]], ...] = (
    ("ResNet-RS", lambda name: name.startswith("ResNetRS")),
    ("SE-ResNet, SE-ResNeXt", lambda name: name.startswith("SE")),
    ("ECA-ResNet", lambda name: name.startswith("ECA")),
    ("ResNeXt", lambda name: name.startswith("ResNeXt")),
    ("Wide ResNet", lambda name: name.startswith("Wide")),
    ("ResNet-D", lambda name: name.endswith("D")),
    ("ResNet v2", lambda name: name.endswith("V2")),
    ("ResNet v1.5", lambda name: True),
)


class Point(NamedTuple):
    """A network with a checkpoint."""

    name: str
    size: int
    macs: int
    top1: float


def family(name: str) -> str:
    """The family of a model."""
    return next(title for title, fits in FAMILIES if fits(name))


def points(rows: Iterable[Row], macs: Callable[[Checkpoint], int]) -> list[Point]:
    """Of the ImageNet checkpoints whose accuracy is published, at the size it was measured at."""
    return [
        Point(row.name, checkpoint.size, macs(checkpoint), checkpoint.top1)
        for row in rows
        for checkpoint in of_model(row.name)
        if checkpoint.data == "imagenet" and checkpoint.top1 is not None
    ]


def front(found: Iterable[Point]) -> list[Point]:
    """Those that none with as few multiply-accumulates beats, the cheapest first."""
    best: list[Point] = []
    for point in sorted(found, key=lambda point: (point.macs, -point.top1)):
        if not best or point.top1 > best[-1].top1:
            best.append(point)
    return best


def draw(found: Iterable[Point], path: Path) -> None:
    """Draws them, those of the front with their names, into a PNG."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator, NullFormatter

    figure = Figure(figsize=(10, 6.5), dpi=120, layout="constrained")
    axes = figure.subplots()
    found = list(found)
    best = front(found)
    line = [point.macs / 1e9 for point in best], [point.top1 for point in best]
    axes.plot(*line, color="0.6", linewidth=1, drawstyle="steps-post", zorder=1, label="Pareto front")
    for number, (title, _) in enumerate(FAMILIES):
        for alpha, of_front in ((0.35, False), (1.0, True)):
            some = [point for point in found if family(point.name) == title and (point in best) == of_front]
            place = [point.macs / 1e9 for point in some], [point.top1 for point in some]
            axes.scatter(*place, color=f"C{number}", alpha=alpha, s=36, linewidths=0)
        axes.scatter([], [], color=f"C{number}", label=title)
    for number, point in enumerate(best):
        side, offset = (("right", (-5, 5)), ("left", (6, -10)))[number % 2]  # in turn, so that neighbours do not meet
        axes.annotate(
            f"{point.name} {point.size}",
            (point.macs / 1e9, point.top1),
            textcoords="offset points",
            xytext=offset,
            ha=side,
            fontsize="x-small",
        )
    axes.set(
        title="Published checkpoints, each at the size it was measured at",
        xlabel="multiply-accumulates of one image, billions",
        ylabel="ImageNet top-1, %",
    )
    axes.set_xscale("log")
    axes.set_xlim(0.7, 300)  # room for names
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.grid(alpha=0.3)
    axes.legend(frameon=False, fontsize="small", loc="lower right")
    path.parent.mkdir(exist_ok=True)
    figure.savefig(path)
