"""Prediction for image files, one at a time, so that a bad file costs nobody but itself."""

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
    """For each file the probabilities (classes,), or the `ValueError` that names a file that is no readable image.

    `resize` brings an image to the model's size, as in `keras_resnet.data.pipeline`.

    Raises:
        ValueError: the model takes images of neither 1 nor 3 channels, or of any size.
    """
    size, channels = square_side(model), model.inputs[0].shape[-1]
    if channels not in (1, 3):
        raise ValueError(f"model must take images of 1 or 3 channels. Received: {model.inputs[0].shape}")
    for file in files:
        try:
            image = resize(read_image(file, channels), size)
        except ValueError as error:
            yield file, error
            continue
        yield file, keras.ops.convert_to_numpy(model(image[None], training=False))[0]
