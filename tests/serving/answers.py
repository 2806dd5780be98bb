"""What a request gets, as messages of the official stubs; both gRPC and REST ask here."""

from __future__ import annotations

from collections.abc import Iterable

import tensorflow as tf
from tensorflow.core.protobuf.meta_graph_pb2 import SignatureDef
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    input_pb2,
    model_pb2,
    predict_pb2,
)

from tests.serving.c_api import Model, RequestError
from tests.serving.versions import FAILED_PRECONDITION, INVALID_ARGUMENT, Models

DEFAULT = "serving_default"


def signature_of(model: Model, name: str, code: int = FAILED_PRECONDITION) -> SignatureDef:
    """The signature of a name, or the default one for none."""
    if (name or DEFAULT) not in model.signatures:
        raise RequestError(code, f'Serving signature key "{name or DEFAULT}" not found.')
    return model.signatures[name or DEFAULT]


def predict(models: Models, request: predict_pb2.PredictRequest) -> predict_pb2.PredictResponse:
    """Runs a signature."""
    number, model = models.find(request.model_spec)
    signature = signature_of(model, request.model_spec.signature_name)
    given, taken = set(request.inputs), set(signature.inputs)
    if given != taken:
        raise RequestError(
            INVALID_ARGUMENT,
            f"input size does not match signature: {len(given)}!={len(taken)} len({_set(given)}) != len({_set(taken)}). "
            f"Sent extra: {_set(given - taken)}. Missing but required: {_set(taken - given)}.",
        )
    wanted = list(request.output_filter) or list(signature.outputs)
    for name in wanted:
        if name not in signature.outputs:
            known = f"Outputs expected to be in the set {_set(signature.outputs)}."
            raise RequestError(INVALID_ARGUMENT, f"output tensor alias not found in signature: {name} {known}")
    feeds = {signature.inputs[name].name: tensor for name, tensor in request.inputs.items()}
    found = model.run(feeds, [signature.outputs[name].name for name in wanted])
    response = predict_pb2.PredictResponse(model_spec=_spec(request.model_spec, number))
    for name, array in zip(wanted, found, strict=True):
        response.outputs[name].CopyFrom(tf.make_tensor_proto(array, signature.outputs[name].dtype, array.shape))
    return response


def classify(
    models: Models, request: classification_pb2.ClassificationRequest
) -> classification_pb2.ClassificationResponse:
    """Runs a signature from `tf.Example`s to classes and scores."""
    number, model = models.find(request.model_spec)
    signature = signature_of(model, request.model_spec.signature_name, INVALID_ARGUMENT)
    if set(signature.inputs) != {"inputs"} or set(signature.outputs) != {"classes", "scores"}:
        raise RequestError(FAILED_PRECONDITION, "Expected classification signature from inputs to classes and scores")
    examples = [example.SerializeToString() for example in _examples(request.input)]
    if not examples:
        raise RequestError(INVALID_ARGUMENT, "Input is empty.")
    classes, scores = model.run(
        {signature.inputs["inputs"].name: tf.make_tensor_proto(examples)},
        [signature.outputs[name].name for name in ("classes", "scores")],
    )
    response = classification_pb2.ClassificationResponse(model_spec=_spec(request.model_spec, number))
    for labels, values in zip(classes, scores, strict=True):
        row = response.result.classifications.add()
        for label, value in zip(labels, values, strict=True):
            row.classes.add(label=label.decode(), score=value)
    return response


def metadata(
    models: Models, request: get_model_metadata_pb2.GetModelMetadataRequest
) -> get_model_metadata_pb2.GetModelMetadataResponse:
    """The signatures of a model."""
    if list(request.metadata_field) != ["signature_def"]:
        raise RequestError(INVALID_ARGUMENT, "GetModelMetadataRequest must specify at least one metadata_field")
    number, model = models.find(request.model_spec)
    signatures = get_model_metadata_pb2.SignatureDefMap()
    for name, signature in model.signatures.items():
        signatures.signature_def[name].CopyFrom(signature)
    response = get_model_metadata_pb2.GetModelMetadataResponse(model_spec=_spec(request.model_spec, number))
    response.metadata["signature_def"].Pack(signatures)
    return response


def status(
    models: Models, request: get_model_status_pb2.GetModelStatusRequest
) -> get_model_status_pb2.GetModelStatusResponse:
    """The states of a model's versions."""
    return get_model_status_pb2.GetModelStatusResponse(model_version_status=models.states(request.model_spec))


def _spec(asked: model_pb2.ModelSpec, number: int) -> model_pb2.ModelSpec:
    spec = model_pb2.ModelSpec(name=asked.name, signature_name=asked.signature_name or DEFAULT)
    spec.version.value = number
    return spec


def _examples(given: input_pb2.Input) -> Iterable[tf.train.Example]:
    if given.WhichOneof("kind") != "example_list_with_context":
        return given.example_list.examples
    listed = given.example_list_with_context
    merged = [tf.train.Example.FromString(example.SerializeToString()) for example in listed.examples]
    for example in merged:
        example.MergeFrom(listed.context)
    return merged


def _set(names: Iterable[str]) -> str:
    return "{" + ",".join(sorted(names)) + "}"
