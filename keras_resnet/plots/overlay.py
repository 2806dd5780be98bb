"""Heat maps over images."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from keras_resnet.plots.style import figure, save, shortened

CELL, COLUMNS = 1.6, 6  # width of a picture in inches, pictures in a line
LINE = 0.16  # height of a line of a title in inches
DIMMED = 0.6  # of the image under a map, so that white places of the image are not brighter than the map
COLORMAP = "inferno"  # brighter means more, for any color vision and in gray


def overlaid(image: np.ndarray, heat: np.ndarray) -> np.ndarray:
    """An image with a heat map over it: gray where nothing speaks for the class, bright where much does.

    Args:
        image: uint8 (H, W, C), C 1 or 3.
        heat: float (H, W), at least 0; it is divided by its maximum.

    Returns:
        uint8 (H, W, 3).
    """
    from matplotlib import colormaps  # noqa: PLC0415

    gray = image.mean(-1, keepdims=True) / 255
    shown = scaled(heat)[..., None]
    colors = colormaps[COLORMAP](shown[..., 0])[..., :3]
    # Nearly opaque where the map is largest: there it has the same color on a white and on a black image.
    opacity = 0.95 * shown**0.7
    return np.rint(255 * ((1 - opacity) * DIMMED * gray + opacity * colors)).astype("uint8")


def scaled(heat: np.ndarray) -> np.ndarray:
    """A heat map divided by its maximum; a map of zeros stays as it is. NaN counts as 0."""
    positive = np.maximum(np.nan_to_num(heat, posinf=0), 0)
    return positive / max(float(positive.max()), 1e-12)


def plot_overlays(rows: Sequence[tuple[np.ndarray, str, Sequence[tuple[np.ndarray, str]]]], path: Path) -> None:
    """Draws images, each followed by its heat maps, into a file.

    Args:
        rows: for each image its pixels, uint8 (H, W, C), its title, and heat maps (H, W) with their titles; each image
            has the same number of heat maps.
        path: path of the file; its ending is the format, for example .png; an old file is replaced.
    """
    cells = [
        cell
        for image, title, maps in rows
        for cell in ((image, title), *((overlaid(image, heat), name) for heat, name in maps))
    ]
    width = 1 + len(rows[0][2])  # cells of one image
    columns = width * min(len(rows), max(1, COLUMNS // width))
    lines = -(-len(cells) // columns)
    above = LINE * (1 + max(title.count("\n") for _, title in cells)) + 0.13
    height = CELL * max(image.shape[0] / image.shape[1] for image, _, _ in rows) + above
    drawn = figure(CELL * columns, height * lines)
    drawn.get_layout_engine().set(w_pad=0.03, h_pad=0.04)
    places = drawn.subplots(lines, columns, squeeze=False).ravel()
    for axes in places:
        axes.set_axis_off()
    for axes, (image, title) in zip(places, cells, strict=False):
        axes.imshow(image, cmap="gray", vmin=0, vmax=255)
        axes.set_title("\n".join(shortened(line) for line in title.split("\n")), fontsize=8)
    save(drawn, path)
