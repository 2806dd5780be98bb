"""Malformed requests: files that are not images, and requests that do not fit the model."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.core.framework.tensor_pb2 import TensorProto

from tests.export.test_images import SOUND, WRONG
from tests.serving.asking import Client, example

FORMATS = ("JPEG", "PNG", "WebP", "GIF")  # with a single picture: a part of such a file is never a complete image
FIRST_BYTES = (b"", b"\xff\xd8\xff\xe0", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"RIFF\x10\x27\0\0WEBPVP8 ", b"BM")


def files(rng: np.random.Generator) -> Iterator[bytes]:
    """Endless: known wrong files, truncated sound files, and random bytes after the first bytes of an image format."""
    while True:
        for content, _ in WRONG.values():
            yield content
            whole = SOUND[str(rng.choice(FORMATS))]
            yield whole[: int(rng.integers(0, len(whole) * 2 // 3))]
            yield FIRST_BYTES[rng.integers(len(FIRST_BYTES))] + rng.bytes(int(rng.integers(0, 3000)))


def _pixels(shape: tuple[int, ...], kind: str = "float32") -> Callable[[Client], object]:
    return lambda client: client.predict("serving_default", {"image": np.zeros(shape, kind)})


def _predict(signature: str, **inputs: Any) -> Callable[[Client], object]:
    return lambda client: client.predict(signature, inputs)


def _post(verb: str, body: Any) -> Callable[[Client], object]:
    return lambda client: client.post(verb, body)


def _misshapen(count: int, *sides: int) -> TensorProto:
    """A tensor with `count` numbers, although its shape needs another number of them."""
    proto = TensorProto(dtype=tf.float32.as_datatype_enum, tensor_content=bytes(4 * count))
    for side in sides:
        proto.tensor_shape.dim.add(size=side)
    return proto


ROW = np.zeros((32, 32, 3)).tolist()
# For a model of 32x32 pixels in colour. The server must refuse each of them as a whole.
REQUESTS: dict[str, Callable[[Client], object]] = {
    "sides of 16": _pixels((2, 16, 16, 3)),
    "sides of 1500": _pixels((1, 1500, 1500, 3)),
    "grey": _pixels((2, 32, 32, 1)),
    "no batch": _pixels((32, 32, 3)),
    "a batch of batches": _pixels((1, 2, 32, 32, 3)),
    "a scalar": _pixels(()),
    "none": _pixels((0, 32, 32, 3)),
    "uint8": _pixels((2, 32, 32, 3), "uint8"),
    "float64": _pixels((2, 32, 32, 3), "float64"),
    "complex": _pixels((2, 32, 32, 3), "complex64"),
    "files as pixels": _predict("serving_default", image=[b"\xff\xd8\xff"]),
    "pixels as files": _predict("serving_bytes", image_bytes=np.zeros((2, 32, 32, 3), "float32")),
    "one file without a list": _predict("serving_bytes", image_bytes=b"GIF89a"),
    "a list of lists": _predict("serving_bytes", image_bytes=[[b"GIF89a"]]),
    "no files": _predict("serving_bytes", image_bytes=tf.make_tensor_proto([], tf.string, (0,))),
    "no input": _predict("serving_bytes"),
    "another input": _predict("serving_bytes", image=np.zeros((1, 32, 32, 3), "float32")),
    "an input too many": _predict("serving_bytes", image_bytes=[b"x"], image=[b"x"]),
    "another signature": _predict("serving", image_bytes=[b"x"]),
    "more in the shape than there is": _predict("serving_default", image=_misshapen(3, 1, 32, 32, 3)),
    "terabytes in the shape": _predict("serving_default", image=_misshapen(3, 2**20, 2**10, 2**10, 3)),
    "a negative side": _predict("serving_default", image=_misshapen(3, -7, 32, 32, 3)),
    "an unknown type": _predict("serving_default", image=TensorProto(dtype=99)),  # type: ignore[arg-type]
    "another version": lambda client: client.predict("serving_default", {"image": [0.0]}, version=10**9),
    "a label that is not there": lambda client: client.predict("serving_default", {"image": [0.0]}, label="stable"),
    "no example": lambda client: client.classify([]),
    "a signature that does not classify": lambda client: client.classify([example()], "serving_default"),
    "bytes for a message": lambda client: client.raw("Predict", b"\xff" * 100),
    "half a message": lambda client: client.raw("Predict", b"\x0a\xff\x7f"),
    "nothing posted": _post(":predict", b""),
    "no JSON": _post(":predict", b'{"instances": ['),
    "bytes for JSON": _post(":predict", b"\xff\xfe\x00\x80"),
    "deep JSON": _post(":predict", b'{"instances": ' + b"[" * 5000),
    "a list for an object": _post(":predict", [1, 2]),
    "no instances": _post(":predict", {"instances": []}),
    "instances and inputs": _post(":predict", {"instances": [ROW], "inputs": [ROW]}),
    "neither": _post(":predict", {"signature_name": "serving_default"}),
    "a name that is no string": _post(":predict", {"signature_name": 7, "instances": [ROW]}),
    "ragged rows": _post(":predict", {"instances": [[1.0, 2.0], [3.0]]}),
    "words for numbers": _post(":predict", {"instances": [[[["a"] * 3]]]}),
    "numbers beyond float32": _post(":predict", {"instances": [[[[1e300] * 3]]]}),
    "no base64": _post(":predict", {"signature_name": "serving_bytes", "instances": [{"b64": "*"}]}),
    "numbers for files": _post(":predict", {"signature_name": "serving_bytes", "instances": [1, 2]}),
    "no examples": _post(":classify", {"signature_name": "classify", "examples": []}),
    "another verb": _post(":regress", {"instances": [ROW]}),
    "another version posted": _post("/versions/999999999:predict", {"instances": [ROW]}),
}
