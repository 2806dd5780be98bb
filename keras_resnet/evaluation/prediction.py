"""Prediction for image files, in batches; an unreadable file does not affect the others."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_resnet._internal.validation import integer, printable
from keras_resnet.data.decode import read_image, to_square
from keras_resnet.data.pipeline import Resize
from keras_resnet.inputs import gray_or_color, square_side
from keras_resnet.runtime.probabilities import probabilities_of

BATCH_PIXELS = 32 * 224**2  # of all images of a batch together


def predict_files(
    model: keras.Model, files: Iterable[Path], resize: Resize = to_square, batch_size: int | None = None
) -> Iterator[tuple[Path, np.ndarray | ValueError]]:
    """Predicts the classes of image files. Only the images of one batch are in memory.

    Args:
        model: a model that takes square images (N, H, W, C) with fixed sides and 1 or 3 channels.
        files: paths of the image files.
        resize: function that resizes an image to the input size of the model, as in `keras_resnet.data.pipeline`.
        batch_size: images per batch. None: 32 of 224 x 224 pixels, and as many more or fewer of another size.

    Yields:
        The path and the probabilities of the classes (classes,) for each file, in order. If a file is not a readable
        image, or the output is not finite, the second entry is a `ValueError` that names the file.

    Raises:
        ValueError: the model does not take square images of a fixed size with 1 or 3 channels.
    """
    size, channels = square_side(model), gray_or_color(model)
    count = min(max(1, BATCH_PIXELS // size**2), 256) if batch_size is None else integer("batch_size", batch_size)
    probabilities, remaining = probabilities_of(model), iter(files)
    while batch := list(itertools.islice(remaining, count)):
        images = [_image_or_error(file, channels, lambda image: resize(image, size)) for file in batch]
        readable = [image for image in images if not isinstance(image, ValueError)]
        outputs = iter(_outputs(model, np.stack(readable)) if readable else ())
        for file, image in zip(batch, images, strict=True):
            output = image if isinstance(image, ValueError) else next(outputs)
            if not isinstance(output, ValueError) and not np.isfinite(output).all():
                output = ValueError(f"{printable(file)}: the model gives numbers that are not finite")
            yield file, output if isinstance(output, ValueError) else probabilities(output[None])[0]


def _outputs(model: keras.Model, images: np.ndarray) -> np.ndarray:
    return keras.ops.convert_to_numpy(keras.ops.cast(model(images, training=False), "float32"))


def _image_or_error(file: Path, channels: int, resize: Callable[[Any], Any]) -> np.ndarray | ValueError:
    try:
        return np.asarray(resize(read_image(file, channels)))
    except ValueError as error:
        return error
