"""Runs the requests of the official stubs on one model."""

from __future__ import annotations

from collections.abc import Iterable

import tensorflow as tf
from tensorflow.core.framework.tensor_pb2 import TensorProto
from tensorflow.core.protobuf.meta_graph_pb2 import SignatureDef
from tensorflow_serving.apis.classification_pb2 import ClassificationRequest, ClassificationResult
from tensorflow_serving.apis.input_pb2 import Input
from tensorflow_serving.apis.predict_pb2 import PredictRequest

from tests.serving.c_api import FAILED_PRECONDITION, INVALID_ARGUMENT, Model, RequestError

DEFAULT = "serving_default"


def find_signature(model: Model, name: str, code: int = FAILED_PRECONDITION) -> SignatureDef:
    """The signature with this name; the default signature if the name is empty."""
    if (name or DEFAULT) not in model.signatures:
        raise RequestError(code, f'Serving signature key "{name or DEFAULT}" not found.')
    return model.signatures[name or DEFAULT]


def run_predict(model: Model, request: PredictRequest) -> dict[str, TensorProto]:
    """Computes the requested outputs, or all outputs if the request names none."""
    signature = find_signature(model, request.model_spec.signature_name)
    given, expected = set(request.inputs), set(signature.inputs)
    if given != expected:
        raise RequestError(
            INVALID_ARGUMENT,
            f"input size does not match signature: {len(given)}!={len(expected)} len({_set(given)})"
            f" != len({_set(expected)})."
            f" Sent extra: {_set(given - expected)}. Missing but required: {_set(expected - given)}.",
        )
    names = list(request.output_filter) or list(signature.outputs)
    for name in names:
        if name not in signature.outputs:
            known = f"Outputs expected to be in the set {_set(signature.outputs)}."
            raise RequestError(INVALID_ARGUMENT, f"output tensor alias not found in signature: {name} {known}")
    feeds = {signature.inputs[name].name: tensor for name, tensor in request.inputs.items()}
    arrays = model.run(feeds, [signature.outputs[name].name for name in names])
    return {
        name: tf.make_tensor_proto(array, signature.outputs[name].dtype, array.shape)
        for name, array in zip(names, arrays, strict=True)
    }


def run_classify(model: Model, request: ClassificationRequest) -> ClassificationResult:
    """Computes the classes and scores of `tf.Example`s."""
    signature = find_signature(model, request.model_spec.signature_name, INVALID_ARGUMENT)
    if set(signature.inputs) != {"inputs"} or set(signature.outputs) != {"classes", "scores"}:
        raise RequestError(FAILED_PRECONDITION, "Expected classification signature from inputs to classes and scores")
    examples = [example.SerializeToString() for example in _examples(request.input)]
    if not examples:
        raise RequestError(INVALID_ARGUMENT, "Input is empty.")
    classes, scores = model.run(
        {signature.inputs["inputs"].name: tf.make_tensor_proto(examples)},
        [signature.outputs[name].name for name in ("classes", "scores")],
    )
    result = ClassificationResult()
    for labels, values in zip(classes, scores, strict=True):
        row = result.classifications.add()
        for label, value in zip(labels, values, strict=True):
            row.classes.add(label=label.decode(), score=value)
    return result


def _examples(content: Input) -> Iterable[tf.train.Example]:
    if content.WhichOneof("kind") != "example_list_with_context":
        return content.example_list.examples
    with_context = content.example_list_with_context
    merged = [tf.train.Example.FromString(example.SerializeToString()) for example in with_context.examples]
    for example in merged:
        example.MergeFrom(with_context.context)
    return merged


def _set(names: Iterable[str]) -> str:
    return "{" + ",".join(sorted(names)) + "}"
