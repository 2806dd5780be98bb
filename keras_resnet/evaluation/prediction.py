"""Prediction for image files, one after the other, so that an unreadable file does not affect the others."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import keras
import numpy as np

from keras_resnet.data.decode import read_image, to_square
from keras_resnet.data.pipeline import Resize
from keras_resnet.inputs import square_side


def predict_files(
    model: keras.Model, files: Iterable[Path], resize: Resize = to_square
) -> Iterator[tuple[Path, np.ndarray | ValueError]]:
    """Predicts the classes of image files, one after the other.

    Args:
        model: a model that takes square images (N, H, W, C) with fixed sides and 1 or 3 channels.
        files: paths of the image files.
        resize: function that resizes an image to the input size of the model, as in `keras_resnet.data.pipeline`.

    Yields:
        The path and the output of the model (classes,) for each file. If a file is not a readable image, the second
        entry is a `ValueError` that names it.

    Raises:
        ValueError: the model does not take square images of a fixed size with 1 or 3 channels.
    """
    size, channels = square_side(model), model.inputs[0].shape[-1]
    if channels not in (1, 3):
        raise ValueError(
            "model must take images with 1 or 3 channels. "
            f"Received: a model with the input shape {model.inputs[0].shape}"
        )
    for file in files:
        try:
            image = resize(read_image(file, channels), size)
        except ValueError as error:
            yield file, error
            continue
        yield file, keras.ops.convert_to_numpy(model(image[None], training=False))[0]
