"""Other formats, by their own converters: ONNX, OpenVINO's IR and LiteRT; from the same folded function as SavedModel.

Each takes `image`, raw pixels float32 (N, H, W, C), and gives `probabilities`, float32 (N, classes). The converters are
the extra `formats`; what each of them does is theirs.
"""

from __future__ import annotations

import importlib
import os
import tempfile
import warnings
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_resnet._internal.atomic_files import atomic_write
from keras_resnet._internal.validation import one_of
from keras_resnet.export.checks import check_backend, checked_images
from keras_resnet.export.folding import fold_batch_norm
from keras_resnet.export.graphs import flat_float32
from keras_resnet.export.network import float_features, scores


def onnx(model: keras.Model, path: str | os.PathLike[str]) -> Path:
    """Writes ONNX, for onnxruntime and its kin.

    Args:
        model: as `keras_resnet.export.saved_model` takes it.
        path: of the file.

    Returns:
        `path`.

    Raises:
        ValueError: the converter, tf2onnx, is not installed; or what `saved_model` raises for the model.

    Example:
        >>> import keras_resnet as kr
        >>> kr.export.onnx(kr.ResNet20(), "cifar.onnx")  # doctest: +SKIP
    """
    converter = _needed("tf2onnx")
    function, path = _function(model), _place(path)
    with atomic_write(path) as aside:
        converter.convert.from_function(function, input_signature=function.input_signature, output_path=str(aside))
    return path


def openvino(
    model: keras.Model,
    path: str | os.PathLike[str],
    precision: str = "float32",
    calibration: np.ndarray | None = None,
) -> Path:
    """Writes OpenVINO's IR: an XML file, and the weights in a file beside it that ends in .bin.

    Args:
        model: as `keras_resnet.export.saved_model` takes it.
        path: of the XML file.
        precision: "float32" or "int8" (NNCF), of what is in the file. What is computed in is said where it is loaded:
            `INFERENCE_PRECISION_HINT`, "f32" or "bf16"; unasked, OpenVINO takes bf16 on CPUs that can. It does not
            heed a hint in the file (2026.4).
        calibration: images (N, H, W, C), some hundred of those to be served; needed for "int8".

    Returns:
        `path`.

    Raises:
        ValueError: `precision` is none of these; openvino, or nncf for "int8", is not installed; there is no
            calibration; the path does not end in .xml; or what `saved_model` raises for the model.

    Example:
        >>> import keras_resnet as kr
        >>> kr.export.openvino(kr.ResNet20(), "cifar.xml")  # doctest: +SKIP
    """
    library = _needed("openvino")
    one_of("precision", precision, ("float32", "int8"))
    path = _place(path)
    if path.suffix != ".xml":
        raise ValueError(f"path must end in .xml. Received: {path}")
    converted = library.convert_model(_function(model).get_concrete_function())
    if precision == "int8":
        images = _one_by_one(checked_images("calibration", calibration, model))
        quantisation = _needed("nncf")
        converted = quantisation.quantize(converted, quantisation.Dataset(images), subset_size=len(images))
    library.save_model(converted, str(path), compress_to_fp16=False)
    return path


def litert(
    model: keras.Model,
    path: str | os.PathLike[str],
    precision: str = "float32",
    calibration: np.ndarray | None = None,
) -> Path:
    """Writes LiteRT, once TensorFlow Lite, for phones and small computers; with the signature `serving_default`.

    Args:
        model: as `keras_resnet.export.saved_model` takes it.
        path: of the file.
        precision: "float32" or "int8"; pixels and probabilities are float32 in both.
        calibration: images (N, H, W, C), some hundred of those to be seen; needed for "int8".

    Returns:
        `path`.

    Raises:
        ValueError: `precision` is none of these, there is no calibration; or what `saved_model` raises for the model.

    Example:
        >>> import keras_resnet as kr
        >>> kr.export.litert(kr.ResNet20(), "cifar.tflite")  # doctest: +SKIP
    """
    one_of("precision", precision, ("float32", "int8"))
    function, path = _function(model), _place(path)
    if precision == "int8":
        images = _one_by_one(checked_images("calibration", calibration, model))
    with tempfile.TemporaryDirectory() as directory:
        module = tf.Module()
        module.serve = function  # what is saved has to belong to something
        tf.saved_model.save(module, directory, signatures={"serving_default": function})
        converter = tf.lite.TFLiteConverter.from_saved_model(directory)
        if precision == "int8":
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
            converter.representative_dataset = lambda: images
        with warnings.catch_warnings():
            # The converter's own, of a part of itself that it calibrates with.
            warnings.filterwarnings("ignore", ".*tf.lite.Interpreter is deprecated", UserWarning)
            content = converter.convert()
    with atomic_write(path) as aside:
        aside.write_bytes(content)
    return path


def _function(model: keras.Model) -> Any:
    check_backend("an export")
    folded = fold_batch_norm(flat_float32(model))
    features, score = float_features(folded, "float32"), scores(folded)
    image = tf.TensorSpec(model.input_shape, tf.float32, "image")
    return tf.function(
        lambda image: {"probabilities": score(features(image))}, input_signature=[image], autograph=False
    )


def _place(path: str | os.PathLike[str]) -> Path:
    """Where a file goes; its directory is made where it does not exist."""
    place = Path(path).expanduser()
    place.parent.mkdir(parents=True, exist_ok=True)
    return place


def _one_by_one(images: np.ndarray) -> list[dict[str, np.ndarray]]:
    return [{"image": image[None].astype("float32")} for image in images]


def _needed(package: str) -> Any:
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise ValueError(
            f"this format needs the package {package}: pip install 'keras-resnet-zoo[formats]'. Received: {error}"
        ) from error
