"""A picture of the training images: a grid of images with their labels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from keras_resnet.plots.style import figure, save, shortened

CELL = 1.7  # width of an image in inches
SHOWN = 2  # classes that the title of a mixed label names
TEXT = 0.15  # height of a line of text in inches
LINE = 22  # characters that fit into a line above an image


def plot_images(images: np.ndarray, titles: Sequence[str], path: Path, columns: int | None = None) -> None:
    """Draws images in a grid, each with its title, and writes a PNG file.

    Args:
        images: uint8 (N, H, W, C), N at least 1, C 1 or 3.
        titles: one title for each image, for example from `label_titles`.
        path: path of the PNG file.
        columns: number of images in a row, at least 1. None (default): the square root of N, rounded up.

    Raises:
        ValueError: `images` have another type or shape, or the number of titles is not N.

    Example:
        >>> import pathlib, tempfile
        >>> import numpy as np
        >>> from keras_resnet.data.preview import plot_images
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     plot_images(np.zeros((3, 8, 8, 1), "uint8"), ["a", "b", "c"], pathlib.Path(folder) / "grid.png")
    """
    images = np.asarray(images)
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[-1] not in (1, 3) or not len(images):
        raise ValueError(
            "images must be uint8 (N, H, W, C) with N at least 1 and C 1 or 3. "
            f"Received: {images.dtype} images of shape {images.shape}"
        )
    if len(titles) != len(images):
        raise ValueError(f"titles must have {len(images)} entries, one for each image. Received: {len(titles)}")
    columns = min(columns or math.ceil(math.sqrt(len(images))), len(images))
    rows = math.ceil(len(images) / columns)
    image_height = CELL * images.shape[1] / images.shape[2]
    wrapped_titles = [_wrapped(title) for title in titles]
    text_height = TEXT * (1 + max(title.count("\n") for title in wrapped_titles))
    drawn = figure(columns * CELL, rows * (image_height + text_height + 0.06), layout="none")
    top = 1 - text_height / (rows * (image_height + text_height))
    drawn.subplots_adjust(0.01, 0.005, 0.99, top, wspace=0.06, hspace=text_height / image_height)
    cells = drawn.subplots(rows, columns, squeeze=False).ravel()
    for axes in cells:
        axes.set_axis_off()
    for axes, image, title in zip(cells, images, wrapped_titles):
        axes.imshow(image, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
        axes.set_title(title, fontsize=7.5, pad=3)
    save(drawn, path)


def label_titles(labels: np.ndarray, classes: Sequence[str]) -> list[str]:
    """Turns the labels of a batch into readable titles.

    Args:
        labels: integers (N,), indices into `classes`; or float targets (N, number of classes), which may be smoothed
            and mixed.
        classes: names of the classes.

    Returns:
        N titles: "cat", or "cat 0.7 / dog 0.3" for a mixed target. Classes that have only what label smoothing gives
        to every class are left out.

    Raises:
        ValueError: `labels` are neither such integers nor such targets.

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
        return [shortened(classes[label], LINE) for label in labels]
    if labels.ndim != 2 or labels.shape[1] != len(classes):
        raise ValueError(
            f"labels must be integers (N,) or targets (N, {len(classes)}). "
            f"Received: {labels.dtype} of shape {labels.shape}"
        )
    return [_title(target, classes) for target in labels]


def _title(target: np.ndarray, classes: Sequence[str]) -> str:
    """Names the largest classes of a target that are larger than the value that smoothing gives to every class."""
    order = np.argsort(-target, kind="stable")[:SHOWN]
    smoothing = target.min() if len(target) > SHOWN else 0
    shown = [label for label in order if target[label] >= 0.05 and target[label] > smoothing]
    if len(shown) <= 1:
        return shortened(classes[order[0]], LINE)
    return " / ".join(f"{shortened(classes[label], LINE - 6)} {target[label]:.1f}" for label in shown)


def _wrapped(title: str) -> str:
    return title if len(title) <= LINE else title.replace(" / ", " /\n")
