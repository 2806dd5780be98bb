"""`plot_precision_recall`: how many objects of each class are found, and how many of the detections are right."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from keras_resnet.plots.style import BLUE, ORANGE, figure, save, shortened

COLUMNS = 4  # curves in a line
WIDTH, HEIGHT = 2.2, 1.7  # of a curve in inches
LEFT, GAP, ABOVE, BELOW, TITLE = 0.75, 0.38, 0.5, 0.5, 0.3  # inches: around curves, above each, of the title


class Panel(NamedTuple):
    """The curve of one class.

    Attributes:
        name: name of the class.
        objects: number of its objects.
        recall, precision: of the detections down to each score, float (d).
        envelope: for each recall the highest precision at it or a higher one, float (d).
        average: average precision, the area under the envelope.
        best: score, recall and precision where F1 is highest; NaN if no detection is right.
    """

    name: str
    objects: int
    recall: np.ndarray
    precision: np.ndarray
    envelope: np.ndarray
    average: float
    best: tuple[float, float, float]


def plot_precision_recall(panels: Sequence[Panel], title: str, path: Path) -> None:
    """Draws precision over recall into a PNG file, a small picture for each class.

    Args:
        panels: the classes, at least one.
        title: what is shown.
        path: path of the PNG file.
    """
    columns = min(len(panels), COLUMNS)
    lines = -(-len(panels) // columns)
    whole_width = LEFT + columns * (WIDTH + GAP)
    whole_height = TITLE + lines * (HEIGHT + ABOVE) + BELOW
    # The automatic layout of so many axes takes seconds.
    drawn = figure(whole_width, whole_height, layout="none")
    drawn.suptitle(title, fontsize=10, y=1 - 0.12 / whole_height, va="top")
    for number, panel in enumerate(panels):
        line, column = divmod(number, columns)
        left, top = LEFT + column * (WIDTH + GAP), TITLE + ABOVE + line * (HEIGHT + ABOVE)
        place = (left / whole_width, 1 - (top + HEIGHT) / whole_height, WIDTH / whole_width, HEIGHT / whole_height)
        axes = drawn.add_axes(place)
        _draw(axes, panel)
        if column:
            axes.tick_params(labelleft=False)
        if number + columns < len(panels):
            axes.tick_params(labelbottom=False)
    drawn.supxlabel("recall: objects that are found", fontsize=9, y=0.08 / whole_height, va="bottom")
    drawn.supylabel("precision: detections that are right", fontsize=9, x=0.08 / whole_width, ha="left")
    save(drawn, path)


def _draw(axes: Any, panel: Panel) -> None:
    recall, envelope = np.append(0, panel.recall), np.append(panel.envelope[:1], panel.envelope)
    if len(panel.recall):
        axes.fill_between(recall, envelope, step="pre", color=BLUE, alpha=0.2, linewidth=0)
        axes.plot(panel.recall, panel.precision, color=BLUE, linewidth=1.2)
    score, *place = panel.best
    axes.plot(*place, "o", color=ORANGE, markeredgecolor="black", markersize=6, clip_on=False)
    best = "none is right" if np.isnan(score) else f"best F1 at score {score:.2f}"
    axes.set_title(f"{shortened(panel.name)} ({panel.objects:,} objects)\nAP {panel.average:.1%}, {best}", fontsize=8)
    ticks = np.linspace(0, 1, 6)
    axes.set(xlim=(0, 1), ylim=(0, 1.02), xticks=ticks, yticks=ticks)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(lambda fraction, _: f"{fraction:.0%}")
    axes.tick_params(labelsize=8)
    axes.grid(alpha=0.3)
