"""The client that the tests use: the official gRPC stubs, and plain REST."""

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

TIMEOUT = 60.0  # seconds
# Each client has its own connection, like clients on different machines.
OPTIONS = [("grpc.use_local_subchannel_pool", 1), ("grpc.max_receive_message_length", -1)]


class RefusedError(Exception):
    """The server refused a request. `code` is the status, for example "INVALID_ARGUMENT" (gRPC) or "400" (REST)."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class Client:
    """One client of a server, with its own connections."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self._channel = grpc.insecure_channel(server.grpc, OPTIONS)
        self._stub = PredictionServiceStub(self._channel)
        self._session = requests.Session()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self._channel.close()
        self._session.close()

    def predict(
        self, signature: str, inputs: dict[str, Any], version: int | None = None, label: str = ""
    ) -> tuple[int, dict[str, np.ndarray]]:
        """Calls Predict. Inputs are arrays or `TensorProto`s.

        Returns:
            The version that answered, and its outputs by name.
        """
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
        outputs = {name: tf.make_ndarray(proto) for name, proto in response.outputs.items()}
        return response.model_spec.version.value, outputs

    def classify(self, examples: list[tf.train.Example], signature: str = "classify") -> list[list[tuple[str, float]]]:
        """Calls Classify. Returns the classes of each example with their scores."""
        request = ClassificationRequest()
        request.model_spec.name, request.model_spec.signature_name = self.server.name, signature
        request.input.example_list.examples.extend(examples)
        rows = self.call("Classify", request).result.classifications
        return [[(entry.label, entry.score) for entry in row.classes] for row in rows]

    def signatures(self) -> dict[str, Any]:
        """Calls GetModelMetadata. Returns the signatures by name."""
        request = GetModelMetadataRequest(metadata_field=["signature_def"])
        request.model_spec.name = self.server.name
        signatures = SignatureDefMap()
        self.call("GetModelMetadata", request).metadata["signature_def"].Unpack(signatures)
        return dict(signatures.signature_def)

    def call(self, method: str, request: Any) -> Any:
        """Calls a method of the stub.

        Raises:
            RefusedError: the server refuses the request.
        """
        try:
            return getattr(self._stub, method)(request, timeout=TIMEOUT)
        except grpc.RpcError as error:
            raise RefusedError(error.code().name, error.details()) from None

    def raw(self, method: str, content: bytes) -> None:
        """Sends bytes instead of a request message."""
        try:
            self._channel.unary_unary(f"/tensorflow.serving.PredictionService/{method}")(content, timeout=TIMEOUT)
        except grpc.RpcError as error:
            raise RefusedError(error.code().name, error.details()) from None

    def post(self, verb: str, body: dict[str, Any] | bytes) -> dict[str, Any]:
        """Sends a REST request.

        Args:
            verb: `:predict` or `:classify`; a version can precede it: `/versions/1:predict`.
            body: the JSON object, or the bytes to send instead of JSON.

        Raises:
            RefusedError: the server refuses the request.
        """
        content = {"data": body} if isinstance(body, bytes) else {"json": body}
        response = self._session.post(self.server.url + verb, timeout=TIMEOUT, **content)
        if response.status_code != 200:
            raise RefusedError(str(response.status_code), response.json()["error"])
        return response.json()


def b64(content: bytes) -> dict[str, str]:
    """Encodes bytes as TF Serving's REST interface expects them."""
    return {"b64": base64.b64encode(content).decode()}


def example(**features: Any) -> tf.train.Example:
    """A `tf.Example` with this feature as its encoded image. The feature may have another type, or be empty."""
    result = tf.train.Example()
    result.features.feature["image/encoded"].CopyFrom(tf.train.Feature(**features))
    return result


def file_example(content: bytes) -> tf.train.Example:
    """A `tf.Example` with the content of an image file."""
    return example(bytes_list=tf.train.BytesList(value=[content]))
