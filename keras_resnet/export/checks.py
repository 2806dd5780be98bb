"""What a model must be to be exported, and what images it can be given."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np


def check_backend(what: str) -> None:
    """A `ValueError` on another backend than TensorFlow."""
    if keras.backend.backend() != "tensorflow":
        raise ValueError(
            f"{what} needs the tensorflow backend: save the model, and load it under KERAS_BACKEND=tensorflow. "
            f"Received: {keras.backend.backend()}"
        )


def checked_images(argument: str, images: Any, model: keras.Model) -> np.ndarray:
    """The images as an array; a `ValueError` unless there are some, of numbers, such as `model` takes."""
    try:
        array = np.asarray(images)
        numbers = np.asarray(array, "float32")
    except (TypeError, ValueError) as error:
        raise ValueError(f"{argument} must be images {model.input_shape}, in one array. Received: {error}") from error
    fits = array.ndim == 4 and all(side in (None, given) for side, given in zip(model.input_shape, array.shape))
    if not fits or not len(array):
        raise ValueError(f"{argument} must be images {model.input_shape}, at least one. Received: {array.shape}")
    if not np.isfinite(numbers).all():
        raise ValueError(f"{argument} must be images of finite numbers. Received: some that are none")
    return array
