"""The picture of what training sees: a grid of images with their labels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

CELL = 1.7  # inches
SHOWN = 2  # classes of a mixed label
TEXT = 0.15  # inches a line
LINE = 22  # characters that fit above an image


def plot_images(images: np.ndarray, titles: Sequence[str], path: Path, columns: int | None = None) -> None:
    """Draws images with a title each into a PNG.

    Args:
        images: uint8 (N, H, W, C), C 1 or 3.
        titles: N of them, such as `label_titles` gives.
        path: of the PNG.
        columns: images side by side, at least 1; by default so many that the picture is about square.

    Raises:
        ValueError: `images` are no such batch, or `titles` are not as many.

    Example:
        >>> import pathlib, tempfile
        >>> import numpy as np
        >>> from keras_resnet.data.preview import plot_images
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     plot_images(np.zeros((3, 8, 8, 1), "uint8"), ["a", "b", "c"], pathlib.Path(folder) / "grid.png")
    """
    from matplotlib.figure import Figure  # noqa: PLC0415  (no pyplot: no window system, no global state)

    images = np.asarray(images)
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[-1] not in (1, 3) or not len(images):
        raise ValueError(
            "images must be uint8 (N, H, W, C) with N at least 1 and C 1 or 3. "
            f"Received: {images.dtype} images of shape {images.shape}"
        )
    if len(titles) != len(images):
        raise ValueError(f"titles must be one for each of {len(images)} images. Received: {len(titles)} titles")
    across = min(columns or math.ceil(math.sqrt(len(images))), len(images))
    down = math.ceil(len(images) / across)
    tall = CELL * images.shape[1] / images.shape[2]
    lines = [_wrapped(title) for title in titles]
    text = TEXT * (1 + max(title.count("\n") for title in lines))
    figure = Figure(figsize=(across * CELL, down * (tall + text + 0.06)), dpi=150)
    figure.subplots_adjust(0.01, 0.005, 0.99, 1 - text / (down * (tall + text)), wspace=0.06, hspace=text / tall)
    cells = figure.subplots(down, across, squeeze=False).ravel()
    for axes in cells:
        axes.set_axis_off()
    for axes, image, title in zip(cells, images, lines):
        axes.imshow(image, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
        axes.set_title(title, fontsize=7.5, pad=3)
    figure.savefig(path)


def label_titles(labels: np.ndarray, classes: Sequence[str]) -> list[str]:
    """Names the labels of a batch, for people.

    Args:
        labels: integers (N) that index `classes`; or targets, floats (N, classes), smoothed and mixed or not.
        classes: their names.

    Returns:
        N titles: "cat", or of a mixed target "cat 0.7 / dog 0.3". What smoothing gives to all classes is left out.

    Raises:
        ValueError: `labels` are neither.

    Example:
        >>> import numpy as np
        >>> from keras_resnet.data.preview import label_titles
        >>> label_titles(np.array([1, 0]), ["cat", "dog"])
        ['dog', 'cat']
        >>> label_titles(np.array([[0.7, 0.3, 0.0], [0.0, 0.0, 1.0]]), ["cat", "dog", "owl"])
        ['cat 0.7 / dog 0.3', 'owl']
    """
    labels = np.asarray(labels)
    if labels.ndim == 1 and np.issubdtype(labels.dtype, np.integer):
        return [_shortened(classes[label], LINE) for label in labels]
    if labels.ndim != 2 or labels.shape[1] != len(classes):
        raise ValueError(
            f"labels must be integers (N) or targets (N, {len(classes)}). "
            f"Received: {labels.dtype} of shape {labels.shape}"
        )
    return [_title(target, classes) for target in labels]


def _title(target: np.ndarray, classes: Sequence[str]) -> str:
    """The greatest classes of a target that stand out from what smoothing gives to all."""
    order = np.argsort(-target, kind="stable")[:SHOWN]
    floor = target.min() if len(target) > SHOWN else 0
    shown = [label for label in order if target[label] >= 0.05 and target[label] > floor]
    if len(shown) <= 1:
        return _shortened(classes[order[0]], LINE)
    return " / ".join(f"{_shortened(classes[label], LINE - 6)} {target[label]:.1f}" for label in shown)


def _wrapped(title: str) -> str:
    return title if len(title) <= LINE else title.replace(" / ", " /\n")


def _shortened(name: str, length: int) -> str:
    return name if len(name) <= length else f"{name[: length - 1]}…"
