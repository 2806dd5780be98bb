"""SavedModels for TF Serving, in `path/version/`: weights as constants, and one signature for each kind of request.

A version is written to a temporary directory, loaded, asked once, synchronised with the disk and renamed.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from keras_resnet._internal.atomic_files import writing
from keras_resnet._internal.validation import boolean, integer, number, one_of
from keras_resnet.data.decode import resize_for, to_square
from keras_resnet.data.pipeline import Resize
from keras_resnet.export import model_card, warm_up
from keras_resnet.export.checks import check_backend, checked_class_names, checked_images
from keras_resnet.export.folding import fold_batch_norm
from keras_resnet.export.graphs import flat_float32
from keras_resnet.export.images import image_reader
from keras_resnet.export.network import (
    classifier,
    classifier_kernel,
    classifier_scores,
    feature_extractor,
    map_extractor,
)
from keras_resnet.export.precisions import PRECISIONS
from keras_resnet.export.signatures import ON_INVALID, Served
from keras_resnet.export.versions import publishing, version_directory
from keras_resnet.inputs import square_side
from keras_resnet.weights import Checkpoint

CHANNELS = (1, 3)  # numbers of channels that image files can give
SIZE = 224  # side to which image files are resized if the network takes images of any size


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
    explain: bool = False,
) -> Path:
    """Writes a SavedModel for TF Serving into `path/version/`.

    It has the signatures of `keras_resnet.export.signatures`:

    - `serving_default`: `image`, raw pixels (N, H, W, C), to `probabilities`.
    - `serving_bytes`: `image_bytes`, JPEG, PNG, WebP or GIF files, to `classes`, `scores`, `probabilities`, `valid` and
      `error`.
    - `classify`: serialized `tf.Example`s with `image/encoded` to `classes` and `scores`.
    - `features`: `image` to `features`, the embedding before the classifier.
    - `explain`, only with `explain=True`: `image_bytes` to `class`, `index`, `score`, `heat_map`, `valid` and `error`.

    The version is written to a temporary directory, loaded, asked once and renamed. So a server that polls `path` never
    sees an incomplete version. `card.txt` in it describes the model.

    Args:
        model: a functional or sequential model of images (N, H, W, C), with square images or images of any size, and C
            1 or 3, under any dtype policy. It ends in a Dense layer, with a softmax or a sigmoid in it or after it.
            Without either, its outputs are taken as logits of classes that exclude each other, and a softmax is added.
        path: directory of the versions; it is created if it does not exist.
        version: number of the version, from 1 to 2**63 - 1.
        class_names: one name for each output of the model. None: the names of the checkpoint's data, or the numbers of
            the classes if these are not known.
        precision: "float32", "bfloat16" or "int8": the type in which the layers between pixels and embedding are
            computed. Probabilities are float32 in all three. A type that is slower than float32 on this machine is
            warned of in the log. "auto": the quickest on this machine, each timed for a second in batches of 8; log and
            card give the speeds. Export on a machine like the one that serves.
        calibration: images (N, H, W, C), raw pixels: some hundred images like those that will be served. Needed for
            "int8". With "auto": without them int8 is not tried, and the answers of bfloat16 are not compared.
        fold: whether to fold batch norms into convolutions; must be True for "int8".
        top_k: how many classes an answer names; if the model has fewer classes, all of them.
        warmup: images (N, H, W, C), of which at most 32 are used: a server answers requests with them before it reports
            that the version is available. None: no such requests.
        checkpoint: the published weights in the model, for example `keras_resnet.weights.find("ResNet50", "imagenet")`;
            a model does not know them. They give the facts in the card, the names of the classes, and how files are
            resized and cropped. None: no published weights.
        resize: function `(image, size) -> image` of uint8 images, which resizes and crops the images in files. None: as
            the accuracy of the checkpoint was measured; without a checkpoint the centre square, resized.
        agreement: fraction of the calibration images, in (0, 1], for which int8 must choose the same class as float32,
            and with "auto" bfloat16 too. If "int8" does not, or if this TensorFlow has no exact int8 kernel, the export
            is in bfloat16, and the log and the card say so. TensorFlow has the kernel on x86 CPUs with VNNI; the
            servers need such a CPU too.
        on_invalid: what happens to files that are not valid images. "flag": they get `valid=False` and an `error`;
            "raise": the request fails.
        explain: whether to add the signature `explain`, which says where a network sees the most probable class. For
            each file it gives the name of the class, its index, its probability, and `heat_map`, float32 (N, h, w): the
            class activation map (arXiv:1512.04150) of the last features, with sides that are usually 1/32 of those of
            the pixels. Its mean plus the bias of the class is the output of the class before softmax or sigmoid. So
            numbers below 0 stay in it: these places speak against the class. To draw the map, replace them by 0, and
            resize it to the part of the image that the network gets, which the card describes. The model must end in
            average pooling and one Dense layer. Answer and map come from one pass, in every precision.

    Returns:
        The directory of the version.

    Raises:
        ValueError: the version exists already, the backend is not TensorFlow, the model is not as described above or
            has layers without an "int8" form or no map for `explain`, or another argument is out of its range.
        TypeError: the model is neither functional nor sequential, or its input is not known; or another argument has
            the wrong type.
        OSError: the files cannot be written, for example on a full disk; nothing is left of the version.

    Example:
        >>> import keras_resnet as kr
        >>> kr.export.saved_model(kr.ResNet20(), "models/cifar", precision="bfloat16")  # doctest: +SKIP

        The places of an image that speak for its class:

        >>> import tempfile, numpy as np, tensorflow as tf
        >>> file = tf.io.encode_png(np.zeros((40, 40, 3), "uint8"))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = kr.export.saved_model(kr.ResNet20(), folder, explain=True)
        ...     explain = tf.saved_model.load(str(path)).signatures["explain"]
        ...     answer = explain(image_bytes=file[None])
        >>> np.maximum(answer["heat_map"][0], 0).shape
        (8, 8)
    """
    check_backend("saved_model")
    one_of("precision", precision, tuple(PRECISIONS))
    one_of("on_invalid", on_invalid, tuple(ON_INVALID))
    number("agreement", agreement, "(0, 1]")
    boolean("explain", explain)
    if precision == "int8" and not fold:
        raise ValueError("fold must be True if precision is 'int8', which has no batch norms. Received: fold=False")
    target = version_directory(path, version)
    model = flat_float32(model)
    classes, channels = classifier(model).layer.units, model.input_shape[-1]
    if channels not in CHANNELS:
        raise ValueError(
            f"model must take images with 1 or 3 channels, as image files have. Received: {channels} channels"
        )
    names = checked_class_names(class_names, checkpoint.data if checkpoint else "", classes)
    top_classes = min(integer("top_k", top_k), classes)
    size = _file_size(model, checkpoint)
    if calibration is not None:
        calibration = checked_images("calibration", calibration, model.input_shape)
    if warmup is not None:
        warmup = checked_images("warmup", warmup, model.input_shape)

    network = fold_batch_norm(model) if fold else model
    part = map_extractor if explain else feature_extractor
    served_features = PRECISIONS[precision](network, calibration, agreement, part)
    resizing = resize or (resize_for(checkpoint) if checkpoint else to_square)
    to_pixels = image_reader(channels, size, resizing)
    # Traced once for all signatures, so that the file has the weights once.
    kernel = tf.function(classifier_kernel(network), input_signature=[], autograph=False)
    served = Served(
        served_features.features,
        classifier_scores(network, kernel),
        model.input_shape[1:],
        names,
        top_classes,
        to_pixels,
        ON_INVALID[on_invalid],
        kernel if explain else None,
    )
    with publishing(target) as temporary:
        files = model_card.describe_files(checkpoint, size, resize)
        answers = model_card.describe_answers(classes, served.endpoints)
        facts = model_card.facts(model, checkpoint, served_features.precision, files, answers)
        with writing(target, tf.errors.OpError):
            tf.saved_model.save(served, str(temporary), signatures=served.endpoints)
            if warmup is not None:
                warm_up.write(warmup, served.endpoints, target.parent.name, temporary)
            model_card.write(facts, temporary / "card.txt")
        _check_export(temporary, np.zeros((1, *(side or size for side in model.input_shape[1:])), "float32"))
    return target


def _check_export(directory: Path, image: np.ndarray) -> None:
    """Loads a SavedModel as a server does, and asks it once, so that no export is published that cannot be served.

    Args:
        directory: directory of the SavedModel.
        image: a black image, float32 (1, H, W, C).
    """
    answer = tf.saved_model.load(str(directory)).signatures["serving_default"](image=tf.constant(image))
    if not (finite := np.isfinite(answer["probabilities"])).all():
        raise ValueError(
            "model must give finite probabilities. "
            f"Received: {np.count_nonzero(~finite)} of {finite.size} that are not finite, for a black image"
        )


def _file_size(model: keras.Model, checkpoint: Checkpoint | None) -> int:
    """The side in pixels to which image files are resized."""
    if model.input_shape[1:3] == (None, None):
        return checkpoint.size if checkpoint else SIZE
    return square_side(model)
