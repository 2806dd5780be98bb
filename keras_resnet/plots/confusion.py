"""`plot_confusion`: which classes a network takes for which others."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from keras_resnet.plots.style import BLUE, figure, save, told_apart

MOST_CELLS = 30  # classes of a matrix with names and numbers; for more classes the most confused pairs are listed
PAIRS = 25


def plot_confusion(
    matrix: np.ndarray,
    classes: Sequence[str],
    path: Path,
    answers: Sequence[str] | None = None,
    counted: str = "images",
) -> None:
    """Draws a confusion matrix into a PNG file.

    For up to 30 classes it is a matrix with the number of images in each cell. For more classes it is the list of the
    most confused pairs, with a small matrix beside it.

    Args:
        matrix: number of images by right class (row) and answer (column), integers (classes, classes).
        classes: names of the classes.
        path: path of the PNG file.
        answers: names of the answers. None: those of the classes.
        counted: what the numbers count.
    """
    rows = told_apart(classes)
    columns = rows if answers is None else told_apart(answers)
    if len(classes) <= MOST_CELLS:
        _matrix(matrix, rows, columns, path)
    else:
        _pairs(matrix, rows, columns, counted, path)


def most_confused(matrix: np.ndarray, count: int = PAIRS) -> list[tuple[int, int]]:
    """The pairs (right class, answer) with the most images, the most frequent first; pairs without images are left out.

    Example:
        >>> import numpy as np
        >>> from keras_resnet.plots.confusion import most_confused
        >>> most_confused(np.array([[5, 1, 0], [3, 4, 0], [0, 0, 9]]))
        [(1, 0), (0, 1)]
    """
    wrong = matrix * (1 - np.eye(len(matrix), dtype=matrix.dtype))
    order = np.argsort(-wrong, axis=None, kind="stable")[:count]
    rows, columns = np.unravel_index(order, wrong.shape)
    return [(int(row), int(column)) for row, column in zip(rows, columns, strict=True) if wrong[row, column]]


def _shares(matrix: np.ndarray) -> np.ndarray:
    """The fraction of the images of each class (row); a class without images has zeros."""
    return matrix / np.maximum(matrix.sum(1, keepdims=True), 1)


def _matrix(matrix: np.ndarray, rows: Sequence[str], columns: Sequence[str], path: Path) -> None:
    count, longest = len(rows), max(map(len, (*rows, *columns)))
    cell = max(0.42, 0.13 * len(f"{matrix.max():,}"))
    side = cell * count + 0.09 * longest
    drawn = figure(max(4.6, side + 1.8), max(4.4, side + 0.9))
    axes = drawn.subplots()
    image = _shown(axes, matrix)
    axes.set_xticks(range(count), columns, rotation=90 if longest > 3 else 0)
    axes.set_yticks(range(count), rows)
    axes.set(xlabel="answer", ylabel="right class")
    shares = _shares(matrix)
    for row, column in np.ndindex(*matrix.shape):
        if matrix[row, column]:
            color = "white" if shares[row, column] > 0.55 else "black"
            axes.text(column, row, f"{matrix[row, column]:,}", ha="center", va="center", color=color, fontsize=8)
    drawn.colorbar(image, ax=axes, label="fraction of the right class", format="{x:.0%}")
    save(drawn, path)


def _pairs(matrix: np.ndarray, rows: Sequence[str], columns: Sequence[str], counted: str, path: Path) -> None:
    pairs = most_confused(matrix)
    drawn = figure(11, max(4.0, 0.27 * len(pairs) + 1.2))
    bars, small = drawn.subplots(1, 2, width_ratios=(1.35, 1))
    numbers = [matrix[pair] for pair in pairs]
    bars.barh(range(len(pairs)), numbers, color=BLUE)
    bars.set_yticks(range(len(pairs)), [f"{rows[row]} → {columns[column]}" for row, column in pairs])
    bars.invert_yaxis()
    bars.set(title="most confused: right class → answer", xlabel=counted)
    bars.xaxis.get_major_locator().set_params(integer=True)
    image = _shown(small, matrix)
    small.set(xlabel="answer (number of the class)", ylabel="right class", title="all classes")
    drawn.colorbar(image, ax=small, label="fraction of the right class", format="{x:.0%}", shrink=0.5)
    save(drawn, path)


def _shown(axes: Any, matrix: np.ndarray) -> Any:
    return axes.imshow(_shares(matrix), cmap="Blues", vmin=0, vmax=1, interpolation="nearest")
