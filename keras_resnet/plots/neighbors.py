"""`plot_neighbors`: images, each in a line with the images that a network finds most similar."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from keras_resnet.plots.style import BLUE, GREY, RED, figure, save, shortened

CELL = 1.45  # width of an image in inches
TEXT = 0.15  # height of a line of text in inches
LINE = 22  # characters that fit above an image
HEADING = 0.45  # height of the title in inches


class Picture(NamedTuple):
    """An image in a line of neighbors.

    Attributes:
        image: pixels, uint8 (H, W, C), C 1 or 3.
        name: its class, or its file.
        similarity: cosine similarity to the first image of the line; None for this image itself.
        agrees: whether both have the same class; None for the first image, or if there are no classes.
    """

    image: np.ndarray
    name: str
    similarity: float | None = None
    agrees: bool | None = None


def plot_neighbors(rows: Sequence[Sequence[Picture]], title: str, path: Path) -> None:
    """Draws lines of images into a PNG file: an image, then its neighbors.

    A neighbor of the same class has a check mark and a solid frame, one of another class a cross and a dashed frame.

    Args:
        rows: for each line the image and its neighbors.
        title: what is shown.
        path: path of the PNG file.
    """
    columns = max(map(len, rows))
    height = CELL * max(row[0].image.shape[0] / row[0].image.shape[1] for row in rows)
    above = 2 * TEXT + 0.1  # of each line of images
    width, whole = max(columns * CELL, 6.6), HEADING + len(rows) * (above + height) + 0.05
    # The automatic layout of so many images takes seconds.
    drawn = figure(width, whole, layout="none")
    drawn.suptitle(title, fontsize=10, x=0.08 / width, y=1 - 0.08 / whole, ha="left", va="top")
    drawn.subplots_adjust(
        left=0.05 / width,
        right=(columns * CELL - 0.05) / width,
        bottom=0.05 / whole,
        top=1 - (HEADING + above) / whole,
        wspace=0.08,
        hspace=above / height,
    )
    places = drawn.subplots(len(rows), columns, squeeze=False)
    for axes in places.ravel():
        axes.set_axis_off()
    for line, row in zip(places, rows, strict=True):
        for axes, picture in zip(line, row, strict=False):
            _draw(axes, picture)
    save(drawn, path)


def _draw(axes: Any, picture: Picture) -> None:
    axes.set_axis_on()
    axes.set(xticks=[], yticks=[])
    axes.imshow(picture.image, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
    mark = {None: "", True: "✓ ", False: "✗ "}[picture.agrees]
    color = {None: GREY, True: BLUE, False: RED}[picture.agrees]
    name = shortened(picture.name, LINE - len(mark))
    below = "" if picture.similarity is None else f"{picture.similarity:.3f}"
    text = RED if picture.agrees is False else "black"
    axes.set_title(f"{mark}{name}\n{below}", fontsize=7.5, pad=3, color=text)
    for side in axes.spines.values():
        side.set(color=color, linewidth=1 if picture.agrees is None else 2)
        side.set_linestyle((0, (3, 2)) if picture.agrees is False else "solid")
