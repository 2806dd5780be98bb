"""The response to each kind of request, as messages of the official stubs. gRPC and REST both use these functions."""

from __future__ import annotations

from tensorflow_serving.apis.classification_pb2 import ClassificationRequest, ClassificationResponse
from tensorflow_serving.apis.get_model_metadata_pb2 import (
    GetModelMetadataRequest,
    GetModelMetadataResponse,
    SignatureDefMap,
)
from tensorflow_serving.apis.get_model_status_pb2 import GetModelStatusRequest, GetModelStatusResponse
from tensorflow_serving.apis.model_pb2 import ModelSpec
from tensorflow_serving.apis.predict_pb2 import PredictRequest, PredictResponse

from tests.serving.c_api import INVALID_ARGUMENT, RequestError
from tests.serving.running import DEFAULT, run_classify, run_predict
from tests.serving.versions import Models


def predict(models: Models, request: PredictRequest) -> PredictResponse:
    """Runs a signature."""
    number, model = models.find(request.model_spec)
    outputs = run_predict(model, request)
    return PredictResponse(model_spec=_spec(request.model_spec, number), outputs=outputs)


def classify(models: Models, request: ClassificationRequest) -> ClassificationResponse:
    """Runs a signature that maps `tf.Example`s to classes and scores."""
    number, model = models.find(request.model_spec)
    return ClassificationResponse(model_spec=_spec(request.model_spec, number), result=run_classify(model, request))


def metadata(models: Models, request: GetModelMetadataRequest) -> GetModelMetadataResponse:
    """The signatures of a model."""
    if list(request.metadata_field) != ["signature_def"]:
        raise RequestError(INVALID_ARGUMENT, "GetModelMetadataRequest must specify at least one metadata_field")
    number, model = models.find(request.model_spec)
    response = GetModelMetadataResponse(model_spec=_spec(request.model_spec, number))
    response.metadata["signature_def"].Pack(SignatureDefMap(signature_def=model.signatures))
    return response


def status(models: Models, request: GetModelStatusRequest) -> GetModelStatusResponse:
    """The states of a model's versions."""
    return GetModelStatusResponse(model_version_status=models.states(request.model_spec))


def _spec(requested: ModelSpec, number: int) -> ModelSpec:
    spec = ModelSpec(name=requested.name, signature_name=requested.signature_name or DEFAULT)
    spec.version.value = number
    return spec
