"""Requests that a server answers before it says that it is ready, so that the first client does not wait."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import tensorflow as tf

MOST = 1000  # TF Serving reads no more


def write(images: np.ndarray, model: str, directory: Path) -> None:
    """Writes a request for `serving_default` with each number of images from one to all, in powers of two.

    Args:
        images: pixels (N, H, W, C).
        model: name under which it is served.
        directory: of the version.
    """
    from tensorflow_serving.apis import predict_pb2, prediction_log_pb2  # noqa: PLC0415

    path = directory / "assets.extra" / "tf_serving_warmup_requests"
    path.parent.mkdir(exist_ok=True)
    counts = [2**power for power in range(len(images).bit_length())]
    with tf.io.TFRecordWriter(str(path)) as writer:
        for count in sorted({*counts, len(images)} - {0})[:MOST]:
            request = predict_pb2.PredictRequest()
            request.model_spec.name = model
            request.model_spec.signature_name = "serving_default"
            request.inputs["image"].CopyFrom(tf.make_tensor_proto(images[:count].astype("float32")))
            log = prediction_log_pb2.PredictionLog(predict_log=prediction_log_pb2.PredictLog(request=request))
            writer.write(log.SerializeToString())
