"""Client for image files: asks a server of an export of this package, a classifier or a detector, by gRPC or REST.

gRPC uses TF Serving's official stubs, which need TensorFlow. REST needs only `requests`.
"""

from __future__ import annotations

import base64
import contextlib
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Generic, NamedTuple, NoReturn, TypeVar
from urllib.parse import quote

import requests

SIGNATURE = "serving_bytes"
MOST_FILES = 8  # files in one request
# Bytes in one request of several files. A server may refuse a larger request, and a network may be slow to send it.
MOST_BYTES = 2**24
ADDRESS = re.compile(r"https?://[^/\s]+/?|[^/\s]+:\d+")


T = TypeVar("T")


class Guess(NamedTuple):
    """The most probable classes of an image.

    Attributes:
        classes: names of the classes; the most probable class is first.
        scores: probabilities of these classes, in the same order.
    """

    classes: tuple[str, ...]
    scores: tuple[float, ...]


class FoundObjects(NamedTuple):
    """The objects in an image, the most certain one first.

    Attributes:
        boxes: top, left, bottom and right of each, from 0 to 1, as parts of the image's height and width.
        classes: names of their classes.
        scores: their probabilities.
    """

    boxes: tuple[tuple[float, ...], ...]
    classes: tuple[str, ...]
    scores: tuple[float, ...]


class Form(NamedTuple, Generic[T]):
    """What an export answers for each file.

    Attributes:
        outputs: names of the outputs that are asked for.
        read: function from an image's part of each output to what the caller gets.
    """

    outputs: tuple[str, ...]
    read: Callable[..., T]


def _guess(classes: list[str], scores: list[float]) -> Guess:
    return Guess(tuple(classes), tuple(scores))


def _objects(boxes: list[list[float]], classes: list[str], scores: list[float], count: int) -> FoundObjects:
    return FoundObjects(tuple(map(tuple, boxes[:count])), tuple(classes[:count]), tuple(scores[:count]))


CLASSIFIER = Form(("classes", "scores"), _guess)
DETECTOR = Form(("detection_boxes", "detection_class_names", "detection_scores", "num_detections"), _objects)


class _RefusedError(ValueError):
    """The server refused a request as invalid. The cause may be one of the images in it."""


Send = Callable[
    [Sequence[bytes]], list[Any]
]  # contents of files -> for each one what `Form.read` gives, or an error text
Connect = Callable[[str, str, "str | None", float, Form[Any]], AbstractContextManager[Send]]


def ask(
    files: Iterable[Path], server: str, model: str, *, label: str | None = None, timeout: float = 30.0
) -> Iterator[tuple[Path, Guess | ValueError]]:
    """Asks a server for the classes of image files. An invalid file does not affect the answers for the others.

    Args:
        files: paths of JPEG, PNG, WebP or GIF files.
        server: "HOST:PORT" for gRPC, which is not encrypted; "http://HOST:PORT" or "https://HOST:PORT" for REST.
        model: the name under which the server has the model.
        label: label of a version, for example "canary"; None: the newest version.
        timeout: seconds for each request; a request has at most eight files.

    Yields:
        For each file, in order, its path and a `Guess`; or its path and a `ValueError` that names the file and gives
        the reason.

    Raises:
        ValueError: `server` is not an address, the server has no model of this name, or the model is not an export of
            this package.
        ConnectionError: no server answers at this address.
        TimeoutError: the server does not answer in time.

    Example:
        >>> from pathlib import Path
        >>> from keras_resnet.export.client import ask
        >>> for path, guess in ask([Path("photo.jpg")], "localhost:8500", "flowers"):  # doctest: +SKIP
        ...     print(path, guess.classes[0], guess.scores[0])
    """
    return _answers_for(files, server, model, label, timeout, CLASSIFIER)


def ask_detector(
    files: Iterable[Path], server: str, model: str, *, label: str | None = None, timeout: float = 30.0
) -> Iterator[tuple[Path, FoundObjects | ValueError]]:
    """Asks a server of an export of `keras_resnet.detection.saved_model` for the objects in image files.

    Args:
        files, server, model, label, timeout: as for `ask`.

    Yields:
        For each file, in order, its path and its `FoundObjects`; or its path and a `ValueError` that names the file and
        gives the reason.

    Raises:
        ValueError, ConnectionError, TimeoutError: as `ask`.

    Example:
        >>> from pathlib import Path
        >>> from keras_resnet.export.client import ask_detector
        >>> for path, found in ask_detector([Path("photo.jpg")], "localhost:8500", "cells"):  # doctest: +SKIP
        ...     print(path, found.classes, found.boxes)
    """
    return _answers_for(files, server, model, label, timeout, DETECTOR)


def _answers_for(
    files: Iterable[Path], server: str, model: str, label: str | None, timeout: float, form: Form[T]
) -> Iterator[tuple[Path, T | ValueError]]:
    port = re.search(r":(\d+)/?$", server)
    if not ADDRESS.fullmatch(server) or (port and not 0 < int(port[1]) < 2**16):
        raise ValueError(
            "server must be HOST:PORT for gRPC, or http://HOST:PORT or https://HOST:PORT for REST, with a port from 1 "
            f"to 65535. Received: server={server!r}"
        )
    connect = _rest_connection if "//" in server else _grpc_connection
    with connect(server.rstrip("/"), model, label, timeout, form) as send:
        for group in _grouped_files(files):
            contents = [content for _, content in group if isinstance(content, bytes)]
            answers = iter(_send_with_retry(send, contents))
            for path, content in group:
                answer = next(answers) if isinstance(content, bytes) else content
                yield path, ValueError(f"{path}: {answer}") if isinstance(answer, str) else answer


def _grouped_files(files: Iterable[Path]) -> Iterator[list[tuple[Path, bytes | ValueError]]]:
    """Files and their contents, in groups; each group fits into one request."""
    group: list[tuple[Path, bytes | ValueError]] = []
    size = 0
    for path in files:
        content = _read(path)
        length = len(content) if isinstance(content, bytes) else 0
        if group and (len(group) == MOST_FILES or size + length > MOST_BYTES):
            yield group
            group, size = [], 0
        group.append((path, content))
        size += length
    if group:
        yield group


def _read(path: Path) -> bytes | ValueError:
    try:
        return path.read_bytes()
    except OSError as error:
        return ValueError(f"cannot read {path}: {error.strerror}")


def _send_with_retry(send: Send, contents: Sequence[bytes]) -> list[Any]:
    """The answers for several files. If the server refuses the request, each file is sent in its own request.

    An export with `on_invalid="raise"` refuses the whole request if one of its images is invalid.
    """
    if not contents:
        return []
    try:
        return send(contents)
    except _RefusedError as error:
        if len(contents) == 1:
            return [str(error)]
        return [_send_with_retry(send, [content])[0] for content in contents]


@contextlib.contextmanager
def _grpc_connection(server: str, model: str, label: str | None, timeout: float, form: Form[T]) -> Iterator[Send]:
    # Imported here, because REST needs none of these, and the import of TensorFlow takes seconds.
    import grpc  # noqa: PLC0415
    import tensorflow as tf  # noqa: PLC0415
    from tensorflow_serving.apis.predict_pb2 import PredictRequest  # noqa: PLC0415
    from tensorflow_serving.apis.prediction_service_pb2_grpc import PredictionServiceStub  # noqa: PLC0415

    with grpc.insecure_channel(server) as channel:
        stub = PredictionServiceStub(channel)

        def send(contents: Sequence[bytes]) -> list[T | str]:
            request = PredictRequest(output_filter=[*form.outputs, "error"])
            request.model_spec.name, request.model_spec.signature_name = model, SIGNATURE
            if label is not None:
                request.model_spec.version_label = label
            request.inputs["image_bytes"].CopyFrom(tf.make_tensor_proto(list(contents)))
            try:
                outputs = stub.Predict(request, timeout=timeout).outputs
            except grpc.RpcError as error:
                _raise_error(server, model, error.code().name, error.details())
            with _answer_check(server):
                columns = [_with_texts(tf.make_ndarray(outputs[name]).tolist()) for name in (*form.outputs, "error")]
                return _rows(len(contents), form, columns)

        yield send


@contextlib.contextmanager
def _rest_connection(server: str, model: str, label: str | None, timeout: float, form: Form[T]) -> Iterator[Send]:
    version = "" if label is None else f"/labels/{quote(label, safe='')}"
    url = f"{server}/v1/models/{quote(model, safe='')}{version}:predict"
    with requests.Session() as session:

        def send(contents: Sequence[bytes]) -> list[T | str]:
            encoded = [{"b64": base64.b64encode(content).decode()} for content in contents]
            body: Any = {"signature_name": SIGNATURE, "inputs": {"image_bytes": encoded}}
            try:
                response = session.post(url, json=body, timeout=timeout)
                answer: Any = response.json()
            except requests.Timeout:
                _raise_error(server, model, "DEADLINE_EXCEEDED", "")
            except (requests.ConnectionError, requests.exceptions.ChunkedEncodingError):
                _raise_error(server, model, "UNAVAILABLE", "")
            except requests.JSONDecodeError:
                status = str(response.status_code)
                _raise_error(server, model, status, f"HTTP status {status}, and the answer is not JSON")
            outputs = answer.get("outputs") if isinstance(answer, dict) else None
            if response.status_code != 200 or not isinstance(outputs, dict):
                codes = {404: "NOT_FOUND", 400: "INVALID_ARGUMENT"}
                reason = answer.get("error") if isinstance(answer, dict) else None
                unknown = f"HTTP status {response.status_code}, and the answer has no outputs"
                _raise_error(server, model, codes.get(response.status_code, ""), str(reason or unknown))
            with _answer_check(server):
                return _rows(len(contents), form, [outputs[name] for name in (*form.outputs, "error")])

        yield send


@contextlib.contextmanager
def _answer_check(server: str) -> Iterator[None]:
    """Replaces an error in the block, which reads an answer, by one that names the server."""
    try:
        yield
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ValueError(
            "server must serve an export of keras_resnet.export.saved_model, or for objects of detection.saved_model. "
            f"Received: an answer of another form from {server}: {type(error).__name__}: {error}"
        ) from error


def _with_texts(values: Any) -> Any:
    """Nested lists with texts in place of bytes."""
    if isinstance(values, list):
        return [_with_texts(value) for value in values]
    return values.decode() if isinstance(values, bytes) else values


def _rows(count: int, form: Form[T], columns: Sequence[Sequence[Any]]) -> list[T | str]:
    """For each file what `form` reads, or its error; the columns are the outputs of `form`, and the errors."""
    rows = list(zip(*columns, strict=True))
    if len(rows) != count:
        raise ValueError(f"{len(rows)} answers for {count} files")
    return [error or form.read(*values) for *values, error in rows]


def _raise_error(server: str, model: str, code: str, details: str) -> NoReturn:
    """Raises the error for a gRPC status code, or for the same code made from an HTTP status."""
    if code == "UNAVAILABLE":
        kind = "REST" if "//" in server else "gRPC"
        reason = f": {details}" if details else ""  # a server whose queue is full answers UNAVAILABLE too
        raise ConnectionError(f"no {kind} server answers at {server}{reason}") from None
    if code == "DEADLINE_EXCEEDED":
        raise TimeoutError(f"the server at {server} does not answer in time") from None
    # TensorFlow puts the name of the graph node on further lines, and brackets around the text of an assertion.
    first = re.sub(r"^assertion failed: \[+\W?|\W?\]+$", "", details.partition("\n")[0].strip())
    if code == "NOT_FOUND":
        raise ValueError(f"model must be one that {server} serves ({first}). Received: model={model!r}") from None
    if code == "INVALID_ARGUMENT":
        raise _RefusedError(first) from None
    raise ValueError(f"the server at {server} refused the request: {first}") from None
