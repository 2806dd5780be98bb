"""Checks of what an export needs: the backend, and the images for calibration and warm-up."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np


def check_backend(what: str) -> None:
    """Raises a `ValueError` unless the backend of Keras is TensorFlow.

    Args:
        what: the function that needs TensorFlow, for the error.
    """
    if keras.backend.backend() != "tensorflow":
        raise ValueError(
            f"{what} needs the tensorflow backend: save the model, and load it under KERAS_BACKEND=tensorflow. "
            f"Received: the {keras.backend.backend()} backend"
        )


def checked_images(argument: str, images: Any, model: keras.Model) -> np.ndarray:
    """`images` as an array, if they are at least one image of finite numbers that `model` takes.

    Args:
        argument: name of the argument, for the error.
        images: raw pixels (N, H, W, C): an array, a tensor or nested lists.
        model: the network that will get them.

    Raises:
        ValueError: they are not.
    """
    shape = model.input_shape
    if images is None:
        raise ValueError(f"{argument} must be images of shape {shape}, at least one. Received: {argument}=None")
    try:
        array = np.asarray(images)
        numbers = np.asarray(array, "float32")
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"{argument} must be images of shape {shape}, in one array of numbers. "
            f"Received: {type(images).__name__}, which is no such array: {error}"
        ) from error
    fits = array.ndim == 4 and all(side in (None, given) for side, given in zip(shape, array.shape))
    if not fits or not len(array):
        raise ValueError(
            f"{argument} must be images of shape {shape}, at least one. "
            f"Received: {type(images).__name__} of shape {array.shape}"
        )
    if not (finite := np.isfinite(numbers)).all():
        raise ValueError(
            f"{argument} must be images of finite numbers. "
            f"Received: {np.count_nonzero(~finite)} numbers that are NaN or infinite"
        )
    return array
