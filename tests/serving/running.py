"""Requests of the official stubs, run on one model by its signatures."""

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


def signature_of(model: Model, name: str, code: int = FAILED_PRECONDITION) -> SignatureDef:
    """The signature of a name, or the default one for none."""
    if (name or DEFAULT) not in model.signatures:
        raise RequestError(code, f'Serving signature key "{name or DEFAULT}" not found.')
    return model.signatures[name or DEFAULT]


def predicted(model: Model, request: PredictRequest) -> dict[str, TensorProto]:
    """The outputs that are asked for, or all."""
    signature = signature_of(model, request.model_spec.signature_name)
    given, taken = set(request.inputs), set(signature.inputs)
    if given != taken:
        raise RequestError(
            INVALID_ARGUMENT,
            f"input size does not match signature: {len(given)}!={len(taken)} len({_set(given)}) != len({_set(taken)})."
            f" Sent extra: {_set(given - taken)}. Missing but required: {_set(taken - given)}.",
        )
    wanted = list(request.output_filter) or list(signature.outputs)
    for name in wanted:
        if name not in signature.outputs:
            known = f"Outputs expected to be in the set {_set(signature.outputs)}."
            raise RequestError(INVALID_ARGUMENT, f"output tensor alias not found in signature: {name} {known}")
    feeds = {signature.inputs[name].name: tensor for name, tensor in request.inputs.items()}
    found = model.run(feeds, [signature.outputs[name].name for name in wanted])
    return {
        name: tf.make_tensor_proto(array, signature.outputs[name].dtype, array.shape)
        for name, array in zip(wanted, found, strict=True)
    }


def classified(model: Model, request: ClassificationRequest) -> ClassificationResult:
    """Classes and scores of `tf.Example`s."""
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
    result = ClassificationResult()
    for labels, values in zip(classes, scores, strict=True):
        row = result.classifications.add()
        for label, value in zip(labels, values, strict=True):
            row.classes.add(label=label.decode(), score=value)
    return result


def _examples(given: Input) -> Iterable[tf.train.Example]:
    if given.WhichOneof("kind") != "example_list_with_context":
        return given.example_list.examples
    listed = given.example_list_with_context
    merged = [tf.train.Example.FromString(example.SerializeToString()) for example in listed.examples]
    for example in merged:
        example.MergeFrom(listed.context)
    return merged


def _set(names: Iterable[str]) -> str:
    return "{" + ",".join(sorted(names)) + "}"
