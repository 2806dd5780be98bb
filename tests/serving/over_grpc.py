"""The gRPC side of the replacement: the official services, on the loopback interface."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
from tensorflow_serving.apis import model_service_pb2_grpc, prediction_service_pb2_grpc

from tests.serving import answers
from tests.serving.c_api import RequestError
from tests.serving.versions import Models

CODES = {code.value[0]: code for code in grpc.StatusCode}
THREADS = 16
LONGEST_MESSAGE = 2**31 - 1  # as in TF Serving


def start(models: Models, port: int) -> grpc.Server:
    """Starts a server, which listens until its method `stop` is called."""

    def handler(function: Callable[[Models, Any], Any]) -> Callable[[Any, grpc.ServicerContext], Any]:
        def handle(request: Any, context: grpc.ServicerContext) -> Any:
            try:
                return function(models, request)
            except RequestError as error:
                code, message = CODES[error.code], str(error)
            return context.abort(code, message)

        return handle

    prediction = prediction_service_pb2_grpc.PredictionServiceServicer()
    prediction.Predict = handler(answers.predict)
    prediction.Classify = handler(answers.classify)
    prediction.GetModelMetadata = handler(answers.metadata)
    service = model_service_pb2_grpc.ModelServiceServicer()
    service.GetModelStatus = handler(answers.status)
    options = [("grpc.max_receive_message_length", LONGEST_MESSAGE), ("grpc.max_send_message_length", LONGEST_MESSAGE)]
    server = grpc.server(ThreadPoolExecutor(THREADS), options=options)
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(prediction, server)
    model_service_pb2_grpc.add_ModelServiceServicer_to_server(service, server)
    server.add_insecure_port(f"127.0.0.1:{port}")
    server.start()
    return server
