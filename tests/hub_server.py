"""A local hub and a plain file server for tests. They record all requests, and produce faults on demand.

The hub sends huggingface_hub 2.4 the same responses as the public hub: /{owner}/{name}/resolve/{revision}/{file} has an
ETag (the SHA-256 of a large file, git's SHA-1 of a small one), X-Repo-Commit and X-Error-Code. Small files are
redirected to the same host, large files to a storage on another host.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import http.server
import re
import socket
import struct
import threading
import time
from collections.abc import Iterator
from typing import NamedTuple

BLOCK = 2**14
LARGE = (".safetensors", ".bin")
RESOLVE = re.compile(r"/(?P<name>[^/]+/[^/]+)/resolve/(?P<revision>[^/]+)/(?P<file>[^/]+)")
PAGE = b"<!DOCTYPE html><html><body>Please log in to the network.</body></html>"


@dataclasses.dataclass
class Fault:
    """What goes wrong: for the next `times` requests, after the first `after` bytes of a body.

    Kinds: "drop" or "reset" the connection, "stall", "slow" (`seconds` per block), "endless", "status" (500), "page"
    (HTML), "page of bytes" (HTML with the content type of binary data), "other" bytes, "no range", "wrong range",
    "no length", "gzip", "answers STATUS", "trickle" and "trickling head" (a byte or a header each `seconds`).
    """

    kind: str
    after: int = 0
    times: int = 10**6
    seconds: float = 0.0


class Answer(NamedTuple):
    """A response of the server, before a fault changes it."""

    status: int
    headers: dict[str, str]
    body: bytes = b""


@dataclasses.dataclass
class Request:
    """A received request, and the number of bytes of the body that were sent."""

    method: str
    path: str
    host: str
    range: str
    authorization: str
    sent: int = 0


class HubServer(http.server.ThreadingHTTPServer):
    """The server.

    Attributes:
        files: responses by path.
        redirects: URLs by path.
        faults: faults by (method, end): a fault applies to all paths with this end.
        requests: all requests so far.
    """

    daemon_threads = True
    block_on_close = False

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.elsewhere = f"http://localhost:{self.server_port}"  # another host name for this server
        self.files: dict[str, Answer] = {}
        self.redirects: dict[str, str] = {}
        self.faults: dict[tuple[str, str], Fault] = {}
        self.requests: list[Request] = []
        self.repositories: dict[str, dict[str, tuple[str, dict[str, bytes]]]] = {}
        self.tags: dict[tuple[str, int], tuple[str, bytes]] = {}
        self.closing = threading.Event()
        self.lock = threading.Lock()

    def serve_file(self, path: str, content: bytes) -> str:
        """Adds a plain file to the server, and returns its URL."""
        self.files[path] = Answer(200, {}, content)
        return self.url + path

    def commit(self, name: str, files: dict[str, bytes], revision: str = "main") -> str:
        """Commits all files of a repository to a revision, and returns the id of the commit."""
        tags = {file: self.tag(file, content) for file, content in files.items()}
        commit = hashlib.sha1(repr((name, sorted(tags.items()))).encode()).hexdigest()
        revisions = self.repositories.setdefault(name, {})
        revisions[revision] = revisions[commit] = (commit, files)
        return commit

    def tag(self, file: str, content: bytes) -> str:
        """The ETag of a file's content. It is computed once, because a large file takes time."""
        key = (file, id(content))
        if key not in self.tags:
            # The content is kept alive, so that no other content gets its id.
            self.tags[key] = (etag_of(content, file.endswith(LARGE)), content)
        return self.tags[key][0]

    def of(self, method: str, end: str) -> list[Request]:
        """The requests with this method whose path has this end."""
        with self.lock:
            return [request for request in self.requests if request.method == method and request.path.endswith(end)]

    def sent(self, end: str) -> int:
        """The bytes sent for all paths with this end."""
        return sum(request.sent for request in self.of("GET", end))

    def take_fault(self, method: str, path: str) -> Fault:
        """The fault for a request; its kind is empty if nothing goes wrong."""
        with self.lock:
            for (fault_method, end), fault in self.faults.items():
                if method == fault_method and path.endswith(end) and fault.times > 0:
                    fault.times -= 1
                    return fault
        return Fault("")

    def answer(self, path: str) -> Answer:
        """The response for a path, without faults."""
        if path in self.files:
            return self.files[path]
        if path in self.redirects:
            return Answer(302, {"Location": self.redirects[path]})
        if match := RESOLVE.fullmatch(path):
            return self._hub_answer(match["name"], match["revision"].replace("%2F", "/"), match["file"])
        return Answer(404, {}, b"not here")

    def _hub_answer(self, name: str, revision: str, file: str) -> Answer:
        revisions = self.repositories.get(name, {})
        commit, files = revisions.get(revision, ("", {}))
        if file not in files:
            code = "EntryNotFound" if commit else "RevisionNotFound" if revisions else "RepoNotFound"
            return Answer(404, {"X-Error-Code": code})
        content, large = files[file], file.endswith(LARGE)
        etag = self.tag(file, content)
        headers = {"X-Repo-Commit": commit, "ETag": f'"{etag}"'}
        path = f"/storage/{etag}/{file}" if large else f"/cache/{commit}/{file}"
        self.files[path] = Answer(200, {} if large else headers, content)
        if large:
            headers |= {"X-Linked-Etag": headers["ETag"], "X-Linked-Size": str(len(content))}
            path = f"{self.elsewhere}{path}?signature=secret"
        return Answer(302, headers | {"Location": path})

    def handle_error(self, request: object, client_address: object) -> None:
        """Prints nothing: some tests kill their clients."""


@contextlib.contextmanager
def serving() -> Iterator[HubServer]:
    """Runs a server in its own thread."""
    server = HubServer()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.closing.set()
        server.shutdown()
        server.server_close()
        thread.join()


def etag_of(content: bytes, large: bool) -> str:
    """The ETag that the hub gives a file."""
    if large:
        return hashlib.sha256(content).hexdigest()
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def free_url() -> str:
    """A URL on this machine at which no server listens."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{listener.getsockname()[1]}"


class Handler(http.server.BaseHTTPRequestHandler):
    """Handles one connection."""

    protocol_version = "HTTP/1.1"
    server: HubServer

    def log_message(self, *args: object) -> None:
        """Prints nothing."""

    def do_HEAD(self) -> None:
        """Sends the response without its body."""
        self.do_GET()

    def do_GET(self) -> None:
        """Sends the response, changed by the fault of the request."""
        path, headers = self.path.partition("?")[0], self.headers
        self.record = Request(
            self.command, path, headers["Host"], headers.get("Range", ""), headers.get("Authorization", "")
        )
        with self.server.lock:
            self.server.requests.append(self.record)
        fault = self.server.take_fault(self.command, path)
        answer = _faulty(self._ranged(self.server.answer(path), fault), fault)
        if fault.kind in ("drop", "reset", "stall") and not fault.after:
            self._break(fault)
            return
        if fault.kind == "trickling head":
            self._trickle(b"HTTP/1.1 200 OK\r\n" + b"X-More: 1\r\n" * 90, fault)
            return
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        if fault.kind == "endless":
            self.send_header("Transfer-Encoding", "chunked")
        elif fault.kind != "no length":
            self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        if self.command == "GET":
            self._send(answer.body, fault)
            self._break(fault)

    def _ranged(self, answer: Answer, fault: Fault) -> Answer:
        match = re.fullmatch(r"bytes=(\d+)-", self.record.range)
        if not match or answer.status != 200 or fault.kind == "no range":
            return answer
        start, size = int(match[1]), len(answer.body)
        if start >= size:
            return Answer(416, {"Content-Range": f"bytes */{size}"})
        first = start + 1 if fault.kind == "wrong range" else start
        return Answer(206, {**answer.headers, "Content-Range": f"bytes {first}-{size - 1}/{size}"}, answer.body[start:])

    def _send(self, body: bytes, fault: Fault) -> None:
        while fault.kind == "endless" and not self.server.closing.is_set():
            self.wfile.write(b"%x\r\n" % BLOCK + b"x" * BLOCK + b"\r\n")
            self.record.sent += BLOCK
        if fault.kind == "trickle":
            self._trickle(body, fault)
            return
        body = body[: fault.after or None]
        for at in range(0, len(body), BLOCK):
            block = body[at : at + BLOCK]
            self.wfile.write(block)
            self.record.sent += len(block)
            time.sleep(fault.seconds)

    def _trickle(self, data: bytes, fault: Fault) -> None:
        for number in range(len(data)):
            if self.server.closing.wait(fault.seconds):
                break
            self.wfile.write(data[number : number + 1])
            self.record.sent += 1
        self.close_connection = True

    def _break(self, fault: Fault) -> None:
        if fault.kind == "stall":
            self.server.closing.wait(30)
        # A reset discards the bytes that are still in the kernel. After the pause the client has read most of them.
        if fault.kind == "reset":
            self.server.closing.wait(0.5)
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()
        self.close_connection = bool(fault.kind)


def _faulty(answer: Answer, fault: Fault) -> Answer:
    if fault.kind.startswith("answers "):
        answer = answer._replace(status=int(fault.kind.removeprefix("answers ")))
    if fault.kind == "status":
        return Answer(500, {}, b"<html>sorry</html>")
    if fault.kind == "page":
        return Answer(200, {"Content-Type": "text/html; charset=utf-8", "ETag": '"5f3c-60a"'}, PAGE)
    if fault.kind == "page of bytes":
        return Answer(200, {"Content-Type": "application/octet-stream"}, PAGE)
    if fault.kind == "gzip":
        return answer._replace(headers={**answer.headers, "Content-Encoding": "gzip"})
    if fault.kind == "other":
        return answer._replace(body=answer.body[::-1])
    return answer
