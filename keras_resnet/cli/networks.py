"""Opens the network that the user names: a run directory, a `.keras` file, or a model of the zoo with weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import keras
import numpy as np

from keras_resnet.classes import aliases
from keras_resnet.data import load, pipeline
from keras_resnet.data.decode import resize_for, to_square
from keras_resnet.data.folders import default_split
from keras_resnet.data.pipeline import Resize
from keras_resnet.evaluation import published
from keras_resnet.evaluation.accuracy import in_channels_of
from keras_resnet.export.serving import SIZE
from keras_resnet.inputs import square_side
from keras_resnet.training import batches
from keras_resnet.training.run_directory import as_checkpoint, open_model, open_run
from keras_resnet.weights import Checkpoint


class OpenedNetwork(NamedTuple):
    """A network with everything that is needed to use it.

    Attributes:
        model: a model that takes raw pixels, 0 to 255.
        classes: names of the classes, in the order of the model's outputs.
        resize: function `(image, size) -> image` that brings a uint8 image of any size to the model's size.
        checkpoint: source and accuracy of the weights; None if they are not known.
        data: source of the images that the model was trained on, for `keras_resnet.data.load`; None if it is not known.
        aliases: for each class the names that a data set may have for it; () if the names of the classes are not known.
        on_corrupt: what the run did with files that are not readable images.
    """

    model: keras.Model
    classes: tuple[str, ...]
    resize: Resize
    checkpoint: Checkpoint | None
    data: str | None
    aliases: Sequence[tuple[str, ...]] = ()
    on_corrupt: str = "stop"


def open_network(
    model: str,
    weights: str | None = None,
    own: Mapping[str, Any] = MappingProxyType({}),
    size: int | None = None,
) -> OpenedNetwork:
    """Opens a network.

    Args:
        model: path of a run directory or of a `.keras` file; with `weights`, one of `keras_resnet.list_models()`.
        weights: a tag, "hf://timm/<model>", the path of a file of weights, or None.
        own: only for your own file of weights: what it does not say itself, see `published.checkpoint_of`.
        size: only with `weights`: side of the square images in pixels; None: the size at which the weights were
            measured.

    Raises:
        ValueError: there is no such run, file, model or weights; or `size` or `own` is given without `weights`.
    """
    if weights is not None:
        checkpoint = published.checkpoint_of(model, weights, own)
        network, classes = published.build(model, checkpoint, size), published.class_names(checkpoint)
        known = aliases(checkpoint.data, checkpoint.classes)
        return OpenedNetwork(network, classes, resize_for(checkpoint), checkpoint, None, known)
    for argument, value in {"size": size, **own}.items():
        if value is not None:
            raise ValueError(f"{argument} must not be given without --weights. Received: {argument}={value!r}")
    path = Path(model)
    if not path.is_dir():
        network = open_model(path)
        return OpenedNetwork(network, tuple(map(str, range(network.output.shape[-1]))), to_square, None, None)
    run, network = open_run(path)
    checkpoint, names = as_checkpoint(run, network, path), [(name,) for name in run.classes]
    return OpenedNetwork(network, run.classes, batches.resize(run.recipe), checkpoint, run.data, names, run.on_corrupt)


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
