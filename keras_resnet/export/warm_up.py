"""Requests that a server answers before it says that it is ready, so that the first client does not wait.

A session prepares a signature's graph when it is first asked, which takes about a second, and again for each client
that asks meanwhile. So there is a request for every signature: without, a swap of versions under load kept clients
waiting for four seconds, with it for 0.15 (both the 99th percentile, tests/serving/load.py on two cores).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from keras_resnet.export.signatures import IMAGE_KEY

MOST = 32  # images in a request: what the kit's batching.config lets through


def write(images: np.ndarray, model: str, directory: Path) -> None:
    """Writes requests for `serving_default` with one image to all, in powers of two, and one for each other signature.

    Args:
        images: pixels (N, H, W, C); 32 of them at most are sent.
        model: name under which it is served.
        directory: of the version.
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
    requests = [predict("serving_default", "image", pixels[:count]) for count in sorted(counts)]
    requests += [predict("serving_bytes", "image_bytes", files), classify(files), predict("features", "image", pixels)]
    path = directory / "assets.extra" / "tf_serving_warmup_requests"
    path.parent.mkdir(exist_ok=True)
    with tf.io.TFRecordWriter(str(path)) as writer:
        for request in requests:
            writer.write(request.SerializeToString())
