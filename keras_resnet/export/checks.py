"""Checks of what an export needs: the backend, names of classes, and the images for calibration and warm-up."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import keras
import numpy as np

from keras_resnet.classes import names_of


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


def checked_class_names(given: Sequence[str] | None, data: str, classes: int) -> Sequence[str]:
    """The names of a model's classes.

    Args:
        given: the names that the caller gives; None: those of `data`, or numbers if they are not known.
        data: data set of the classes, see `keras_resnet.weights.Checkpoint`.
        classes: number of classes of the model.

    Raises:
        ValueError: there is another number of names.
        TypeError: `given` is no sequence of strings.
    """
    if given is None:
        return names_of(data, classes)
    if isinstance(given, str) or not isinstance(given, Iterable):
        raise TypeError(f"class_names must be a sequence of strings. Received: class_names={given!r}")
    names = list(map(str, given))
    if len(names) != classes:
        raise ValueError(
            f"class_names must have a name for each of the model's {classes} outputs. Received: {len(names)} names"
        )
    return names


def checked_images(argument: str, images: Any, shape: Sequence[int | None]) -> np.ndarray:
    """`images` as an array, if they are at least one image of finite numbers that a network takes.

    Args:
        argument: name of the argument, for the error.
        images: raw pixels (N, H, W, C): an array, a tensor or nested lists.
        shape: shape of the images that the network takes, (None, H, W, C); H and W may be None.

    Raises:
        ValueError: they are not.
    """
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
