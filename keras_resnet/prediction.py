"""Prediction for image files, one at a time, so that a bad file costs nobody but itself."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from keras_resnet.data.decode import decode, to_square


def predict_files(model: keras.Model, files: Iterable[Path]) -> Iterator[tuple[Path, np.ndarray | ValueError]]:
    """For each file the probabilities (classes,), or the `ValueError` that names a file that is no readable image.

    Raises:
        ValueError: the model takes images of neither 1 nor 3 channels, or of any size.
    """
    _, size, width, channels = model.inputs[0].shape
    if channels not in (1, 3) or size is None or size != width:
        raise ValueError(
            f"model must take square images of a fixed size and 1 or 3 channels. Received: {model.inputs[0].shape}"
        )
    for file in files:
        try:
            image = to_square(decode(tf.constant(file.read_bytes()), channels), size)
        except OSError as error:
            yield file, ValueError(f"cannot read {file}: {error.strerror}")
            continue
        except tf.errors.InvalidArgumentError:
            yield file, ValueError(f"{file} is no readable JPEG, PNG, BMP, WebP or GIF")
            continue
        yield file, keras.ops.convert_to_numpy(model(image[None], training=False))[0]
