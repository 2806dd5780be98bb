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


def check_images(argument: str, images: Any, model: keras.Model) -> None:
    """A `ValueError` unless there are images, such as `model` takes."""
    shape = np.shape(images)
    fits = len(shape) == 4 and all(side in (None, given) for side, given in zip(model.input_shape, shape))
    if not fits or not shape[0]:
        raise ValueError(f"{argument} must be images {model.input_shape}, at least one. Received: {shape}")
