"""Detectors as OpenVINO IR."""

from __future__ import annotations

import functools
import os
from pathlib import Path

import keras
import tensorflow as tf

from keras_resnet.detection.design import Design
from keras_resnet.detection.export import answer_for_pixels, detect_function
from keras_resnet.detection.faster_rcnn import check_design
from keras_resnet.detection.nms import greedy
from keras_resnet.detection.resizing import exact_sides_in_graph
from keras_resnet.export.checks import check_backend
from keras_resnet.export.formats import import_converter, ir_path, write_ir


def openvino(detector: keras.Model, design: Design, path: str | os.PathLike[str]) -> Path:
    """Writes a detector as OpenVINO IR: an XML file, and next to it the weights in a file that ends in .bin.

    The input is `image`, raw pixels of images of one size, float32 (N, H, W, C), of any size. The outputs are those of
    `saved_model` without names of classes: `detection_boxes`, `detection_classes`, `detection_scores` and
    `num_detections`. Load the file with `INFERENCE_PRECISION_HINT` "f32": OpenVINO prefers bfloat16 on CPUs that have
    it, in which coordinates above 512 are multiples of 4. OpenVINO does not compute in
    float64: one image size in 20 is resized to a pixel more than in Keras, and its boxes differ by a part of a pixel.

    Args:
        detector: a model of `FasterRCNN`.
        design: its design: `shorter` and `longer` say how images are resized.
        path: path of the XML file; its directory is created if it does not exist.

    Returns:
        `path`.

    Raises:
        ValueError: openvino is not installed, the backend is not TensorFlow, the model is no detector, or the path
            does not end in .xml.

    Example:
        >>> from keras_resnet.detection import create_detector, design_of, openvino
        >>> detector = create_detector("fasterrcnn_resnet50_fpn", weights="coco")  # doctest: +SKIP
        >>> openvino(detector, design_of("fasterrcnn_resnet50_fpn"), "coco.xml")  # doctest: +SKIP
    """
    check_backend("an export")
    library = import_converter("openvino")
    check_design(detector, design)
    path = ir_path(path)
    detect = detect_function(detector, suppress=greedy)
    sides = functools.partial(exact_sides_in_graph, shorter=design.shorter, longer=design.longer)
    image = tf.TensorSpec((None, None, None, detector.input["images"].shape[-1]), tf.float32, "image")
    function = tf.function(
        lambda image: answer_for_pixels(detect, sides, image), input_signature=[image], autograph=False
    )
    return write_ir(library.convert_model(function.get_concrete_function()), path)
