"""Other formats: ONNX, OpenVINO IR and LiteRT, each written by its own converter.

All are made from the function that `saved_model` exports, with folded batch norms. The input is `image`, raw pixels,
float32 (N, H, W, C); the output is `probabilities`, float32 (N, classes). The converters are installed by the extra
`formats`.
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

from keras_resnet._internal.atomic_files import atomic_write, flush_file, writing
from keras_resnet._internal.validation import one_of
from keras_resnet.export.checks import check_backend, checked_images
from keras_resnet.export.folding import fold_batch_norm
from keras_resnet.export.graphs import flat_float32
from keras_resnet.export.network import FINITE, classifier_scores, finite_or_nan, float_features


def onnx(model: keras.Model, path: str | os.PathLike[str]) -> Path:
    """Writes an ONNX file, for onnxruntime and other engines.

    Args:
        model: a model that `keras_resnet.export.saved_model` accepts.
        path: path of the file; its directory is created if it does not exist.

    Returns:
        `path`.

    Raises:
        ValueError: the converter tf2onnx is not installed; or `saved_model` would raise it for the model.
        TypeError: `saved_model` would raise it for the model.

    Example:
        >>> import keras_resnet as kr
        >>> kr.export.onnx(kr.ResNet20(), "cifar.onnx")  # doctest: +SKIP
    """
    converter = import_converter("tf2onnx")
    function, path = _serving_function(model), _path_in_directory(path)
    with atomic_write(path) as temporary:
        converter.convert.from_function(function, input_signature=function.input_signature, output_path=str(temporary))
    return path


def openvino(
    model: keras.Model,
    path: str | os.PathLike[str],
    precision: str = "float32",
    calibration: np.ndarray | None = None,
) -> Path:
    """Writes OpenVINO IR: an XML file, and next to it the weights in a file that ends in .bin.

    Args:
        model: a model that `keras_resnet.export.saved_model` accepts.
        path: path of the XML file; its directory is created if it does not exist.
        precision: "float32" or "int8" (by NNCF): the type of the network in the file. The program that loads the file
            chooses the type of the computation with `INFERENCE_PRECISION_HINT`, "f32" or "bf16"; without it OpenVINO
            computes in bf16 on CPUs that have it. OpenVINO 2026.4 ignores a hint in the file. So there is no "auto".
        calibration: images (N, H, W, C), raw pixels: some hundred images like those that will be served. Needed for
            "int8".

    Returns:
        `path`.

    Raises:
        ValueError: `precision` is not one of these; openvino, or nncf for "int8", is not installed; `calibration` is
            missing; the path does not end in .xml; or `saved_model` would raise it for the model.
        TypeError: `saved_model` would raise it for the model.

    Example:
        >>> import keras_resnet as kr
        >>> kr.export.openvino(kr.ResNet20(), "cifar.xml")  # doctest: +SKIP
    """
    library = import_converter("openvino")
    one_of("precision", precision, ("float32", "int8"))
    path = ir_path(path)
    converted = library.convert_model(_serving_function(model).get_concrete_function())
    if precision == "int8":
        images = _single_images(checked_images("calibration", calibration, model.input_shape))
        quantisation = import_converter("nncf")
        converted = quantisation.quantize(
            converted,
            quantisation.Dataset(images),
            subset_size=len(images),
            ignored_scope=quantisation.IgnoredScope(patterns=[f".*{FINITE}.*"]),
        )
    return write_ir(converted, path)


def ir_path(path: str | os.PathLike[str]) -> Path:
    """The path of an XML file, with `~` expanded; its directory is created if it does not exist.

    Raises:
        ValueError: the path does not end in .xml.
    """
    if Path(path).suffix != ".xml":
        raise ValueError(f"path must end in .xml. Received: path={os.fspath(path)!r}")
    return _path_in_directory(path)


def write_ir(converted: Any, path: Path) -> Path:
    """Writes a model of OpenVINO as an XML file and its weights; returns the path.

    Args:
        converted: what `openvino.convert_model` gives.
        path: what `ir_path` gives.
    """
    # Both files are written elsewhere first, so that one that is there already stays if the disk is full.
    with writing(path, RuntimeError), tempfile.TemporaryDirectory(dir=path.parent) as folder:
        complete = Path(folder) / path.name
        import_converter("openvino").save_model(converted, str(complete), compress_to_fp16=False)
        for name in (path.with_suffix(".bin").name, path.name):
            flush_file(complete.with_name(name))
            complete.with_name(name).replace(path.with_name(name))
    return path


def litert(
    model: keras.Model,
    path: str | os.PathLike[str],
    precision: str = "float32",
    calibration: np.ndarray | None = None,
) -> Path:
    """Writes a LiteRT file (formerly TensorFlow Lite), for phones and small computers.

    The file has the signature `serving_default`.

    Args:
        model: a model that `keras_resnet.export.saved_model` accepts.
        path: path of the file; its directory is created if it does not exist.
        precision: "float32" or "int8"; pixels and probabilities are float32 in both. There is no "auto", because the
            file is for other machines than this one.
        calibration: images (N, H, W, C), raw pixels: some hundred images like those that will be classified. Needed
            for "int8".

    Returns:
        `path`.

    Raises:
        ValueError: `precision` is not one of these; `calibration` is missing; or `saved_model` would raise it for the
            model.
        TypeError: `saved_model` would raise it for the model.

    Example:
        >>> import keras_resnet as kr
        >>> kr.export.litert(kr.ResNet20(), "cifar.tflite")  # doctest: +SKIP
    """
    one_of("precision", precision, ("float32", "int8"))
    function, path = _serving_function(model), _path_in_directory(path)
    if precision == "int8":
        images = _single_images(checked_images("calibration", calibration, model.input_shape))
    # Next to the file, so that the error of a full disk is about the disk of that file.
    with writing(path, tf.errors.OpError), tempfile.TemporaryDirectory(dir=path.parent) as directory:
        module = tf.Module()
        module.serve = function  # only functions of a module can be saved
        tf.saved_model.save(module, directory, signatures={"serving_default": function})
        converter = tf.lite.TFLiteConverter.from_saved_model(directory)
        with warnings.catch_warnings():
            # The converter uses its own deprecated interpreter to calibrate.
            warnings.filterwarnings("ignore", ".*tf.lite.Interpreter is deprecated", UserWarning)
            content = _quantised(converter, images) if precision == "int8" else converter.convert()
    with atomic_write(path) as temporary:
        temporary.write_bytes(content)
    return path


def _quantised(converter: tf.lite.TFLiteConverter, images: list[dict[str, np.ndarray]]) -> bytes:
    """A LiteRT file in int8. The operations of `finite_or_nan` stay in float32, because integers have no NaN."""
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: images
    # Of TensorFlow's tools, only this one leaves single operations in float32.
    in_float32 = ["ABS", "LESS", "REDUCE_ALL", "SELECT_V2"]
    options = tf.lite.experimental.QuantizationDebugOptions(denylisted_ops=in_float32)
    debugger = tf.lite.experimental.QuantizationDebugger(
        converter=converter, debug_dataset=lambda: images, debug_options=options
    )
    return debugger.get_nondebug_quantized_model()


def _serving_function(model: keras.Model) -> Any:
    """The TensorFlow function from `image` to `probabilities`, of the network with folded batch norms."""
    check_backend("an export")
    folded = fold_batch_norm(flat_float32(model))
    features, scores = float_features(folded, "float32"), classifier_scores(folded)
    image = tf.TensorSpec(model.input_shape, tf.float32, "image")
    return tf.function(
        lambda image: {"probabilities": finite_or_nan(image, scores(features(image)))},
        input_signature=[image],
        autograph=False,
    )


def _path_in_directory(path: str | os.PathLike[str]) -> Path:
    """`path` with `~` expanded; its directory is created if it does not exist."""
    expanded = Path(path).expanduser()
    with writing(expanded):
        expanded.parent.mkdir(parents=True, exist_ok=True)
    return expanded


def _single_images(images: np.ndarray) -> list[dict[str, np.ndarray]]:
    return [{"image": image[None].astype("float32")} for image in images]


def import_converter(package: str) -> Any:
    """Imports a converter; raises a `ValueError` that says how to install it if it is missing."""
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise ValueError(
            f"this format needs the package {package}: pip install 'keras-resnet-zoo[formats]'. Received: {error}"
        ) from error
