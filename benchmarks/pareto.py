"""Draws docs/pareto.png: ImageNet top-1 of the published checkpoints over multiply-accumulates, one colour per family.

The Pareto front has only checkpoints for commercial use; the others are hollow circles. The best of these others were
trained on up to a billion images more than ImageNet has, so their accuracy says little about the networks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

from keras_resnet.weights import Checkpoint
from keras_resnet.weights.table import checkpoints_of
from keras_resnet.zoo import Row

# Families with a test of the model's name; the first family whose test is true is taken.
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


LINE = 0.33  # height of a line of text in the figure, in percent of top-1


class Point(NamedTuple):
    """A network with a checkpoint; `commercial`: whether its licence allows commercial use."""

    name: str
    tag: str
    size: int
    macs: int
    top1: float
    commercial: bool


def family(name: str) -> str:
    """The family of a model."""
    return next(title for title, fits in FAMILIES if fits(name))


def points(rows: Iterable[Row], macs: Callable[[Checkpoint], int]) -> list[Point]:
    """Points for the ImageNet checkpoints with a published accuracy, at the size at which it was measured."""
    return [
        Point(row.name, found.tag, found.size, macs(found), found.top1, "-nc-" not in found.licence)
        for row in rows
        for found in checkpoints_of(row.name)
        if found.data == "imagenet" and found.top1 is not None
    ]


def pareto_front(found: Iterable[Point]) -> list[Point]:
    """The points for commercial use that no point with as few multiply-accumulates beats, the cheapest first."""
    best: list[Point] = []
    for point in sorted(found, key=lambda point: (point.macs, -point.top1)):
        if point.commercial and (not best or point.top1 > best[-1].top1):
            best.append(point)
    return best


def named(best: Iterable[Point]) -> list[Point]:
    """The points of the front that get a number: each is at least a line of text above the last one with a number.

    Args:
        best: points of the front, the cheapest first.
    """
    chosen: list[Point] = []
    for point in best:
        if not chosen or point.top1 - chosen[-1].top1 >= LINE:
            chosen.append(point)
    return chosen


def plot_models(found: Iterable[Point], path: Path) -> None:
    """Draws the points into a PNG file. If there is room, points of the front get a number, which a list explains."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator, NullFormatter

    figure = Figure(figsize=(10, 6.5), dpi=120, layout="constrained")
    axes = figure.subplots()
    found = list(found)
    best = pareto_front(found)
    axes.plot(*_places(best), color="0.6", linewidth=1, drawstyle="steps-post", zorder=1, label="Pareto front")
    for number, (title, _) in enumerate(FAMILIES):
        colour = f"C{number}"
        some = [point for point in found if family(point.name) == title]
        free, others = ([point for point in some if point.commercial == wanted] for wanted in (True, False))
        axes.scatter(*_places(free), color=colour, alpha=0.6, s=36, linewidths=0, label=title)
        axes.scatter(*_places(others), facecolors="none", edgecolors=colour, s=30)
    axes.scatter([], [], facecolors="none", edgecolors="0.4", s=30, label="not for commercial use (cc-by-nc)")
    names = []  # in the empty corner; next to their points they would cover other points
    numbered = named(best)
    axes.scatter(*_places(numbered), facecolors="none", edgecolors="black", linewidths=0.8, s=36)
    for number, point in enumerate(numbered, 1):
        names.append(f"{number:2}  {point.name:15}  {point.tag:14}  {point.size}")
        place = 0.965 * point.macs / 1e9, point.top1 + LINE / 2
        axes.text(*place, str(number), ha="right", va="center", fontsize="x-small")
    axes.text(0.02, 0.97, "\n".join(names), transform=axes.transAxes, va="top", fontsize="x-small", family="monospace")
    axes.set(
        title="Published checkpoints, each at the size it was measured at",
        xlabel="multiply-accumulates of one image, billions",
        ylabel="ImageNet top-1, %",
    )
    axes.set_xscale("log")
    axes.set_xlim(0.7, 200)  # room for names
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.grid(alpha=0.3)
    axes.legend(frameon=False, fontsize="small", loc="lower right")
    path.parent.mkdir(exist_ok=True)
    figure.savefig(path)


def _places(found: Iterable[Point]) -> tuple[list[float], list[float]]:
    points = list(found)
    return [point.macs / 1e9 for point in points], [point.top1 for point in points]
