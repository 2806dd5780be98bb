"""Downloads a file completely and checks its hash; otherwise no file is left at its path.

This package has its own download because others were not safe enough (seen in Keras 3.15.1 and huggingface_hub 2.4).
Keras' `get_file` takes the rest of a killed download for a complete file, keeps a file with a wrong hash, and has no
timeout. The hub's client starts from the beginning after a kill, and compares no hash.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import urlsplit

import requests
import urllib3
from huggingface_hub import constants
from huggingface_hub.utils import WeakFileLock, tqdm
from requests.exceptions import ChunkedEncodingError

from keras_resnet._internal.atomic_files import flush_directory
from keras_resnet.weights.deadlines import PATIENCE, SPEED, Pace, within
from keras_resnet.weights.tensors import WeightsError

HASHED = 2**20  # bytes that are read at once
BLOCK = 2**16  # bytes that are written at once; a kill or a lost connection loses no more
LARGEST = 2**33  # largest download in bytes; ResNet-RS-420 has 0.8e9
PAGE = (b"<!doctype", b"<html", b"<?xml")


class UnavailableError(WeightsError):
    """A server did not send a file. Another server, or a copy of the file, would help."""


def download(
    url: str, path: Path, expected: str, headers: Mapping[str, str] | None = None, largest: int = LARGEST
) -> None:
    """Downloads a file, unless it is at `path` already with the right hash.

    The received part of an interrupted download is kept next to `path`; this process or a later one continues it. If
    two processes download the same file, one downloads and the other waits. A server that sends fewer bytes in a second
    than `KERAS_RESNET_MIN_SPEED` is given up.

    Args:
        url: URL of the file.
        path: path of the downloaded file; its directory is created.
        expected: hash of the file, "md5:...", "sha256:..." or "git:..." (the SHA-1 of a git blob), complete or only its
            beginning; "": no hash is compared.
        headers: headers of the HTTP request.
        largest: largest size of the file in bytes.

    Raises:
        ValueError: the file cannot be downloaded, is too large or has another hash. No file is left at `path`.
    """
    try:
        if _has_file(path, expected):
            return  # nothing is written, because the directory may be read-only
        path.parent.mkdir(parents=True, exist_ok=True)
        with WeakFileLock(path.with_name(path.name + ".lock")):
            if not _has_file(path, expected):  # another process may have downloaded it in the meantime
                path.unlink(missing_ok=True)
                part = path.with_name(path.name + ".part")
                _download_part(url, part, expected, headers or {}, largest)
                part.replace(path)
                with contextlib.suppress(OSError):  # some file systems cannot flush a directory
                    flush_directory(path.parent)
    except requests.RequestException as error:  # its own message has a hundred lines
        raise UnavailableError(f"weights: cannot download {shown(url)}: {_reason(error)}") from None
    except OSError as error:
        raise WeightsError(f"weights: cannot store {path.name} in {path.parent}: {error.strerror or error}") from None


def matches(path: Path, expected: str) -> bool:
    """Whether a file has a hash that begins with `expected`, see `download`; True if `expected` is ""."""
    if not expected:
        return True
    kind, _, start = expected.partition(":")
    if not start:
        raise WeightsError(f"weights: a hash must be md5:..., sha256:... or git:... Received: {expected!r}")
    return digest(path, kind).startswith(start.lower())


def digest(path: Path, kind: str) -> str:
    """The hash of a file in hexadecimal.

    Args:
        path: the file.
        kind: "md5", "sha256", or "git" for the SHA-1 of a git blob.
    """
    hashed = hashlib.new({"git": "sha1"}.get(kind, kind), usedforsecurity=False)
    if kind == "git":
        hashed.update(b"blob %d\0" % path.stat().st_size)
    with path.open("rb") as file:
        while block := file.read(HASHED):
            hashed.update(block)
    return hashed.hexdigest()


def shown(url: str) -> str:
    """A URL for messages: without secrets, such as a password before the host or a signature after the path."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()


def _has_file(path: Path, expected: str) -> bool:
    return path.is_file() and matches(path, expected)


def _download_part(url: str, part: Path, expected: str, headers: Mapping[str, str], largest: int) -> None:
    """Downloads a file to `part`, and continues if `part` has its beginning.

    A web page or a file with another hash is removed.
    """
    if not expected or _is_linked(part):
        part.unlink(missing_ok=True)  # without a hash it is not known whether the part is of the same file
    resumed = part.is_file()
    _transfer(url, part, headers, largest)
    if resumed and not matches(part, expected):  # the file on the server may have changed
        part.unlink()
        _transfer(url, part, headers, largest)
    with part.open("rb") as file:
        is_page = file.read(512).lstrip().lower().startswith(PAGE)
    if is_page:
        part.unlink()
        raise _web_page_error(url)
    if not matches(part, expected):
        kind = expected.partition(":")[0]
        received = f"{kind}:{digest(part, kind)}"
        part.unlink()
        raise WeightsError(
            f"weights: {shown(url)} must have the hash {expected}. Received: {received}; the file is removed"
        )


def _is_linked(part: Path) -> bool:
    """Whether a path is a link to a file elsewhere, which a download would overwrite, or no file at all."""
    try:
        status = part.lstat()
    except FileNotFoundError:
        return False
    return not stat.S_ISREG(status.st_mode) or status.st_nlink > 1


def _without_following(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NOFOLLOW", 0), 0o666)


def _transfer(url: str, part: Path, headers: Mapping[str, str], largest: int) -> None:
    """Downloads the rest of a file to `part`.

    Tries again after an error as long as each try receives more than all before it.
    """
    most_received, pace = _size(part), Pace()
    complete = False
    while not complete:
        try:
            complete = _transfer_once(url, part, _size(part), headers, largest, pace)
        except requests.RequestException:
            if _size(part) <= most_received:
                raise
            most_received = _size(part)


def _transfer_once(url: str, part: Path, start: int, headers: Mapping[str, str], largest: int, pace: Pace) -> bool:
    """One request for a file from byte `start` on; returns whether `part` is complete."""
    # A compressed transfer could not be continued in the middle.
    request_headers = {**headers, "Accept-Encoding": "identity", **({"Range": f"bytes={start}-"} if start else {})}
    timeout = constants.HF_HUB_DOWNLOAD_TIMEOUT
    try:
        response = within(
            PATIENCE + 2 * timeout,
            lambda: requests.get(url, headers=request_headers, stream=True, timeout=(timeout, timeout)),
        )
    except TimeoutError as error:
        raise UnavailableError(f"weights: cannot download {shown(url)}: {error}") from None
    with response:
        content_range = response.headers.get("Content-Range", "")
        resumed = bool(start) and response.status_code == requests.codes.partial_content
        if start and response.status_code == requests.codes.requested_range_not_satisfiable:
            if content_range == f"bytes */{start}":
                return True
            resumed = True  # `part` is longer than the file on the server
        if resumed and not content_range.startswith(f"bytes {start}-"):
            part.unlink()
            return False
        if response.status_code != requests.codes.ok and not resumed:
            raise requests.HTTPError(response=response)
        if response.headers.get("Content-Type", "").lower().startswith("text/html"):
            raise _web_page_error(url)
        remaining = response.raw.length_remaining  # None: unknown
        encoding = response.headers.get("Content-Encoding", "identity").lower()
        if encoding != "identity" or (remaining is None and not response.raw.chunked):
            raise WeightsError(
                f"weights: {shown(url)} must be sent without compression and with its length. Received: "
                f"Content-Encoding {encoding}, Content-Length {remaining}"
            )
        size = start if resumed else 0
        total = None if remaining is None else size + remaining
        bar = tqdm(total=total, initial=size, unit="B", unit_scale=True, desc=part.stem[:20], disable=None)
        with open(part, "ab" if resumed else "wb", opener=_without_following) as file, bar:
            for block in _received(response):
                size += len(block)
                if size > largest:
                    file.truncate(0)
                    raise WeightsError(
                        f"weights: {shown(url)} must have at most {largest:,} bytes. Received: at least {size:,}"
                    )
                file.write(block)
                bar.update(len(block))
                if not pace.add(len(block)):
                    raise UnavailableError(
                        f"weights: cannot download {shown(url)}: the server sent {pace.received:,} bytes in "
                        f"{time.monotonic() - pace.start:.0f} s; the received part is kept for the next try, and "
                        f"{SPEED}=0 waits for as long as it takes"
                    )
            file.flush()
            os.fsync(file.fileno())
    if total is not None and size != total:
        raise ChunkedEncodingError(f"received {size:,} of {total:,} bytes")
    return True


def _received(response: requests.Response) -> Iterator[bytes]:
    """What a server sends, as soon as it comes: `iter_content` would wait until a block is full."""
    try:
        while block := response.raw.read1(BLOCK, decode_content=False):
            yield block
    except urllib3.exceptions.ProtocolError as error:
        raise ChunkedEncodingError(error) from error
    except urllib3.exceptions.HTTPError as error:
        raise requests.ConnectionError(error) from error


def _size(part: Path) -> int:
    return part.stat().st_size if part.is_file() else 0


def _web_page_error(url: str) -> WeightsError:
    return WeightsError(
        f"weights: {shown(url)} must be a file. Received: a web page, perhaps from a mirror or for a login"
    )


def _reason(error: requests.RequestException) -> str:
    """Why a download failed, in a few words."""
    if isinstance(error, requests.Timeout) or "timed out" in str(error).lower():
        return f"the server did not answer for {constants.HF_HUB_DOWNLOAD_TIMEOUT} s"
    if isinstance(error, requests.HTTPError) and error.response is not None:
        return f"the server answered {error.response.status_code} {error.response.reason}"
    if isinstance(error, ChunkedEncodingError):
        return "the connection was lost; the received part is kept for the next try"
    if isinstance(error, requests.exceptions.SSLError):
        return "the server's certificate is not accepted"
    if isinstance(error, requests.ConnectionError):
        return "the server cannot be reached"
    return " ".join(str(error).split())[:200]
