"""The REST side of the replacement, on the loopback interface: predict, classify, status and metadata of a model."""

from __future__ import annotations

import http.server
import json
import re
import threading
from typing import Any

from google.protobuf.json_format import MessageToDict
from tensorflow_serving.apis.classification_pb2 import ClassificationRequest
from tensorflow_serving.apis.get_model_metadata_pb2 import GetModelMetadataRequest
from tensorflow_serving.apis.get_model_status_pb2 import GetModelStatusRequest
from tensorflow_serving.apis.model_pb2 import ModelSpec
from tensorflow_serving.apis.predict_pb2 import PredictRequest

from tests.serving import answers, json_tensors
from tests.serving.c_api import INVALID_ARGUMENT, RequestError
from tests.serving.running import find_signature
from tests.serving.versions import Models

PATH = re.compile(
    r"/v1/models/(?P<name>[^/:]+)(/versions/(?P<version>\d{1,18})|/labels/(?P<label>[^/:]+))?(?P<verb>:\w+|/metadata)?"
)
# The HTTP status for each code of `grpc.StatusCode`; 500 for the others.
STATUS = {3: 400, 4: 504, 5: 404, 6: 409, 7: 403, 8: 429, 9: 400, 10: 409, 11: 400, 12: 501, 14: 503}


def predict(models: Models, spec: ModelSpec, body: bytes) -> dict[str, Any]:
    fields = json_tensors.parse(body)
    spec.signature_name = fields.get("signature_name", "")
    _, model = models.find(spec)
    signature = find_signature(model, spec.signature_name, INVALID_ARGUMENT)
    request = PredictRequest(model_spec=spec, inputs=json_tensors.tensors(fields, signature.inputs))
    return json_tensors.rows_or_columns(fields, answers.predict(models, request).outputs)


def classify(models: Models, spec: ModelSpec, body: bytes) -> dict[str, Any]:
    fields = json_tensors.parse(body)
    spec.signature_name = fields.get("signature_name", "")
    request = ClassificationRequest(model_spec=spec, input=json_tensors.examples(fields))
    rows = answers.classify(models, request).result.classifications
    return {"results": [[[entry.label, entry.score] for entry in row.classes] for row in rows]}


def status(models: Models, spec: ModelSpec, body: bytes) -> dict[str, Any]:
    return _json(answers.status(models, GetModelStatusRequest(model_spec=spec)))


def metadata(models: Models, spec: ModelSpec, body: bytes) -> dict[str, Any]:
    response = answers.metadata(models, GetModelMetadataRequest(model_spec=spec, metadata_field=["signature_def"]))
    return _json(response)


VERBS = {("POST", ":predict"): predict, ("POST", ":classify"): classify, ("GET", None): status}
VERBS["GET", "/metadata"] = metadata


def start(models: Models, port: int) -> http.server.ThreadingHTTPServer:
    """Starts a server in its own thread. It listens until its method `shutdown` is called."""

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        # Head and body fit in one packet. A second packet would wait 40 ms until the first is acknowledged.
        wbufsize = 2**16

        def handle_request(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            try:
                code, result = 200, self.result(body)
            except RequestError as error:
                code, result = STATUS.get(error.code, 500), {"error": str(error)}
            content = json.dumps(result, indent=2).encode()
            self.send_response(code)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def result(self, body: bytes) -> dict[str, Any]:
            match = PATH.fullmatch(self.path)
            verb = VERBS.get((self.command, match["verb"])) if match else None
            if not match or verb is None:
                raise RequestError(INVALID_ARGUMENT, f"Malformed request: {self.command} {self.path}")
            spec = ModelSpec(name=match["name"], version_label=match["label"])
            if match["version"]:
                spec.version.value = int(match["version"])
            return verb(models, spec, body)

        do_GET = do_POST = handle_request  # noqa: N815  (http.server needs these names)

        def log_message(self, *message: object) -> None:
            """Logs nothing: the tests read errors from the responses."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


def _json(message: Any) -> dict[str, Any]:
    return MessageToDict(message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)
