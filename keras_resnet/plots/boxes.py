"""Boxes with labels on images: one image as pixels, or a sheet of images."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from keras_resnet.plots.style import (
    BLACK,
    BLUE,
    DPI,
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

COLORS = (BLUE, ORANGE, GREEN, PURPLE, SKY_BLUE, RED)
LEAST_SIDE = 480  # pixels of the longer side of a picture: smaller images are enlarged, so that labels fit
FONT, SMALLEST_FONT = 0.02, 12  # height of letters: a fraction of the longer side, and at least so many pixels
DARK = 0.179  # relative luminance below which white has more contrast than black, as WCAG 2 defines both
POINT = DPI / 72  # pixels
CELL, COLUMNS = 4.8, 2  # width of an image of a sheet in inches, images in a line
TALLEST = 1.2  # height of an image of a sheet, relative to its width
SHEET_FONT = 8  # points
GAP, TITLE, LEGEND = 0.06, 0.22, 0.36  # inches: between images, above an image, of the legend


class LabeledBox(NamedTuple):
    """A box to draw.

    Attributes:
        box: left, top, right and bottom in pixels of the image.
        text: its label; "" for none.
        color: a color of matplotlib.
        width: of the line, relative to that of an ordinary box.
        dashed: whether the line is dashed.
    """

    box: Sequence[float]
    text: str
    color: str
    width: float = 1.0
    dashed: bool = False


class Tile(NamedTuple):
    """An image of a sheet: pixels, uint8 (H, W, C), a title, and boxes; of labels the first ones have precedence."""

    image: np.ndarray
    title: str
    boxes: Sequence[LabeledBox]


def with_boxes(image: np.ndarray, boxes: Sequence[LabeledBox]) -> np.ndarray:
    """An image with boxes and their labels.

    Labels do not cover each other: where a box has no place for its label, the label is left out.

    Args:
        image: uint8 (H, W, C), C 1 or 3.
        boxes: the boxes; of labels the first ones have precedence.

    Returns:
        uint8 (H', W', 3): as large as the image, or larger by a whole factor if its longer side has less than 480
        pixels.
    """
    height, width = image.shape[:2]
    factor = math.ceil(LEAST_SIDE / max(height, width))
    large = image.repeat(factor, axis=0).repeat(factor, axis=1).repeat(3 // image.shape[2], axis=2)
    height, width = large.shape[:2]
    # A size in inches is rounded down to pixels.
    drawn, canvas = _figure((width + 0.01) / DPI, (height + 0.01) / DPI)
    scaled = [box._replace(box=np.multiply(box.box, factor)) for box in boxes]
    _draw(drawn.add_axes((0, 0, 1, 1)), large, scaled, max(FONT * max(height, width), SMALLEST_FONT) / POINT)
    with any_characters():
        canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def plot_boxes(tiles: Sequence[Tile], legend: Sequence[LabeledBox], path: Path) -> None:
    """Draws a sheet of images with boxes into a PNG file.

    Args:
        tiles: the images, at least one.
        legend: for each kind of box a name, in `text`; `box` is not used.
        path: path of the PNG file.
    """
    from matplotlib.lines import Line2D  # noqa: PLC0415

    lines = [tiles[start : start + COLUMNS] for start in range(0, len(tiles), COLUMNS)]
    heights = [CELL * max(min(tile.image.shape[0] / tile.image.shape[1], TALLEST) for tile in line) for line in lines]
    width = COLUMNS * CELL + (COLUMNS + 1) * GAP
    height = LEGEND + sum(heights) + len(lines) * (TITLE + GAP)
    drawn, _ = _figure(width, height)
    top = LEGEND
    for line, tall in zip(lines, heights, strict=True):
        for column, tile in enumerate(line):
            left, above = GAP + column * (CELL + GAP), top + TITLE
            axes = drawn.add_axes((left / width, 1 - (above + tall) / height, CELL / width, tall / height), anchor="NW")
            _draw(axes, tile.image, tile.boxes, SHEET_FONT)
            drawn.text(
                *((left + 0.02) / width, 1 - (above - 0.05) / height, shortened(tile.title, 70)),
                fontsize=SHEET_FONT,
                va="bottom",
            )
        top += TITLE + tall + GAP
    handles = [
        Line2D([], [], color=kind.color, linewidth=1.5 * kind.width, linestyle=_style(kind), label=kind.text)
        for kind in legend
    ]
    drawn.legend(
        handles=handles, loc="upper center", ncols=len(handles), frameon=False, fontsize=SHEET_FONT + 1, handlelength=3
    )
    save(drawn, path)


def _figure(width: float, height: float) -> tuple[Any, Any]:
    """A figure whose parts are placed by hand, and its canvas, which measures text without drawing the figure."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415

    drawn = figure(width, height, layout="none")
    return drawn, FigureCanvasAgg(drawn)


def _style(box: LabeledBox) -> Any:
    return (0, (4, 2)) if box.dashed else "solid"


def _draw(axes: Any, image: np.ndarray, boxes: Sequence[LabeledBox], font: float) -> None:
    """Draws an image with boxes and labels; the size of labels is in points. The place of the axes is final."""
    from matplotlib.patches import Rectangle  # noqa: PLC0415

    height, width = image.shape[:2]
    axes.set_axis_off()
    axes.imshow(image, cmap="gray", vmin=0, vmax=255, interpolation="nearest", extent=(0, width, height, 0))
    axes.apply_aspect()
    for box in reversed(boxes):  # the first ones are above the others
        left, top, right, bottom = box.box
        line = {"linewidth": font / 5 * box.width, "linestyle": _style(box), "edgecolor": box.color}
        axes.add_patch(Rectangle((left, top), right - left, bottom - top, fill=False, **line))
    pixels = axes.get_window_extent().width / width  # of the picture, for a pixel of the image
    taken: list[np.ndarray] = []
    for box in boxes:
        if box.text:
            _label(axes, box, (width, height), font, pixels, taken)


def _label(
    axes: Any, box: LabeledBox, sides: tuple[int, int], font: float, pixels: float, taken: list[np.ndarray]
) -> None:
    """Writes the label of a box at a free place, if there is one, and adds the place to those that are taken."""
    from matplotlib.patches import Rectangle  # noqa: PLC0415

    color = "white" if _luminance(box.color) < DARK else BLACK
    text = axes.text(0, 0, box.text, fontsize=font, color=color, va="center_baseline", parse_math=False, zorder=4)
    with any_characters():
        long = text.get_window_extent().width
    size = np.array([long + 0.6 * font * POINT, 1.35 * font * POINT]) / pixels
    for x, y in _places(box.box, *size):
        # Inside of the image; a label that is wider than the image begins at its left side.
        corner = np.maximum(np.minimum((x, y), sides - size), 0)
        place = np.concatenate([corner, corner + size])
        if not any(_cover(place, other) for other in taken):
            taken.append(place)
            axes.add_patch(Rectangle((corner[0], corner[1]), *size, facecolor=box.color, linewidth=0, zorder=3))
            text.set_position((corner[0] + 0.3 * font * POINT / pixels, corner[1] + 0.5 * size[1]))
            return
    text.remove()


def _places(box: Sequence[float], width: float, height: float) -> Iterator[tuple[float, float]]:
    """Left and top of a label, the best first: at the corners of the box, then along its sides, then inside."""
    left, top, right, bottom = box
    rows, columns = (top - height, top, bottom, bottom - height), (left, right - width)
    yield from ((x, y) for x, y in itertools.product(columns, rows))
    for y in rows:
        yield from ((x, y) for x in np.arange(left, right - width, height))
    for y in np.arange(top + height, bottom - 2 * height, height):
        yield from ((x, y) for x in np.arange(left, right - width, height))


def _cover(place: np.ndarray, other: np.ndarray) -> bool:
    return bool((place[:2] < other[2:]).all() and (other[:2] < place[2:]).all())


def _luminance(color: str) -> float:
    """Relative luminance of a color, from 0 to 1, as in WCAG 2."""
    from matplotlib.colors import to_rgb  # noqa: PLC0415

    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in to_rgb(color)]
    return float(np.dot((0.2126, 0.7152, 0.0722), linear))
