"""Networks that are named on a command line: a run, a file, or a model of the zoo with published weights."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np

from keras_resnet.data import load, pipeline
from keras_resnet.data.decode import resize_for, to_square
from keras_resnet.data.folders import default_split
from keras_resnet.data.pipeline import Resize
from keras_resnet.evaluation import published
from keras_resnet.evaluation.accuracy import check_channels
from keras_resnet.export.saved_model import SIZE
from keras_resnet.inputs import square_side
from keras_resnet.training import batches
from keras_resnet.training.run import as_checkpoint, load_run, open_model
from keras_resnet.weights import Checkpoint


class OpenedNetwork(NamedTuple):
    """A network, and what has to be known to ask it.

    Attributes:
        model: takes raw pixels.
        classes: names, in the order of its outputs.
        resize: function `(image, size) -> image` of uint8 that prepares an image of any size.
        checkpoint: its weights: where they are from, and how good; None where that is not known.
        data: a source of images like those that it was trained on, as `keras_resnet.data.load` takes it; or None.
    """

    model: keras.Model
    classes: tuple[str, ...]
    resize: Resize
    checkpoint: Checkpoint | None
    data: str | None


def open_network(
    model: str, weights: str | None = None, like: str | None = None, size: int | None = None
) -> OpenedNetwork:
    """Opens a network.

    Args:
        model: a run directory or a `.keras` file; or one of `keras_resnet.list_models()`, with `weights`.
        weights: a tag, "hf://timm/<model>" or the path of a file; or None.
        like: of a file of one's own, the tag of published weights whose form and input it has; or None.
        size: side in pixels; None: as the weights were measured. A run and a file have their own.

    Raises:
        ValueError: there is no such run, file, model or weights; or `size` is given for what has its own.
    """
    if weights is not None:
        checkpoint = published.checkpoint_of(model, weights, like)
        network, classes = published.build(model, checkpoint, size), published.class_names(checkpoint)
        return OpenedNetwork(network, classes, resize_for(checkpoint), checkpoint, None)
    for option, given in (("--size", size), ("--like", like)):
        if given is not None:
            raise ValueError(f"{option} must not be given without --weights. Received: {given}")
    path = Path(model)
    network = open_model(path)
    if not path.is_dir():
        return OpenedNetwork(network, tuple(map(str, range(network.output.shape[-1]))), to_square, None, None)
    run = load_run(path)
    return OpenedNetwork(network, run.classes, batches.resize(run.recipe), as_checkpoint(run, network, path), run.data)


def read_class_names(file: Path, count: int) -> tuple[str, ...]:
    """The names of `count` classes in a text file, one a line; a `ValueError` where it is no such file."""
    try:
        names = tuple(file.read_text(encoding="utf-8").splitlines())
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"--classes must be a text file. Received: {file}, {error}") from error
    if len(names) != count:
        raise ValueError(
            f"--classes must be a file of as many names as the model has outputs, {count}. Received: {len(names)}"
        )
    return names


def calibration_images(found: OpenedNetwork, source: str | None, count: int) -> np.ndarray:
    """Training images as the network gets them, uint8 (N, H, W, C), chosen at random.

    Args:
        found: the network.
        source: as `keras_resnet.data.load` takes it; None: where the network's own are from.
        count: about how many, at least 1, as many of each class; all where there are fewer.

    Raises:
        ValueError: nothing says where images are, or they have other channels than the network takes.
    """
    source = source or found.data
    if source is None:
        raise ValueError("--calibration must be given for a network that is no run: images like those to be served")
    split = load(source, "all" if default_split(source) == "all" else "train")
    check_channels(found.model, split)
    if count < split.size:
        _, split = split.hold_out(count / split.size, seed=0)
    batches_of = pipeline(split, square_side(found.model), 64, resize=found.resize)
    return np.concatenate([images for images, _ in batches_of.as_numpy_iterator()])


def black_images(model: keras.Model, count: int) -> np.ndarray:
    """Black images, uint8 (N, H, W, C), for a server to warm up with: what is on them does not matter."""
    return np.zeros((count, *(side or SIZE for side in model.input_shape[1:])), "uint8")
