"""A SavedModel as TF Serving takes it: `path/version/`, whole at any moment, with constants and named signatures."""

from __future__ import annotations

import errno
import os
import secrets
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from keras_resnet._internal.validation import directory, integer, number, one_of
from keras_resnet.classes import names_of
from keras_resnet.data.decode import resize_for, to_square
from keras_resnet.data.pipeline import Resize
from keras_resnet.export import model_card, warm_up
from keras_resnet.export.checks import check_backend, checked_images
from keras_resnet.export.folding import fold_batch_norm
from keras_resnet.export.graphs import flat_float32
from keras_resnet.export.images import image_reader
from keras_resnet.export.network import classifier, scores
from keras_resnet.export.precisions import PRECISIONS
from keras_resnet.export.signatures import ON_INVALID, Served
from keras_resnet.inputs import square_side
from keras_resnet.weights import Checkpoint

CHANNELS = (1, 3)  # of the images in files
LAST_VERSION = 2**63 - 1  # servers count in int64
SIZE = 224  # to which files are brought for a network that takes images of any size


def saved_model(
    model: keras.Model,
    path: str | os.PathLike[str],
    version: int = 1,
    class_names: Sequence[str] | None = None,
    precision: str = "float32",
    calibration: np.ndarray | None = None,
    fold: bool = True,
    top_k: int = 5,
    warmup: np.ndarray | None = None,
    *,
    checkpoint: Checkpoint | None = None,
    resize: Resize | None = None,
    agreement: float = 0.99,
    on_invalid: str = "flag",
) -> Path:
    """Writes `path/version/`, with the signatures that `keras_resnet.export.signatures` describes.

    `serving_default`: `image`, raw pixels (N, H, W, C), to `probabilities`. `serving_bytes`: `image_bytes`, JPEG, PNG,
    WebP or GIF files, to `classes`, `scores`, `probabilities`, `valid` and `error`. `classify`: serialized
    `tf.Example`s with `image/encoded` to `classes` and `scores`. `features`: `image` to `features`, the embedding
    before the classifier. The version appears whole: it is written aside, loaded, asked once and renamed, so a server
    that polls `path` never sees half a model. `card.txt` in it says what it is.

    Args:
        model: functional or sequential, of images (N, H, W, C) with square or free sides and C 1 or 3, under any dtype
            policy. It ends in a Dense layer with a softmax or a sigmoid, in it or after it; one with neither is taken
            for logits of classes that exclude each other, which get a softmax.
        path: directory of the versions; made where it does not exist.
        version: number of this one, at least 1, in 63 bits.
        class_names: as many as the model has outputs; None: those of the checkpoint's data, or else their numbers.
        precision: "float32", "bfloat16" or "int8", of what is between pixels and embedding. Probabilities are float32.
        calibration: images (N, H, W, C), raw pixels, some hundred of those to be served; needed for "int8".
        fold: whether batch norms become part of convolutions; they must for "int8".
        top_k: classes that are named in an answer; all where there are fewer.
        warmup: images (N, H, W, C), at most 32, that a server is to answer before it is ready; or None.
        checkpoint: what the model was filled with, for the card, the classes' names and how files are resized and
            cropped: `keras_resnet.weights.find("ResNet50", "imagenet")`, say. A model does not remember it. Or None.
        resize: how instead, a function `(image, size) -> image` of uint8; None: as the checkpoint was measured, and
            without one the centred square, resized.
        agreement: share of the calibration images, in (0, 1], on which int8 must choose the class that float32 does;
            below it, or where this TensorFlow has no exact kernel for int8 (it has on x86 with VNNI, and servers need
            that too), it is bfloat16 and the log and the card say so.
        on_invalid: what becomes of files that are no images. "flag": `valid` is False for them; "raise": the request
            fails.

    Returns:
        The directory of the version.

    Raises:
        ValueError: the version exists already, the backend is not TensorFlow, the model is not as above or has layers
            that have no form in "int8", or another argument is out of its range.
        TypeError: the model is neither functional nor sequential, or has no known input; or another argument is of
            another type.

    Example:
        >>> import keras_resnet as kr
        >>> kr.export.saved_model(kr.ResNet20(), "models/cifar", precision="bfloat16")  # doctest: +SKIP
    """
    check_backend("saved_model")
    one_of("precision", precision, tuple(PRECISIONS))
    one_of("on_invalid", on_invalid, tuple(ON_INVALID))
    number("agreement", agreement, "(0, 1]")
    if precision == "int8" and not fold:
        raise ValueError("fold must be True where precision is 'int8', which has no batch norms. Received: fold=False")
    if integer("version", version) > LAST_VERSION:
        raise ValueError(f"version must be at most 2**63 - 1. Received: version={version}")
    target = directory("path", path) / str(version)
    if target.exists():
        raise _not_new(target)
    model = flat_float32(model)
    classes, channels = classifier(model).layer.units, model.input_shape[-1]
    if channels not in CHANNELS:
        raise ValueError(f"model must take images of 1 or 3 channels, which files have. Received: {channels} channels")
    names = _names(class_names, checkpoint, classes)
    named = min(integer("top_k", top_k), classes)
    size = _size(model, checkpoint)
    if calibration is not None:
        calibration = checked_images("calibration", calibration, model)
    if warmup is not None:
        warmup = checked_images("warmup", warmup, model)

    network = fold_batch_norm(model) if fold else model
    served_features = PRECISIONS[precision](network, calibration, agreement)
    resizing = resize or (resize_for(checkpoint) if checkpoint else to_square)
    to_pixels = image_reader(channels, size, resizing)
    served = Served(
        served_features.features,
        scores(network),
        model.input_shape[1:],
        names,
        named,
        to_pixels,
        ON_INVALID[on_invalid],
    )
    target.parent.mkdir(parents=True, exist_ok=True)
    # Of processes in containers many have the same number, and what a killed one left must not get in.
    aside = target.with_name(f".{version}-{secrets.token_hex(8)}")
    try:
        tf.saved_model.save(served, str(aside), signatures=served.endpoints)
        if warmup is not None:
            warm_up.write(warmup, target.parent.name, aside)
        model_card.write(
            model_card.facts(
                model, checkpoint, served_features.precision, model_card.files(checkpoint, size, resize), classes
            ),
            aside / "card.txt",
        )
        _try(aside, np.zeros((1, *(side or size for side in model.input_shape[1:])), "float32"))
        _publish(aside, target)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return target


def _try(directory: Path, image: np.ndarray) -> None:
    """Loads what was written as a server would, and asks it once: no server is to find out that it cannot be served."""
    answer = tf.saved_model.load(str(directory)).signatures["serving_default"](image=tf.constant(image))
    if not np.isfinite(answer["probabilities"]).all():
        raise ValueError("model must give numbers. Received: one that gives no finite probabilities of a black image")


def _publish(aside: Path, target: Path) -> None:
    """Makes a version visible, whole and on the disk."""
    for path in aside.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())
    try:
        aside.rename(target)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
        raise _not_new(target) from error


def _not_new(target: Path) -> ValueError:
    return ValueError(f"version must be new. Received: version={target.name}, and {target} exists")


def _names(given: Sequence[str] | None, checkpoint: Checkpoint | None, classes: int) -> Sequence[str]:
    if given is None:
        return names_of(checkpoint.data if checkpoint else "", classes)
    if isinstance(given, str) or not isinstance(given, Iterable):
        raise TypeError(f"class_names must be a sequence of strings. Received: class_names={given!r}")
    names = list(map(str, given))
    if len(names) != classes:
        raise ValueError(f"class_names must be as many as the model's outputs, {classes}. Received: {len(names)}")
    return names


def _size(model: keras.Model, checkpoint: Checkpoint | None) -> int:
    """The side to which files are brought."""
    if model.input_shape[1:3] == (None, None):
        return checkpoint.size if checkpoint else SIZE
    return square_side(model)
