"""A client of the tests: the official stubs, and plain REST."""

from __future__ import annotations

import base64
from typing import Any

import grpc
import numpy as np
import requests
import tensorflow as tf
from tensorflow.core.framework.tensor_pb2 import TensorProto
from tensorflow_serving.apis.classification_pb2 import ClassificationRequest
from tensorflow_serving.apis.get_model_metadata_pb2 import GetModelMetadataRequest, SignatureDefMap
from tensorflow_serving.apis.predict_pb2 import PredictRequest
from tensorflow_serving.apis.prediction_service_pb2_grpc import PredictionServiceStub

from tests.serving.process import Server

SECONDS = 60.0
# A connection of its own for each client, as clients on other machines have.
OPTIONS = [("grpc.use_local_subchannel_pool", 1), ("grpc.max_receive_message_length", -1)]


class RefusedError(Exception):
    """What a server has against a request: its code, "INVALID_ARGUMENT" or "400" say, and why."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class Asking:
    """One client of a server."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self._channel = grpc.insecure_channel(server.grpc, OPTIONS)
        self._stub = PredictionServiceStub(self._channel)
        self._session = requests.Session()

    def __enter__(self) -> Asking:
        return self

    def __exit__(self, *_: object) -> None:
        self._channel.close()
        self._session.close()

    def predict(
        self, signature: str, inputs: dict[str, Any], version: int | None = None, label: str = ""
    ) -> tuple[int, dict[str, np.ndarray]]:
        """Predict: the version that answered, and its outputs; inputs are arrays or `TensorProto`s."""
        request = PredictRequest()
        request.model_spec.name, request.model_spec.signature_name = self.server.name, signature
        if version is not None:
            request.model_spec.version.value = version
        elif label:
            request.model_spec.version_label = label
        for name, value in inputs.items():
            proto = value if isinstance(value, TensorProto) else tf.make_tensor_proto(value)
            request.inputs[name].CopyFrom(proto)
        response = self.call("Predict", request)
        found = {name: tf.make_ndarray(proto) for name, proto in response.outputs.items()}
        return response.model_spec.version.value, found

    def classify(self, examples: list[tf.train.Example], signature: str = "classify") -> list[list[tuple[str, float]]]:
        """Classify: for each example its classes and their scores."""
        request = ClassificationRequest()
        request.model_spec.name, request.model_spec.signature_name = self.server.name, signature
        request.input.example_list.examples.extend(examples)
        rows = self.call("Classify", request).result.classifications
        return [[(entry.label, entry.score) for entry in row.classes] for row in rows]

    def signatures(self) -> dict[str, Any]:
        """GetModelMetadata: the signatures by their names."""
        request = GetModelMetadataRequest(metadata_field=["signature_def"])
        request.model_spec.name = self.server.name
        found = SignatureDefMap()
        self.call("GetModelMetadata", request).metadata["signature_def"].Unpack(found)
        return dict(found.signature_def)

    def call(self, method: str, request: Any) -> Any:
        """A method of the stub.

        Raises:
            RefusedError: by the server.
        """
        try:
            return getattr(self._stub, method)(request, timeout=SECONDS)
        except grpc.RpcError as error:
            raise RefusedError(error.code().name, error.details()) from None

    def raw(self, method: str, content: bytes) -> None:
        """Sends bytes in place of a request."""
        try:
            self._channel.unary_unary(f"/tensorflow.serving.PredictionService/{method}")(content, timeout=SECONDS)
        except grpc.RpcError as error:
            raise RefusedError(error.code().name, error.details()) from None

    def post(self, verb: str, body: dict[str, Any] | bytes) -> dict[str, Any]:
        """REST: `:predict` or `:classify`, perhaps with a version before it.

        Raises:
            RefusedError: by the server.
        """
        sent = {"data": body} if isinstance(body, bytes) else {"json": body}
        response = self._session.post(self.server.url + verb, timeout=SECONDS, **sent)
        if response.status_code != 200:
            raise RefusedError(str(response.status_code), response.json()["error"])
        return response.json()


def b64(content: bytes) -> dict[str, str]:
    """Bytes as REST wants them."""
    return {"b64": base64.b64encode(content).decode()}


def example(**features: Any) -> tf.train.Example:
    """A `tf.Example` with an encoded image, or with what is no such."""
    made = tf.train.Example()
    made.features.feature["image/encoded"].CopyFrom(tf.train.Feature(**features))
    return made


def of_file(content: bytes) -> tf.train.Example:
    """A `tf.Example` with a file."""
    return example(bytes_list=tf.train.BytesList(value=[content]))
