"""Draws docs/pareto.png: ImageNet top-1 of the published checkpoints over multiply-accumulates.

Each family has its color and marker. The Pareto front has only checkpoints for commercial use; the
others have hollow markers. The best of these others were trained on up to a billion images more than ImageNet has, so
their accuracy says little about the networks.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

from keras_resnet.plots.style import figure, logarithmic, save
from keras_resnet.weights import Checkpoint
from keras_resnet.weights.table import checkpoints_of
from keras_resnet.zoo import Row


class Family(NamedTuple):
    """A family of networks: its title, a test of a model's name, and how its points are drawn."""

    title: str
    contains: Callable[[str], bool]
    marker: str
    color: str


# A model belongs to the first family whose test is true. The colors are those of Okabe and Ito, which people with color
# blindness can tell apart; the markers tell the families apart without color.
FAMILIES = (
    Family("ResNet-RS", lambda name: name.startswith("ResNetRS"), "P", "#0072B2"),
    Family("SE-ResNet, SE-ResNeXt", lambda name: name.startswith("SE"), "s", "#E69F00"),
    Family("ECA-ResNet", lambda name: name.startswith("ECA"), "v", "#009E73"),
    Family("ResNeXt", lambda name: name.startswith("ResNeXt"), "^", "#D55E00"),
    Family("Wide ResNet", lambda name: name.startswith("Wide"), "X", "#CC79A7"),
    Family("ResNet-D", lambda name: name.endswith("D"), "D", "#56B4E9"),
    Family("ResNet v2", lambda name: name.endswith("V2"), "h", "#8C6D1F"),
    Family("ResNet v1.5", lambda name: True, "o", "#777777"),
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


def family(name: str) -> Family:
    """The family of a model."""
    return next(family for family in FAMILIES if family.contains(name))


def points(rows: Iterable[Row], macs: Callable[[Checkpoint], int]) -> list[Point]:
    """Points for the ImageNet checkpoints with a published accuracy, at the size at which it was measured."""
    return [
        Point(row.name, published.tag, published.size, macs(published), published.top1, "-nc-" not in published.licence)
        for row in rows
        for published in checkpoints_of(row.name)
        if published.data == "imagenet" and published.top1 is not None
    ]


def pareto_front(candidates: Iterable[Point]) -> list[Point]:
    """The points for commercial use for which no point with fewer or as many MACs is better; in order of MACs."""
    best: list[Point] = []
    for point in sorted(candidates, key=lambda point: (point.macs, -point.top1)):
        if point.commercial and (not best or point.top1 > best[-1].top1):
            best.append(point)
    return best


def numbered_points(front: Iterable[Point]) -> list[Point]:
    """The points of the front that get a number: each is at least a line of text above the last one with a number.

    Args:
        front: points of the front, in order of their MACs.
    """
    chosen: list[Point] = []
    for point in front:
        if not chosen or point.top1 - chosen[-1].top1 >= LINE:
            chosen.append(point)
    return chosen


def plot_models(candidates: Iterable[Point], path: Path) -> None:
    """Draws the points into a PNG file. If there is room, points of the front get a number, which a list explains."""
    drawn = figure(10, 6.5)
    axes = drawn.subplots()
    candidates = list(candidates)
    front = pareto_front(candidates)
    label = "Pareto front of those for commercial use"
    axes.plot(*_coordinates(front), color="0.6", linewidth=1, drawstyle="steps-post", zorder=1, label=label)
    for each in FAMILIES:
        members = [point for point in candidates if family(point.name) == each]
        free = [point for point in members if point.commercial]
        others = [point for point in members if not point.commercial]
        scatter = functools.partial(axes.scatter, marker=each.marker, s=40)
        scatter(*_coordinates(free), color=each.color, alpha=0.75, linewidths=0, label=each.title)
        scatter(*_coordinates(others), facecolors="none", edgecolors=each.color)
    axes.scatter([], [], facecolors="none", edgecolors="0.4", s=40, label="hollow: not for commercial use (cc-by-nc)")
    # The list is in the empty corner; names next to their points would cover other points.
    lines = ["    model            weights=        pixels"]
    for number, point in enumerate(numbered_points(front), 1):
        lines.append(f"{number:2}  {point.name:15}  {point.tag:14}  {point.size:6}")
        place = 0.955 * point.macs / 1e9, point.top1 + LINE / 2
        axes.text(*place, str(number), ha="right", va="center", fontsize="x-small")
    lines += ["    Points of the front without a number", f"    are less than {LINE} % above the last number."]
    axes.text(0.02, 0.97, "\n".join(lines), transform=axes.transAxes, va="top", fontsize="x-small", family="monospace")
    axes.set(
        title="ImageNet checkpoints, each at the image size of its published accuracy",
        xlabel="multiply-accumulates for one image, billions",
        ylabel="ImageNet top-1, %",
    )
    axes.set_xscale("log")
    axes.set_xlim(0.4, 200)  # room for the list on the left
    logarithmic(axes.xaxis)
    axes.grid(alpha=0.3)
    axes.legend(frameon=False, fontsize="small", loc="lower right")
    path.parent.mkdir(exist_ok=True)
    save(drawn, path)


def _coordinates(chosen: Iterable[Point]) -> tuple[list[float], list[float]]:
    chosen = list(chosen)
    return [point.macs / 1e9 for point in chosen], [point.top1 for point in chosen]
