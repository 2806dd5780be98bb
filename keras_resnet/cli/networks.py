"""What commands need besides a network: names of its classes, images for calibration and for warming up."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np

from keras_resnet.data import load, pipeline
from keras_resnet.data.folders import default_split
from keras_resnet.evaluation.accuracy import in_channels_of
from keras_resnet.export.serving import SIZE
from keras_resnet.inputs import square_side
from keras_resnet.training.networks import OpenedNetwork


def read_class_names(file: Path, count: int) -> tuple[str, ...]:
    """Reads the names of the classes from a UTF-8 text file with one name on each line.

    Args:
        file: path of the file.
        count: number of classes.

    Raises:
        ValueError: the file cannot be read, or has another number of lines.
    """
    try:
        names = tuple(file.read_text(encoding="utf-8").splitlines())
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(
            f"--classes must be a text file in UTF-8. Received: {file}, which cannot be read: {error}"
        ) from error
    if len(names) != count:
        raise ValueError(
            f"--classes must have one name for each of the {count} outputs of the model. Received: {file} with "
            f"{len(names)} names"
        )
    return names


def calibration_images(network: OpenedNetwork, source: str | None, count: int) -> np.ndarray:
    """Random training images, resized for the network.

    Args:
        network: the network.
        source: source of the images for `keras_resnet.data.load`; None: the data of the network's run.
        count: approximate number of images, at least 1. The same fraction of each class is taken; all images if there
            are fewer.

    Returns:
        Images (N, H, W, C), uint8.

    Raises:
        ValueError: neither `source` nor the run says where the images are, or the network takes images with another
            number of channels.
    """
    source = source or network.data
    if source is None:
        raise ValueError(
            "--calibration must be given if the model is not a run directory, for example --calibration folder:DIR "
            "with images like those to be served"
        )
    split = load(source, "all" if default_split(source) == "all" else "train")
    split = in_channels_of(network.model, split)
    if count < split.size:
        _, split = split.hold_out(count / split.size, seed=0)
    dataset = pipeline(split, square_side(network.model), 64, resize=network.resize)
    return np.concatenate([images for images, _ in dataset.as_numpy_iterator()])


def black_images(model: keras.Model, count: int) -> np.ndarray:
    """Black images, uint8 (N, H, W, C), with which a server warms up; their content does not matter."""
    return np.zeros((count, *(side or SIZE for side in model.input_shape[1:])), "uint8")
