"""Asks a server that serves an export of `keras_resnet.export.saved_model` about image files, by gRPC or REST.

By gRPC as TF Serving's official stubs have it, so with TensorFlow; by REST with `requests` alone.
"""

from __future__ import annotations

import base64
import contextlib
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, NamedTuple, NoReturn
from urllib.parse import quote

import requests

SIGNATURE = "serving_bytes"
MOST_FILES = 8  # in one request
MOST_BYTES = 2**24  # in one request of several files: a server may refuse, and a network keep waiting, what is larger
ADDRESS = re.compile(r"https?://[^/\s]+/?|[^/\s]+:\d+")


class Guess(NamedTuple):
    """What a server takes an image for: the names of classes and their probabilities, the likeliest first."""

    classes: tuple[str, ...]
    scores: tuple[float, ...]


class _RefusedError(ValueError):
    """A request is not to the server's liking: the images in it, for all that is known."""


Send = Callable[[Sequence[bytes]], list["Guess | str"]]  # for each file a guess, or why there is none
Connect = Callable[[str, str, "str | None", float], AbstractContextManager[Send]]


def ask(
    files: Iterable[Path], server: str, model: str, *, label: str | None = None, timeout: float = 30.0
) -> Iterator[tuple[Path, Guess | ValueError]]:
    """What a server says of image files, each by itself: one that is no image costs no other its answer.

    Args:
        files: paths of JPEG, PNG, WebP or GIF files.
        server: "HOST:PORT" for gRPC, which is not encrypted; "http://HOST:PORT" or "https://HOST:PORT" for REST.
        model: the name under which it is served.
        label: of a version, "canary" say; None: the newest version.
        timeout: seconds for each request, of at most eight files.

    Yields:
        For each file, in order, a guess, or the `ValueError` that names the file and says why there is none.

    Raises:
        ValueError: `server` is no address, serves no such model, or something else than an export.
        ConnectionError: no server answers there.
        TimeoutError: it does not answer in time.

    Example:
        >>> from pathlib import Path
        >>> from keras_resnet.export.client import ask
        >>> for path, guess in ask([Path("photo.jpg")], "localhost:8500", "flowers"):  # doctest: +SKIP
        ...     print(path, guess.classes[0], guess.scores[0])
    """
    port = re.search(r":(\d+)/?$", server)
    if not ADDRESS.fullmatch(server) or (port and not 0 < int(port[1]) < 2**16):
        raise ValueError(f"server must be HOST:PORT, for gRPC, or http://HOST:PORT, for REST. Received: {server!r}")
    connect = _by_rest if "//" in server else _by_grpc
    with connect(server.rstrip("/"), model, label, timeout) as send:
        for group in _groups(files):
            contents = [content for _, content in group if isinstance(content, bytes)]
            answers = iter(_each(send, contents))
            for path, content in group:
                answer = next(answers) if isinstance(content, bytes) else content
                yield path, ValueError(f"{path}: {answer}") if isinstance(answer, str) else answer


def _groups(files: Iterable[Path]) -> Iterator[list[tuple[Path, bytes | ValueError]]]:
    """Files and what is in them, as many as make a request."""
    group: list[tuple[Path, bytes | ValueError]] = []
    size = 0
    for path in files:
        content = _content(path)
        length = len(content) if isinstance(content, bytes) else 0
        if group and (len(group) == MOST_FILES or size + length > MOST_BYTES):
            yield group
            group, size = [], 0
        group.append((path, content))
        size += length
    if group:
        yield group


def _content(path: Path) -> bytes | ValueError:
    try:
        return path.read_bytes()
    except OSError as error:
        return ValueError(f"cannot read {path}: {error.strerror}")


def _each(send: Send, contents: Sequence[bytes]) -> list[Guess | str]:
    """The answers; where an export fails the whole request for one bad image (`on_invalid="raise"`), asked singly."""
    if not contents:
        return []
    try:
        return send(contents)
    except _RefusedError as error:
        return [str(error)] if len(contents) == 1 else [_each(send, [content])[0] for content in contents]


@contextlib.contextmanager
def _by_grpc(server: str, model: str, label: str | None, timeout: float) -> Iterator[Send]:
    # Here, because REST needs neither of them, and TensorFlow takes seconds to import.
    import grpc  # noqa: PLC0415
    import tensorflow as tf  # noqa: PLC0415
    from tensorflow_serving.apis.predict_pb2 import PredictRequest  # noqa: PLC0415
    from tensorflow_serving.apis.prediction_service_pb2_grpc import PredictionServiceStub  # noqa: PLC0415

    with grpc.insecure_channel(server) as channel:
        stub = PredictionServiceStub(channel)

        def send(contents: Sequence[bytes]) -> list[Guess | str]:
            request = PredictRequest(output_filter=["classes", "scores", "error"])
            request.model_spec.name, request.model_spec.signature_name = model, SIGNATURE
            if label is not None:
                request.model_spec.version_label = label
            request.inputs["image_bytes"].CopyFrom(tf.make_tensor_proto(list(contents)))
            try:
                outputs = stub.Predict(request, timeout=timeout).outputs
            except grpc.RpcError as error:
                _raise(server, model, error.code().name, error.details())
            with _of_an_export(server):
                named, scores, wrong = (tf.make_ndarray(outputs[name]) for name in ("classes", "scores", "error"))
                classes = [[name.decode() for name in row] for row in named]
                return _answers(len(contents), classes, scores.tolist(), [reason.decode() for reason in wrong])

        yield send


@contextlib.contextmanager
def _by_rest(server: str, model: str, label: str | None, timeout: float) -> Iterator[Send]:
    version = "" if label is None else f"/labels/{quote(label, safe='')}"
    url = f"{server}/v1/models/{quote(model, safe='')}{version}:predict"
    with requests.Session() as session:

        def send(contents: Sequence[bytes]) -> list[Guess | str]:
            encoded = [{"b64": base64.b64encode(content).decode()} for content in contents]
            body: Any = {"signature_name": SIGNATURE, "inputs": {"image_bytes": encoded}}
            try:
                response = session.post(url, json=body, timeout=timeout)
                said: Any = response.json()
            except requests.Timeout:
                _raise(server, model, "DEADLINE_EXCEEDED", "")
            except (requests.ConnectionError, requests.exceptions.ChunkedEncodingError):
                _raise(server, model, "UNAVAILABLE", "")
            except requests.JSONDecodeError:
                _raise(server, model, str(response.status_code), f"status {response.status_code} without JSON")
            outputs = said.get("outputs") if isinstance(said, dict) else None
            if response.status_code != 200 or not isinstance(outputs, dict):
                codes = {404: "NOT_FOUND", 400: "INVALID_ARGUMENT"}
                reason = said.get("error") if isinstance(said, dict) else None
                unknown = f"status {response.status_code} without outputs"
                _raise(server, model, codes.get(response.status_code, ""), str(reason or unknown))
            with _of_an_export(server):
                return _answers(len(contents), outputs["classes"], outputs["scores"], outputs["error"])

        yield send


@contextlib.contextmanager
def _of_an_export(server: str) -> Iterator[None]:
    """Says of whatever an answer lacks that it is none of an export's."""
    try:
        yield
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ValueError(f"the server at {server} does not answer as an export of this package does") from error


def _answers(count: int, classes: list[list[str]], scores: list[list[float]], wrong: list[str]) -> list[Guess | str]:
    rows = list(zip(classes, scores, wrong, strict=True))
    if len(rows) != count:
        raise ValueError(f"{len(rows)} answers for {count} files")
    return [reason or Guess(tuple(names), tuple(values)) for names, values, reason in rows]


def _raise(server: str, model: str, code: str, details: str) -> NoReturn:
    if code == "UNAVAILABLE":
        kind = "REST" if "//" in server else "gRPC"
        reason = f": {details}" if details else ""  # a queue that is full is UNAVAILABLE too
        raise ConnectionError(f"no {kind} server answers at {server}{reason}") from None
    if code == "DEADLINE_EXCEEDED":
        raise TimeoutError(f"the server at {server} does not answer in time") from None
    # TensorFlow adds the node of the graph on further lines, and frames what a graph asserts.
    first = re.sub(r"^assertion failed: \[+\W?|\W?\]+$", "", details.partition("\n")[0].strip())
    if code == "NOT_FOUND":
        raise ValueError(f"model must be one that {server} serves ({first}). Received: {model!r}") from None
    if code == "INVALID_ARGUMENT":
        raise _RefusedError(first) from None
    raise ValueError(f"the server at {server} refused the request: {first}") from None
