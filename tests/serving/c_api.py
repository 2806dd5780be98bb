"""Runs a SavedModel in a session of TensorFlow's C++ library, through its C API and without TensorFlow's Python."""

from __future__ import annotations

import ctypes
from collections.abc import Iterable, Mapping
from ctypes import POINTER, c_char_p, c_int, c_int64, c_size_t, c_void_p
from pathlib import Path

import numpy as np
import tensorflow as tf
from tensorflow.core.framework.tensor_pb2 import TensorProto
from tensorflow.core.protobuf.meta_graph_pb2 import MetaGraphDef

LIBRARY = Path(tf.sysconfig.get_lib()) / "libtensorflow_cc.so.2"
TAG = b"serve"
INVALID_ARGUMENT, NOT_FOUND, FAILED_PRECONDITION = 3, 5, 9  # the same codes in TensorFlow and gRPC
STRING_BYTES = 24  # size of a TF_TString


class Buffer(ctypes.Structure):
    _fields_ = [("data", c_void_p), ("length", c_size_t), ("deallocator", c_void_p)]


class Output(ctypes.Structure):
    """TF_Output: an operation, and the index of one of its outputs."""

    _fields_ = [("operation", c_void_p), ("index", c_int)]


# Name: (return type, argument types).
FUNCTIONS = {
    "TF_NewStatus": (c_void_p, []),
    "TF_DeleteStatus": (None, [c_void_p]),
    "TF_GetCode": (c_int, [c_void_p]),
    "TF_Message": (c_char_p, [c_void_p]),
    "TF_NewBuffer": (POINTER(Buffer), []),
    "TF_NewBufferFromString": (POINTER(Buffer), [c_char_p, c_size_t]),
    "TF_DeleteBuffer": (None, [POINTER(Buffer)]),
    "TF_NewGraph": (c_void_p, []),
    "TF_DeleteGraph": (None, [c_void_p]),
    "TF_NewSessionOptions": (c_void_p, []),
    "TF_DeleteSessionOptions": (None, [c_void_p]),
    "TF_LoadSessionFromSavedModel": (
        c_void_p,
        [c_void_p, c_void_p, c_char_p, POINTER(c_char_p), c_int, c_void_p, POINTER(Buffer), c_void_p],
    ),
    "TF_CloseSession": (None, [c_void_p, c_void_p]),
    "TF_DeleteSession": (None, [c_void_p, c_void_p]),
    "TF_GraphOperationByName": (c_void_p, [c_void_p, c_char_p]),
    "TF_SessionRun": (
        None,
        [c_void_p, c_void_p, *2 * [POINTER(Output), POINTER(c_void_p), c_int], c_void_p, c_int, c_void_p, c_void_p],
    ),
    "TF_AllocateTensor": (c_void_p, [c_int, POINTER(c_int64), c_int, c_size_t]),
    "TF_DeleteTensor": (None, [c_void_p]),
    "TF_TensorFromProto": (None, [POINTER(Buffer), c_void_p, c_void_p]),
    "TF_TensorType": (c_int, [c_void_p]),
    "TF_NumDims": (c_int, [c_void_p]),
    "TF_Dim": (c_int64, [c_void_p, c_int]),
    "TF_TensorData": (c_void_p, [c_void_p]),
    "TF_TensorByteSize": (c_size_t, [c_void_p]),
    "TF_StringGetDataPointer": (c_void_p, [c_void_p]),
    "TF_StringGetSize": (c_size_t, [c_void_p]),
}
C = ctypes.CDLL(str(LIBRARY))
for name, (restype, argtypes) in FUNCTIONS.items():
    getattr(C, name).restype, getattr(C, name).argtypes = restype, argtypes


class RequestError(Exception):
    """TensorFlow or the server refuses a request. `code` is a number of `grpc.StatusCode`."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


class Status:
    """Gives a TF_Status to the calls in its block. Raises `RequestError` at the end of the block if a call failed."""

    def __enter__(self) -> c_void_p:
        self.status = c_void_p(C.TF_NewStatus())
        return self.status

    def __exit__(self, *error: object) -> None:
        code, message = C.TF_GetCode(self.status), C.TF_Message(self.status).decode(errors="replace")
        C.TF_DeleteStatus(self.status)
        if code:
            raise RequestError(code, message)


class Model:
    """A loaded SavedModel. It is unloaded when nothing refers to it any more.

    Raises:
        RequestError: it cannot be loaded.
    """

    def __init__(self, directory: Path) -> None:
        self._graph, self._session = c_void_p(C.TF_NewGraph()), None
        options, buffer = C.TF_NewSessionOptions(), C.TF_NewBuffer()
        try:
            with Status() as status:
                self._session = C.TF_LoadSessionFromSavedModel(
                    options, None, bytes(directory), (c_char_p * 1)(TAG), 1, self._graph, buffer, status
                )
            meta_graph = MetaGraphDef.FromString(ctypes.string_at(buffer.contents.data, buffer.contents.length))
        finally:
            C.TF_DeleteBuffer(buffer)
            C.TF_DeleteSessionOptions(options)
        self.signatures = dict(meta_graph.signature_def)

    def __del__(self) -> None:
        for function in (C.TF_CloseSession, C.TF_DeleteSession) if self._session else ():
            with Status() as status:
                function(self._session, status)
        C.TF_DeleteGraph(self._graph)

    def run(self, feeds: Mapping[str, TensorProto], fetches: Iterable[str]) -> list[np.ndarray]:
        """Computes tensors. All names are those of the graph.

        Args:
            feeds: the inputs by tensor name.
            fetches: the names of the tensors to compute.

        Returns:
            The values of the fetches. An array of strings has the dtype object and contains `bytes`.

        Raises:
            RequestError: TensorFlow refuses the inputs or fails to compute the outputs.
        """
        fetches = list(fetches)
        outputs = (c_void_p * len(fetches))()
        inputs = (c_void_p * len(feeds))()
        try:
            for index, proto in enumerate(feeds.values()):
                inputs[index] = _tensor(proto)
            with Status() as status:
                C.TF_SessionRun(
                    *(self._session, None),
                    *(self._graph_outputs(feeds), inputs, len(feeds)),
                    *(self._graph_outputs(fetches), outputs, len(fetches)),
                    *(None, 0, None, status),
                )
            return [_array(output) for output in outputs]
        finally:
            for tensor in (*inputs, *outputs):
                if tensor:
                    C.TF_DeleteTensor(tensor)

    def _graph_outputs(self, names: Iterable[str]) -> ctypes.Array[Output]:
        pairs = [name.rsplit(":", 1) for name in names]
        outputs = [Output(C.TF_GraphOperationByName(self._graph, name.encode()), int(index)) for name, index in pairs]
        return (Output * len(outputs))(*outputs)


def _tensor(proto: TensorProto) -> int:
    content = proto.SerializeToString()
    buffer = C.TF_NewBufferFromString(content, len(content))
    tensor = C.TF_AllocateTensor(tf.float32.as_datatype_enum, None, 0, 4)
    try:
        with Status() as status:
            C.TF_TensorFromProto(buffer, tensor, status)
    except RequestError:
        C.TF_DeleteTensor(tensor)
        raise
    finally:
        C.TF_DeleteBuffer(buffer)
    return tensor


def _array(tensor: int) -> np.ndarray:
    shape = [C.TF_Dim(tensor, axis) for axis in range(C.TF_NumDims(tensor))]
    data, kind = C.TF_TensorData(tensor), tf.as_dtype(C.TF_TensorType(tensor))
    if kind == tf.string:
        count = int(np.prod(shape))
        parts = [data + STRING_BYTES * index for index in range(count)]
        strings = [ctypes.string_at(C.TF_StringGetDataPointer(part), C.TF_StringGetSize(part)) for part in parts]
        return np.array([*strings, None], object)[:-1].reshape(shape)  # None keeps the dtype object
    content = ctypes.string_at(data, C.TF_TensorByteSize(tensor)) if data else b""
    return np.frombuffer(content, kind.as_numpy_dtype).reshape(shape)
