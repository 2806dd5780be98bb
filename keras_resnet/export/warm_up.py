"""Warm-up requests: a server answers them before it reports that a version is available, so no client has to wait.

A session prepares the graph of a signature for its first request. This takes about a second, and is done again for each
client that asks in the meantime. So there is a request for every signature. Without them, clients waited four seconds
when versions were swapped under load; with them 0.15 seconds (both are the 99th percentile, measured with
tests/serving/load.py on two cores).
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from keras_resnet.export.signatures import IMAGE_KEY

MOST = 32  # images in a request: the limit in the kit's batching.config


def write(images: np.ndarray, signatures: Iterable[str], model: str, directory: Path) -> None:
    """Writes requests for `serving_default` with 1, 2, 4 and so on up to all images, and one for each other signature.

    Args:
        images: raw pixels (N, H, W, C), of which at most 32 are used.
        signatures: names of the signatures that the version has.
        model: the name under which the model is served.
        directory: directory of the version.
    """
    from tensorflow_serving.apis import classification_pb2, predict_pb2, prediction_log_pb2  # noqa: PLC0415

    def predict(signature: str, name: str, value: Any) -> prediction_log_pb2.PredictionLog:
        request = predict_pb2.PredictRequest()
        request.model_spec.name, request.model_spec.signature_name = model, signature
        request.inputs[name].CopyFrom(tf.make_tensor_proto(value))
        return prediction_log_pb2.PredictionLog(predict_log=prediction_log_pb2.PredictLog(request=request))

    def classify(files: list[bytes]) -> prediction_log_pb2.PredictionLog:
        request = classification_pb2.ClassificationRequest()
        request.model_spec.name, request.model_spec.signature_name = model, "classify"
        for file in files:
            request.input.example_list.examples.add().features.feature[IMAGE_KEY].bytes_list.value.append(file)
        return prediction_log_pb2.PredictionLog(classify_log=prediction_log_pb2.ClassifyLog(request=request))

    images = images[:MOST]
    pixels = images.astype("float32")
    files = [tf.io.encode_png(image).numpy() for image in np.clip(images, 0, 255).astype("uint8")]
    counts = {2**power for power in range(len(images).bit_length())} | {len(images)}
    requests = {
        "serving_default": [predict("serving_default", "image", pixels[:count]) for count in sorted(counts)],
        "serving_bytes": [predict("serving_bytes", "image_bytes", files)],
        "classify": [classify(files)],
        "features": [predict("features", "image", pixels)],
        "explain": [predict("explain", "image_bytes", files)],
    }
    path = directory / "assets.extra" / "tf_serving_warmup_requests"
    path.parent.mkdir(exist_ok=True)
    with tf.io.TFRecordWriter(str(path)) as writer:
        for signature in signatures:
            for request in requests[signature]:
                writer.write(request.SerializeToString())
