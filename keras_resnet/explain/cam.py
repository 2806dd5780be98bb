"""Class activation maps: how the features of a layer and the gradients of a score become a heat map.

Each function takes the features of a layer, float32 (N, h, w, C), and the gradients of the score of one class with
respect to them, of the same shape. It returns heat maps, float32 (N, h, w), at least 0: how much each place of the
features raises the score. The functions compute what the package `grad-cam` computes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np

CamMethod: TypeAlias = Callable[[np.ndarray, np.ndarray], np.ndarray]


def grad_cam(features: np.ndarray, gradients: np.ndarray) -> np.ndarray:
    """Grad-CAM (arXiv:1610.02391): channels are weighted by the mean of their gradients."""
    return _positive((features * gradients.mean((1, 2), keepdims=True)).sum(-1))


def grad_cam_plus_plus(features: np.ndarray, gradients: np.ndarray) -> np.ndarray:
    """Grad-CAM++ (arXiv:1710.11063): small objects that occur several times count as much as one large object."""
    squares, sums = gradients**2, features.sum((1, 2), keepdims=True)
    # Equation 19 of the paper, whose second and third derivatives are powers of the gradient for an exponential score.
    places = squares / (2 * squares + sums * squares * gradients + 1e-6)
    places = np.where(gradients == 0, 0, places)
    weights = (np.maximum(gradients, 0) * places).sum((1, 2), keepdims=True)
    return _positive((features * weights).sum(-1))


def hires_cam(features: np.ndarray, gradients: np.ndarray) -> np.ndarray:
    """HiResCAM (arXiv:2011.08891): each place is weighted by its own gradients.

    If only average pooling and one dense layer follow the features, the map without its limit at 0 sums to the score.
    """
    return _positive((features * gradients).sum(-1))


def layer_cam(features: np.ndarray, gradients: np.ndarray) -> np.ndarray:
    """LayerCAM (doi:10.1109/TIP.2021.3089943): as HiResCAM, with positive gradients alone; fit for early stages."""
    return _positive((features * np.maximum(gradients, 0)).sum(-1))


METHODS: dict[str, CamMethod] = {
    "gradcam": grad_cam,
    "gradcam++": grad_cam_plus_plus,
    "hirescam": hires_cam,
    "layercam": layer_cam,
}


def _positive(maps: np.ndarray) -> np.ndarray:
    return np.maximum(maps, 0)
