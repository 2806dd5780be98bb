"""Requests that strangers send: files that are no images, and requests that are none of this model's."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.core.framework.tensor_pb2 import TensorProto

from tests.export.test_images import SOUND, WRONG
from tests.serving.asking import Asking, example

CUT = ("JPEG", "PNG", "WebP", "GIF")  # those of one picture, of which no half is whole
MARKS = (b"", b"\xff\xd8\xff\xe0", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"RIFF\x10\x27\0\0WEBPVP8 ", b"BM")


def files(rng: np.random.Generator) -> Iterator[bytes]:
    """Without end: the known ones, sound ones cut short, and bytes at random behind what marks an image."""
    while True:
        for content, _ in WRONG.values():
            yield content
            whole = SOUND[str(rng.choice(CUT))]
            yield whole[: int(rng.integers(0, len(whole) * 2 // 3))]
            yield MARKS[rng.integers(len(MARKS))] + rng.bytes(int(rng.integers(0, 3000)))


def _pixels(shape: tuple[int, ...], kind: str = "float32") -> Callable[[Asking], object]:
    return lambda asking: asking.predict("serving_default", {"image": np.zeros(shape, kind)})


def _named(signature: str, **inputs: Any) -> Callable[[Asking], object]:
    return lambda asking: asking.predict(signature, inputs)


def _posted(verb: str, body: Any) -> Callable[[Asking], object]:
    return lambda asking: asking.post(verb, body)


def _shaped(count: int, *sides: int) -> TensorProto:
    """A tensor that has other bytes than its shape says."""
    proto = TensorProto(dtype=tf.float32.as_datatype_enum, tensor_content=bytes(4 * count))
    for side in sides:
        proto.tensor_shape.dim.add(size=side)
    return proto


ROW = np.zeros((32, 32, 3)).tolist()
# For a model of 32x32 pixels in colour. Each is to be refused as a whole.
REQUESTS: dict[str, Callable[[Asking], object]] = {
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
    "files as pixels": _named("serving_default", image=[b"\xff\xd8\xff"]),
    "pixels as files": _named("serving_bytes", image_bytes=np.zeros((2, 32, 32, 3), "float32")),
    "one file without a list": _named("serving_bytes", image_bytes=b"GIF89a"),
    "a list of lists": _named("serving_bytes", image_bytes=[[b"GIF89a"]]),
    "no files": _named("serving_bytes", image_bytes=tf.make_tensor_proto([], tf.string, (0,))),
    "no input": _named("serving_bytes"),
    "another input": _named("serving_bytes", image=np.zeros((1, 32, 32, 3), "float32")),
    "an input too many": _named("serving_bytes", image_bytes=[b"x"], image=[b"x"]),
    "another signature": _named("serving", image_bytes=[b"x"]),
    "more in the shape than there is": _named("serving_default", image=_shaped(3, 1, 32, 32, 3)),
    "terabytes in the shape": _named("serving_default", image=_shaped(3, 2**20, 2**10, 2**10, 3)),
    "a negative side": _named("serving_default", image=_shaped(3, -7, 32, 32, 3)),
    "an unknown type": _named("serving_default", image=TensorProto(dtype=99)),  # type: ignore[arg-type]
    "another version": lambda asking: asking.predict("serving_default", {"image": [0.0]}, version=10**9),
    "a label that is not there": lambda asking: asking.predict("serving_default", {"image": [0.0]}, label="stable"),
    "no example": lambda asking: asking.classify([]),
    "a signature that does not classify": lambda asking: asking.classify([example()], "serving_default"),
    "bytes for a message": lambda asking: asking.raw("Predict", b"\xff" * 100),
    "half a message": lambda asking: asking.raw("Predict", b"\x0a\xff\x7f"),
    "nothing posted": _posted(":predict", b""),
    "no JSON": _posted(":predict", b'{"instances": ['),
    "bytes for JSON": _posted(":predict", b"\xff\xfe\x00\x80"),
    "deep JSON": _posted(":predict", b'{"instances": ' + b"[" * 5000),
    "a list for an object": _posted(":predict", [1, 2]),
    "no instances": _posted(":predict", {"instances": []}),
    "instances and inputs": _posted(":predict", {"instances": [ROW], "inputs": [ROW]}),
    "neither": _posted(":predict", {"signature_name": "serving_default"}),
    "a name that is no string": _posted(":predict", {"signature_name": 7, "instances": [ROW]}),
    "ragged rows": _posted(":predict", {"instances": [[1.0, 2.0], [3.0]]}),
    "words for numbers": _posted(":predict", {"instances": [[[["a"] * 3]]]}),
    "numbers beyond float32": _posted(":predict", {"instances": [[[[1e300] * 3]]]}),
    "no base64": _posted(":predict", {"signature_name": "serving_bytes", "instances": [{"b64": "*"}]}),
    "numbers for files": _posted(":predict", {"signature_name": "serving_bytes", "instances": [1, 2]}),
    "no examples": _posted(":classify", {"signature_name": "classify", "examples": []}),
    "another verb": _posted(":regress", {"instances": [ROW]}),
    "another version posted": _posted("/versions/999999999:predict", {"instances": [ROW]}),
}
