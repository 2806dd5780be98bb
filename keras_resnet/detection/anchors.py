"""Anchors: the boxes of fixed sizes and shapes at each place of a feature map, to which proposals are relative."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from keras import ops


class Anchors(NamedTuple):
    """The sizes and shapes of the anchors on each feature map.

    Attributes:
        sizes: for each feature map the square roots of the areas, in pixels.
        ratios: ratios of height to width.
    """

    sizes: Sequence[Sequence[float]]
    ratios: Sequence[float] = (0.5, 1.0, 2.0)

    @property
    def per_place(self) -> int:
        """Number of anchors at each place of a feature map."""
        return len(self.sizes[0]) * len(self.ratios)


def around_zero(sizes: Sequence[float], ratios: Sequence[float]) -> np.ndarray:
    """The anchors of one place, around the point (0, 0), with sides rounded as in torchvision.

    Args:
        sizes: square roots of the areas, in pixels.
        ratios: ratios of height to width.

    Returns:
        float32 (ratios * sizes, 4): all sizes of the first ratio, then those of the next one.

    Example:
        >>> from keras_resnet.detection.anchors import around_zero
        >>> around_zero((32,), (0.5,)).tolist()
        [[-23.0, -11.0, 23.0, 11.0]]
    """
    heights = np.sqrt(np.asarray(ratios, "float32"))
    scales = np.asarray(sizes, "float32")
    width, height = (np.outer(factors, scales).ravel() for factors in (1 / heights, heights))
    return np.round(np.stack([-width, -height, width, height], axis=1) / 2)


def on_grid(places: tuple[Any, Any], image: tuple[Any, Any], anchors: np.ndarray) -> Any:
    """The anchors of all places of a feature map.

    The distance of two places is the image's side over the map's, rounded down, as in torchvision.

    Args:
        places: height and width of the feature map.
        image: height and width of the images in pixels.
        anchors: those of one place, (A, 4), see `around_zero`.

    Returns:
        float32 (height * width * A, 4): row by row, at each place its A anchors.

    Example:
        >>> import numpy as np
        >>> from keras_resnet.detection.anchors import on_grid
        >>> np.array(on_grid((1, 2), (16, 32), np.array([[-4, -4, 4, 4]], "float32"))).tolist()
        [[-4.0, -4.0, 4.0, 4.0], [12.0, -4.0, 20.0, 4.0]]
    """
    rows, columns = places
    y = ops.cast(ops.arange(rows) * (image[0] // rows), "float32")
    x = ops.cast(ops.arange(columns) * (image[1] // columns), "float32")
    y, x = ops.meshgrid(y, x, indexing="ij")
    shifts = ops.stack([x, y, x, y], axis=-1)
    return ops.reshape(shifts[:, :, None] + ops.convert_to_tensor(anchors), (-1, 4))
