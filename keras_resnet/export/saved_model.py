"""A SavedModel as TF Serving takes it: `path/version/`, whole at any moment, with constants and named signatures."""

from __future__ import annotations

import functools
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from keras_resnet.arguments import integer, one_of
from keras_resnet.data.decode import resize_for, to_square
from keras_resnet.data.pipeline import Resize
from keras_resnet.export import card, warm_up
from keras_resnet.export.checks import check_backend, check_images
from keras_resnet.export.folding import fold_batch_norm
from keras_resnet.export.images import prepared
from keras_resnet.export.lowering import PRECISIONS
from keras_resnet.export.network import classifier, scores
from keras_resnet.export.signatures import ON_INVALID, Served
from keras_resnet.inputs import square_side
from keras_resnet.weights import Checkpoint

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
    before the classifier. The version appears whole: it is written aside and renamed, so a server that polls `path`
    never sees half a model. `card.txt` in it says what it is.

    Args:
        model: functional, of images (N, H, W, C) with square or free sides and C 1 or 3, ending in a Dense layer.
        path: directory of the versions; made where it does not exist.
        version: number of this one, at least 1.
        class_names: as many as the model has outputs; None: their numbers.
        precision: "float32", "bfloat16" or "int8", of what is between pixels and embedding. Probabilities are float32.
        calibration: images (N, H, W, C), raw pixels, some hundred of those to be served; needed for "int8".
        fold: whether batch norms become part of convolutions.
        top_k: classes that are named in an answer; all where there are fewer.
        warmup: images (N, H, W, C) that a server is to answer before it is ready; or None.
        checkpoint: what the model was filled with, for the card and for how files are resized and cropped; or None.
        resize: how instead, a function `(image, size) -> image` of uint8; None: as the checkpoint was measured, and
            without one the centred square, resized.
        agreement: share of the calibration images, in (0, 1], on which int8 must choose the class that float32 does;
            below it, or where this TensorFlow has no kernel for int8, it is bfloat16 and the log and the card say so.
        on_invalid: what becomes of files that are no images. "flag": `valid` is False for them; "raise": the request
            fails.

    Returns:
        The directory of the version.

    Raises:
        ValueError: the version exists already, the backend is not TensorFlow, or an argument is out of its range.
        TypeError: the model is not functional.

    Example:
        >>> import keras_resnet as kr
        >>> kr.export.saved_model(kr.ResNet20(), "models/cifar", precision="bfloat16")  # doctest: +SKIP
    """
    check_backend("saved_model")
    one_of("precision", precision, tuple(PRECISIONS))
    one_of("on_invalid", on_invalid, tuple(ON_INVALID))
    if not 0 < agreement <= 1:
        raise ValueError(f"agreement must be in (0, 1]. Received: agreement={agreement!r}")
    target = Path(path) / str(integer("version", version))
    if target.exists():
        raise ValueError(f"version must be new. Received: version={version}, and {target} exists")
    classes, channels = classifier(model).units, model.input_shape[-1]
    if channels not in (1, 3):
        raise ValueError(f"model must take images of 1 or 3 channels, which files have. Received: {channels} channels")
    names = _names(class_names, classes)
    named = min(integer("top_k", top_k), classes)
    size = _size(model, checkpoint)
    for argument, images in (("calibration", calibration), ("warmup", warmup)):
        if images is not None:
            check_images(argument, images, model)

    network = fold_batch_norm(model) if fold else model
    lowered = PRECISIONS[precision](network, calibration, agreement)
    resize = resize or (resize_for(checkpoint) if checkpoint else to_square)
    to_pixels = functools.partial(prepared, channels=channels, size=size, resize=resize)
    served = Served(
        lowered.features, scores(network), model.input_shape[1:], names, named, to_pixels, ON_INVALID[on_invalid]
    )
    target.parent.mkdir(parents=True, exist_ok=True)
    aside = target.with_name(f".{version}-{os.getpid()}")
    try:
        tf.saved_model.save(served, str(aside), signatures=served.endpoints)
        if warmup is not None:
            warm_up.write(warmup, Path(path).name, aside)
        card.write(card.facts(model, checkpoint, lowered.precision, size, classes), aside / "card.txt")
        aside.rename(target)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return target


def _names(given: Sequence[str] | None, classes: int) -> list[str]:
    names = list(map(str, range(classes) if given is None else given))
    if len(names) != classes:
        raise ValueError(f"class_names must be as many as the model's outputs, {classes}. Received: {len(names)}")
    return names


def _size(model: keras.Model, checkpoint: Checkpoint | None) -> int:
    """The side to which files are brought."""
    if model.input_shape[1:3] == (None, None):
        return checkpoint.size if checkpoint else SIZE
    return square_side(model)
