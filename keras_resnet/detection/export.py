"""SavedModels of detectors for TF Serving: pixels or image files in, boxes with classes out."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_resnet._internal.atomic_files import writing
from keras_resnet._internal.validation import boolean, one_of
from keras_resnet.detection.design import Design
from keras_resnet.detection.faster_rcnn import check_design, classes_of
from keras_resnet.detection.layers import Detections, FillPadding, Proposals
from keras_resnet.detection.nms import Suppress, non_maximum_suppression
from keras_resnet.detection.resizing import resized_in_graph, sides_in_graph
from keras_resnet.export import model_card, warm_up
from keras_resnet.export.checks import check_backend, checked_class_names, checked_images
from keras_resnet.export.folding import fold_batch_norm
from keras_resnet.export.graphs import flat_float32
from keras_resnet.export.images import file_reader
from keras_resnet.export.network import finite_or_nan, in_precision, with_constants
from keras_resnet.export.signatures import ON_INVALID, Answer, checked, or_blank
from keras_resnet.export.versions import publishing, version_directory
from keras_resnet.weights import Checkpoint

PRECISIONS = ("float32", "bfloat16")
# Layers that compute in float32 in both precisions: pixels, coordinates of boxes, and what these are decoded from.
EXACT_LAYERS = (
    keras.layers.InputLayer,
    keras.layers.Normalization,
    keras.layers.Rescaling,
    FillPadding,
    Proposals,
    Detections,
)
EXACT_NAMES = ("rpn_logits", "rpn_codes", "box_logits", "box_codes")
SIDE = 64  # pixels of the image that a new version is asked about
Detect = Callable[[tf.Tensor, tf.Tensor], dict[str, tf.Tensor]]  # images and sizes -> the outputs of a detector


def saved_model(
    detector: keras.Model,
    design: Design,
    path: str | os.PathLike[str],
    class_names: Sequence[str] | None = None,
    version: int = 1,
    precision: str = "float32",
    fold: bool = True,
    warmup: np.ndarray | None = None,
    *,
    checkpoint: Checkpoint | None = None,
    on_invalid: str = "flag",
) -> Path:
    """Writes a SavedModel of a detector for TF Serving into `path/version/`.

    It has two signatures, whose outputs have the usual names of detectors in TF Serving:

    - `serving_bytes`: `image_bytes`, JPEG, PNG, WebP or GIF files of any sizes, (N).
    - `serving_default`: `image`, raw pixels of images of one size, float32 (N, H, W, 3).

    Both resize the images as `keras_resnet.detection.find` does, and give for each image as many rows as the detector
    has detections at most, of which `num_detections`, int32 (N), are filled, the most probable first; the rest is 0
    and "". The rows are `detection_boxes`, float32 (N, rows, 4): top, left, bottom and right, from 0 to 1, as parts of
    the image's height and width; `detection_classes`, int32 (N, rows): numbers of classes from 0;
    `detection_class_names`; and `detection_scores`, float32 (N, rows): probabilities. `serving_bytes` also has `valid`
    and `error`, for each file.

    The version is written to a temporary directory, loaded, asked once and renamed. So a server that polls `path` never
    sees an incomplete version. `card.txt` in it describes the detector.

    Args:
        detector: a model of `FasterRCNN`.
        design: its design: `shorter` and `longer` say how images are resized.
        path: directory of the versions; it is created if it does not exist.
        class_names: one name for each class. None: the names of the checkpoint's data, or the numbers of the classes.
        version: number of the version, from 1 to 2**63 - 1.
        precision: "float32" or "bfloat16": the type of the network. Pixels, boxes and what they are decoded from are
            float32 in both.
        fold: whether to fold batch norms into convolutions.
        warmup: images (N, H, W, 3), raw pixels, of which at most 32 are used: a server answers requests with them
            before it reports that the version is available. None: no such requests.
        checkpoint: the published weights in the detector, for the card and the names of the classes; or None.
        on_invalid: what happens to files that are not valid images. "flag": they get `valid=False` and an `error`;
            "raise": the request fails.

    Returns:
        The directory of the version.

    Raises:
        ValueError: the version exists already, the backend is not TensorFlow, the model is no detector, or another
            argument is out of its range.
        TypeError: an argument has the wrong type.
        OSError: the files cannot be written, for example on a full disk; nothing is left of the version.

    Example:
        >>> from keras_resnet.detection import create_detector, design_of, saved_model
        >>> detector = create_detector("fasterrcnn_resnet50_fpn", weights="coco")  # doctest: +SKIP
        >>> design = design_of("fasterrcnn_resnet50_fpn")
        >>> saved_model(detector, design, "models/coco")  # doctest: +SKIP
    """
    check_backend("saved_model")
    one_of("precision", precision, PRECISIONS)
    one_of("on_invalid", on_invalid, tuple(ON_INVALID))
    boolean("fold", fold)
    target = version_directory(path, version)
    check_design(detector, design)
    classes = classes_of(detector)
    names = checked_class_names(class_names, checkpoint.data if checkpoint else "", classes)
    shape = detector.inputs[0].shape
    if warmup is not None:
        warmup = checked_images("warmup", warmup, shape)
    served = ServedDetector(
        detect_function(detector, precision, fold), design, shape[-1], names, ON_INVALID[on_invalid]
    )
    with publishing(target) as temporary:
        with writing(target, tf.errors.OpError):
            tf.saved_model.save(served, str(temporary), signatures=served.endpoints)
            if warmup is not None:
                warm_up.write(warmup, served.endpoints, target.parent.name, temporary)
            files = f"shorter side to {design.shorter} pixels, longer one at most {design.longer} (bilinear)"
            answers = {
                "answers": f"at most {detector.output['scores'].shape[1]} boxes of {classes} classes, an image",
                "boxes": "top, left, bottom, right, from 0 to 1; classes are counted from 0",
            }
            model_card.write(model_card.facts(detector, checkpoint, precision, files, answers), temporary / "card.txt")
        _check_export(temporary, shape[-1])
    return target


def detect_function(
    detector: keras.Model,
    precision: str = "float32",
    fold: bool = True,
    suppress: Suppress = non_maximum_suppression,
) -> Detect:
    """A detector as a function for a graph, with its weights as constants.

    Args:
        detector: a model of `FasterRCNN`.
        precision, fold: see `saved_model`.
        suppress: `nms.non_maximum_suppression`, or `nms.greedy` for engines without TensorFlow's operation.

    Returns:
        A function from images (N, H, W, C) and sizes (N, 2) to the outputs of the detector by name.
    """
    network = flat_float32(detector)
    if fold:
        network = fold_batch_norm(network)
    if precision != "float32":
        layers = [layer for layer in network.layers if not _is_exact(layer)]
        network = in_precision(network, precision, layers)
    for layer in network.layers:
        if isinstance(layer, (Proposals, Detections)):
            layer.suppress = suppress
    call = with_constants(network)
    # A flat network has lists in place of the dicts of the detector.
    inputs, outputs = ([*_flat_names(part)] for part in (detector.input, detector.output))

    def detect(images: tf.Tensor, sizes: tf.Tensor) -> dict[str, tf.Tensor]:
        given = {"images": images, "sizes": sizes}
        return dict(zip(outputs, keras.tree.flatten(call([given[name] for name in inputs])), strict=True))

    return detect


class ServedDetector(tf.Module):
    """The functions of a SavedModel, one for each signature; `endpoints` has them by name.

    Args:
        detect: function from images and sizes to the outputs of a detector.
        design: the design of the detector.
        channels: channels of the images, 1 or 3.
        class_names: one name for each class.
        on_invalid: one of the functions in `keras_resnet.export.signatures.ON_INVALID`.
    """

    def __init__(
        self,
        detect: Detect,
        design: Design,
        channels: int,
        class_names: Sequence[str],
        on_invalid: Callable[[tf.Tensor], tf.Tensor],
    ) -> None:
        super().__init__()
        pixels = tf.TensorSpec((None, None, None, channels), tf.float32, "image")
        files = tf.TensorSpec((None,), tf.string, "image_bytes")
        sizes = tf.TensorSpec((None, 2), tf.int32)
        # Traced once and called by both signatures, so that the file has the constants once.
        self.detect = tf.function(detect, input_signature=[pixels, sizes], autograph=False)
        read = file_reader(
            channels,
            lambda image: _prepared(image, design),
            {"image": tf.TensorSpec((1, 1, channels), tf.float32), "size": tf.TensorSpec((2,), tf.int32)},
            lambda rows, count: rows.padded_batch(count),
        )

        def with_names(outputs: Answer) -> Answer:
            classes = outputs["detection_classes"]
            there = tf.sequence_mask(outputs["num_detections"], tf.shape(classes)[1])
            named = tf.gather(tf.constant(class_names), classes)
            return {**outputs, "detection_class_names": tf.where(there, named, "")}

        def serving_bytes(image_bytes: tf.Tensor) -> Answer:
            prepared, wrong = read(image_bytes, tf.identity)
            wrong = on_invalid(wrong)
            valid = wrong == ""
            sizes = tf.maximum(prepared["size"], 1)
            outputs = with_names(answer_of(self.detect(prepared["image"], sizes), sizes))
            return {**{name: or_blank(valid, of) for name, of in outputs.items()}, "valid": valid, "error": wrong}

        def serving_default(image: tf.Tensor) -> Answer:
            sides = functools.partial(sides_in_graph, shorter=design.shorter, longer=design.longer)
            return with_names(answer_for_pixels(self.detect, sides, image))

        def endpoint(function: Callable[[tf.Tensor], Answer], spec: tf.TensorSpec) -> Any:
            return tf.function(lambda given: function(checked(given, spec)), input_signature=[spec], autograph=False)

        self.endpoints = {
            "serving_default": endpoint(serving_default, pixels),
            "serving_bytes": endpoint(serving_bytes, files),
        }


def answer_for_pixels(detect: Detect, sides: Callable[[tf.Tensor], tf.Tensor], image: tf.Tensor) -> Answer:
    """What a detector answers for images of one size.

    Args:
        detect: function from images and sizes to the outputs of a detector.
        sides: function from height and width of an image, (2,), to those that `detect` gets.
        image: raw pixels, float32 (N, H, W, C).

    Returns:
        See `answer_of`. The scores of an image with pixels that are no finite numbers are NaN.
    """
    # NaN would become the number of a feature map that is not there, and fail the other images of the request.
    finite = tf.where(tf.abs(image) < tf.float32.max, image, 0.0)
    size = sides(tf.shape(image)[1:3])
    sizes = tf.repeat(size[None], tf.shape(image)[0], axis=0)
    answer = answer_of(detect(tf.image.resize(finite, size, "bilinear"), sizes), sizes)
    return {**answer, "detection_scores": finite_or_nan(image, answer["detection_scores"])}


def answer_of(found: dict[str, tf.Tensor], sizes: tf.Tensor) -> Answer:
    """The outputs of a detector under the names that detectors have in TF Serving, see `saved_model`."""
    height, width = tf.unstack(tf.cast(sizes, tf.float32), axis=1)
    left, top, right, bottom = tf.unstack(found["boxes"], axis=2)
    sides = tf.stack([height, width, height, width], axis=1)[:, None]
    return {
        "detection_boxes": tf.stack([top, left, bottom, right], axis=2) / sides,
        "detection_classes": found["classes"],
        "detection_scores": found["scores"],
        "num_detections": found["found"],
    }


def _prepared(image: tf.Tensor, design: Design) -> dict[str, tf.Tensor]:
    resized = resized_in_graph(image, design.shorter, design.longer)
    return {"image": resized, "size": tf.shape(resized)[:2]}


def _is_exact(layer: keras.layers.Layer) -> bool:
    return isinstance(layer, EXACT_LAYERS) or layer.name in EXACT_NAMES


def _flat_names(structure: dict[str, Any]) -> list[str]:
    """The keys of a dict, in the order in which Keras flattens it."""
    return keras.tree.flatten({name: name for name in structure})


def _check_export(directory: Path, channels: int) -> None:
    """Loads a SavedModel as a server does, and asks it once, so that no export is published that cannot be served."""
    signature = tf.saved_model.load(str(directory)).signatures["serving_default"]
    answer = signature(image=tf.zeros((1, SIDE, SIDE, channels)))
    if not all(np.isfinite(answer[name]).all() for name in ("detection_boxes", "detection_scores")):
        raise ValueError("detector must give finite boxes and scores. Received: others, for a black image")
