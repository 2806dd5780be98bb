"""JSON as TF Serving's REST interface takes and gives it: tensors by rows or by columns, bytes as {"b64": ...}."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.core.framework.tensor_pb2 import TensorProto
from tensorflow.core.protobuf.meta_graph_pb2 import TensorInfo
from tensorflow_serving.apis.input_pb2 import Input

from tests.serving.c_api import INVALID_ARGUMENT, RequestError


def wrong(message: str) -> RequestError:
    return RequestError(INVALID_ARGUMENT, message)


def parsed(body: bytes) -> dict[str, Any]:
    """The object that a request's body is."""
    if not body:
        raise wrong("JSON Parse error: The document is empty")
    try:
        found = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise wrong(f"JSON Parse error: {type(error).__name__}") from None
    if not isinstance(found, dict) or not isinstance(found.get("signature_name", ""), str):
        raise wrong("JSON Value: Is not object, or its 'signature_name' is no string")
    return found


def tensors(body: Mapping[str, Any], inputs: Mapping[str, TensorInfo]) -> dict[str, TensorProto]:
    """The inputs of a signature, from "instances" (a list of rows) or "inputs" (columns)."""
    if ("instances" in body) == ("inputs" in body):
        raise wrong("Missing 'inputs' or 'instances' key, or both are there")
    if "inputs" in body:
        columns = body["inputs"]
        named = columns if isinstance(columns, dict) and not _is_bytes(columns) else {min(inputs): columns}
        if len(inputs) > len(named):
            raise wrong(f"Missing named input in 'inputs' object: {', '.join(inputs)}")
    else:
        rows = body["instances"]
        if not isinstance(rows, list) or not rows:
            raise wrong("Expecting 'instances' to be a list with values")
        by_name = isinstance(rows[0], dict) and not _is_bytes(rows[0])
        rows = rows if by_name else [{min(inputs): row} for row in rows]
        for place, row in enumerate(rows):
            if not isinstance(row, dict) or set(row) != set(inputs):
                keys = f"keys must be equal to: {','.join(inputs)}"
                raise wrong(f"Failed to process element: {place} of 'instances' list. {keys}")
        named = {name: [row[name] for row in rows] for name in inputs}
    return {name: _tensor(named.get(name), info) for name, info in inputs.items()}


def rows_or_columns(body: Mapping[str, Any], outputs: Mapping[str, TensorProto]) -> dict[str, Any]:
    """The answer to a prediction, in the form of the request; a single output goes without its name."""
    values = {name: _values(name, tf.make_ndarray(proto)) for name, proto in sorted(outputs.items())}
    if "inputs" in body:
        return {"outputs": values if len(values) > 1 else next(iter(values.values()))}
    rows = [dict(zip(values, row)) for row in zip(*values.values(), strict=True)]
    return {"predictions": rows if len(values) > 1 else [next(iter(row.values())) for row in rows]}


def examples(body: Mapping[str, Any]) -> Input:
    """What is to be classified, from "examples" and what they have in common, "context"."""
    listed = body.get("examples")
    if not isinstance(listed, list) or not listed:
        raise wrong("When method is classify, key 'examples' is expected to be a list with values")
    found = Input()
    if "context" in body:
        found.example_list_with_context.context.CopyFrom(_example(body["context"]))
        found.example_list_with_context.examples.extend(map(_example, listed))
    else:
        found.example_list.examples.extend(map(_example, listed))
    return found


def _is_bytes(value: Any) -> bool:
    return isinstance(value, dict) and list(value) == ["b64"] and isinstance(value["b64"], str)


def _bytes(value: Any) -> bytes:
    if isinstance(value, str):
        return value.encode()
    if not _is_bytes(value):
        raise wrong(f"JSON Value of type {type(value).__name__} is not of expected type: string")
    try:
        return base64.b64decode(value["b64"], validate=True)
    except binascii.Error:
        raise wrong("Unable to base64 decode") from None


def _tensor(value: Any, info: TensorInfo) -> TensorProto:
    kind = tf.as_dtype(info.dtype)
    try:
        array = np.array(value, object if kind == tf.string else None)
    except ValueError:
        raise wrong("Encountered list at unexpected size or level") from None
    if kind == tf.string:
        strings = [_bytes(leaf) for leaf in array.ravel()]
        return tf.make_tensor_proto(strings, tf.string, array.shape)
    if array.dtype.kind not in "iuf" and array.size:
        raise wrong(f"JSON Value is not of expected type: {kind.name}")
    if array.size and np.abs(array).max() > np.finfo("float32").max:
        raise wrong("Cannot convert JSON value to float without loss of precision.")
    return tf.make_tensor_proto(array.astype(kind.as_numpy_dtype), kind, array.shape)


def _values(name: str, array: np.ndarray) -> Any:
    if array.dtype != object:
        # Of a float32 the shortest decimals that stand for it, not those of the float64 that it becomes.
        return array.astype(str).astype(float).tolist() if array.dtype == np.float32 else array.tolist()
    text = (lambda leaf: {"b64": base64.b64encode(leaf).decode()}) if name.endswith("_bytes") else bytes.decode
    leaves = np.array([*map(text, array.ravel()), None], object)[:-1]
    return leaves.reshape(array.shape).tolist()


def _example(features: Any) -> tf.train.Example:
    if not isinstance(features, dict):
        raise wrong("Example must be JSON object")
    example = tf.train.Example()
    for name, content in features.items():
        leaves = content if isinstance(content, list) else [content]
        feature = example.features.feature[name]
        if all(isinstance(leaf, (str, dict)) for leaf in leaves):
            feature.bytes_list.value.extend(map(_bytes, leaves))
        elif all(isinstance(leaf, int) for leaf in leaves):
            feature.int64_list.value.extend(leaves)
        elif all(isinstance(leaf, float) for leaf in leaves):
            feature.float_list.value.extend(leaves)
        else:
            raise wrong(f"Feature: {name} has element with unexpected JSON type")
    return example
