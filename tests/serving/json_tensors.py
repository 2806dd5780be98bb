"""The JSON of TF Serving's REST interface, to and from tensors: by rows or by columns, bytes as {"b64": ...}."""

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


def invalid(message: str) -> RequestError:
    return RequestError(INVALID_ARGUMENT, message)


def parse(body: bytes) -> dict[str, Any]:
    """The JSON object in the body of a request."""
    if not body:
        raise invalid("JSON Parse error: The document is empty")
    try:
        result = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise invalid(f"JSON Parse error: {type(error).__name__}") from None
    if not isinstance(result, dict) or not isinstance(result.get("signature_name", ""), str):
        raise invalid("JSON Value: Is not object, or its 'signature_name' is no string")
    return result


def tensors(body: Mapping[str, Any], inputs: Mapping[str, TensorInfo]) -> dict[str, TensorProto]:
    """The inputs of a signature, from "instances" (a list of rows) or "inputs" (columns)."""
    if ("instances" in body) == ("inputs" in body):
        raise invalid("Missing 'inputs' or 'instances' key, or both are given")
    if "inputs" in body:
        columns = body["inputs"]
        values = columns if isinstance(columns, dict) and not _is_bytes(columns) else {min(inputs): columns}
        if len(inputs) > len(values):
            raise invalid(f"Missing named input in 'inputs' object: {', '.join(inputs)}")
    else:
        rows = body["instances"]
        if not isinstance(rows, list) or not rows:
            raise invalid("Expecting 'instances' to be a list with values")
        by_name = isinstance(rows[0], dict) and not _is_bytes(rows[0])
        rows = rows if by_name else [{min(inputs): row} for row in rows]
        for index, row in enumerate(rows):
            if not isinstance(row, dict) or set(row) != set(inputs):
                keys = f"keys must be equal to: {','.join(inputs)}"
                raise invalid(f"Failed to process element: {index} of 'instances' list. {keys}")
        values = {name: [row[name] for row in rows] for name in inputs}
    return {name: _tensor(values.get(name), info) for name, info in inputs.items()}


def rows_or_columns(body: Mapping[str, Any], outputs: Mapping[str, TensorProto]) -> dict[str, Any]:
    """The answer to a prediction, in the form of the request. A single output is given without its name."""
    values = {name: _values(name, tf.make_ndarray(proto)) for name, proto in sorted(outputs.items())}
    if "inputs" in body:
        return {"outputs": values if len(values) > 1 else next(iter(values.values()))}
    rows = [dict(zip(values, row)) for row in zip(*values.values(), strict=True)]
    return {"predictions": rows if len(values) > 1 else [next(iter(row.values())) for row in rows]}


def examples(body: Mapping[str, Any]) -> Input:
    """The inputs of a classification, from "examples" and their common features, "context"."""
    entries = body.get("examples")
    if not isinstance(entries, list) or not entries:
        raise invalid("When method is classify, key 'examples' is expected to be a list with values")
    result = Input()
    if "context" in body:
        result.example_list_with_context.context.CopyFrom(_example(body["context"]))
        result.example_list_with_context.examples.extend(map(_example, entries))
    else:
        result.example_list.examples.extend(map(_example, entries))
    return result


def _is_bytes(value: Any) -> bool:
    return isinstance(value, dict) and list(value) == ["b64"] and isinstance(value["b64"], str)


def _bytes(value: Any) -> bytes:
    if isinstance(value, str):
        return value.encode()
    if not _is_bytes(value):
        raise invalid(f"JSON Value of type {type(value).__name__} is not of expected type: string")
    try:
        return base64.b64decode(value["b64"], validate=True)
    except binascii.Error:
        raise invalid("Unable to base64 decode") from None


def _tensor(value: Any, info: TensorInfo) -> TensorProto:
    kind = tf.as_dtype(info.dtype)
    try:
        array = np.array(value, object if kind == tf.string else None)
    except ValueError:
        raise invalid("Encountered list at unexpected size or level") from None
    if kind == tf.string:
        strings = [_bytes(leaf) for leaf in array.ravel()]
        return tf.make_tensor_proto(strings, tf.string, array.shape)
    if array.dtype.kind not in "iuf" and array.size:
        raise invalid(f"JSON Value is not of expected type: {kind.name}")
    if array.size and np.abs(array).max() > np.finfo("float32").max:
        raise invalid("Cannot convert JSON value to float without loss of precision.")
    return tf.make_tensor_proto(array.astype(kind.as_numpy_dtype), kind, array.shape)


def _values(name: str, array: np.ndarray) -> Any:
    if array.dtype != object:
        # For a float32, the shortest decimals that represent it, not those of its float64 value.
        return array.astype(str).astype(float).tolist() if array.dtype == np.float32 else array.tolist()
    text = (lambda leaf: {"b64": base64.b64encode(leaf).decode()}) if name.endswith("_bytes") else bytes.decode
    leaves = np.array([*map(text, array.ravel()), None], object)[:-1]
    return leaves.reshape(array.shape).tolist()


def _example(features: Any) -> tf.train.Example:
    if not isinstance(features, dict):
        raise invalid("Example must be JSON object")
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
            raise invalid(f"Feature: {name} has element with unexpected JSON type")
    return example
