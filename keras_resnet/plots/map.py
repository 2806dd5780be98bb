"""`plot_map`: images as points in a plane, with a color, a shape and a name for each class."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from keras_resnet.plots.style import (
    BLACK,
    BLUE,
    GREEN,
    ORANGE,
    PURPLE,
    RED,
    SKY_BLUE,
    any_characters,
    figure,
    save,
    shortened,
)

COLORS = (BLUE, ORANGE, GREEN, RED, PURPLE, SKY_BLUE, BLACK)
SHAPES = "os^XDvP*"  # one more than colors: 56 classes have different pairs of color and shape
MOST_LISTED = 20  # classes of a legend; of more classes only the names in the map are there
SIDE = 6.4  # of the map in inches
FONT = 7  # size of the names in the map, in points


def plot_map(places: np.ndarray, labels: np.ndarray, classes: Sequence[str], title: str, path: Path) -> None:
    """Draws a map of images into a PNG file.

    Args:
        places: places of the images, float (N, 2).
        labels: class of each image, integers (N,); -1 for an image without a class.
        classes: names of the classes.
        title: what is shown.
        path: path of the PNG file.
    """
    present = np.unique(labels)
    listed = len(present) <= MOST_LISTED
    names = {label: shortened(classes[label]) if label >= 0 else "" for label in present.tolist()}
    beside = (0.075 * max(map(len, names.values())) + 0.6) if listed and any(names.values()) else 0
    side = SIDE if listed else 1.5 * SIDE
    drawn = figure(side + beside, side + 0.4)
    axes = drawn.subplots()
    for number, label in enumerate(names):
        points = places[labels == label]
        color, shape = COLORS[number % len(COLORS)], SHAPES[number % len(SHAPES)]
        axes.scatter(*points.T, s=14, color=color, marker=shape, alpha=0.75, linewidths=0, label="class")
    axes.set(xticks=[], yticks=[], xlabel="first axis of t-SNE (no unit)", ylabel="second axis of t-SNE (no unit)")
    axes.set_title(title, fontsize=10)
    if beside:
        legend = drawn.legend(loc="outside right upper", fontsize=8, markerscale=1.6, frameon=False)
        # A legend leaves out labels that begin with "_", and reads "$" as a formula.
        for text, name in zip(legend.get_texts(), names.values(), strict=True):
            text.set(text=name, parse_math=False)
    if any(names.values()):
        with any_characters():
            drawn.draw_without_rendering()  # places the axes, whose pixels the names are compared in
            left_out = _write_names(axes, places, labels, names)
        if left_out and not listed:
            axes.set_title(f"{title}; {left_out} names that would cover others are left out", fontsize=10)
    save(drawn, path)


def _write_names(axes: Any, places: np.ndarray, labels: np.ndarray, names: dict[int, str]) -> int:
    """Writes the name of each class at the middle of its points, if it covers no other; returns how many it left out.

    The classes with the most images come first.
    """
    from matplotlib.patheffects import withStroke  # noqa: PLC0415

    whole = axes.get_window_extent()
    taken: list[Any] = []
    for label in sorted(names, key=lambda label: -np.count_nonzero(labels == label)):
        middle = np.median(places[labels == label], axis=0)
        halo = withStroke(linewidth=2.5, foreground="white")
        text = axes.text(
            *middle, names[label], fontsize=FONT, ha="center", va="center", path_effects=[halo], parse_math=False
        )
        box = text.get_window_extent()
        if whole.x0 <= box.x0 and box.x1 <= whole.x1 and not box.count_overlaps(taken):
            taken.append(box)
        else:
            text.remove()
    return len(names) - len(taken)
