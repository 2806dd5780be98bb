"""Downloading: a file whole and checked, or not there at all.

Ours, because what there is falls short (seen in Keras 3.15.1 and huggingface_hub 2.4): Keras' `get_file` takes what a
killed download left for the whole file, keeps one of the wrong hash and waits for ever; the hub's client starts anew
after a kill, and compares no hash.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

import requests
from huggingface_hub import constants
from huggingface_hub.utils import WeakFileLock, tqdm
from requests.exceptions import ChunkedEncodingError

from keras_resnet.weights.tensors import WeightsError

HASHED = 2**20  # bytes at a time
BLOCK = 2**16  # what a kill or a lost connection loses at most
LARGEST = 2**33  # of what is downloaded; ResNet-RS-420 has 0.8e9 bytes
PAGE = (b"<!doctype", b"<html", b"<?xml")


def download(
    url: str, path: Path, expected: str, headers: Mapping[str, str] | None = None, largest: int = LARGEST
) -> None:
    """Downloads a file, unless it is there already and right.

    A download that breaks off is kept beside it and taken up where it stopped, by this process or a later one;
    of two processes one downloads and the other waits.

    Args:
        url: from where.
        path: where to; its directory is made.
        expected: "md5:...", "sha256:..." or "git:..." (a blob's SHA-1), whole or the beginning of it; or "", for any.
        headers: of the request.
        largest: bytes that it may have.

    Raises:
        ValueError: it cannot be downloaded, or is not what was expected; then nothing is left at `path`.
    """
    try:
        if _is_there(path, expected):
            return  # and nothing is written: the directory may be read-only
        path.parent.mkdir(parents=True, exist_ok=True)
        with WeakFileLock(path.with_name(path.name + ".lock")):
            if not _is_there(path, expected):  # another process may have brought it
                path.unlink(missing_ok=True)
                part = path.with_name(path.name + ".part")
                _bring(url, part, expected, headers or {}, largest)
                part.replace(path)
                _flush(path.parent)
    except requests.RequestException as error:  # a hundred lines of which these are what matters
        raise WeightsError(f"weights: cannot download {shown(url)}: {_reason(error)}") from None
    except OSError as error:
        raise WeightsError(f"weights: cannot keep {path.name} in {path.parent}: {error.strerror or error}") from None


def matches(path: Path, expected: str) -> bool:
    """Whether a file has the hash that is expected of it; see `download`."""
    if not expected:
        return True
    kind, _, start = expected.partition(":")
    if not start:
        raise WeightsError(f"weights: a hash must be md5:..., sha256:... or git:... Received: {expected!r}")
    return digest(path, kind).startswith(start.lower())


def digest(path: Path, kind: str) -> str:
    """The hash of a file in hexadecimal; "md5", "sha256", or "git" for a blob's SHA-1."""
    hashed = hashlib.new({"git": "sha1"}.get(kind, kind), usedforsecurity=False)
    if kind == "git":
        hashed.update(b"blob %d\0" % path.stat().st_size)
    with path.open("rb") as file:
        while block := file.read(HASHED):
            hashed.update(block)
    return hashed.hexdigest()


def shown(url: str) -> str:
    """A URL without what must not be read over a shoulder: a password before the host, a signature after the path."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()


def _is_there(path: Path, expected: str) -> bool:
    return path.is_file() and matches(path, expected)


def _bring(url: str, part: Path, expected: str, headers: Mapping[str, str], largest: int) -> None:
    """Makes `part` the whole file, or nothing."""
    if not expected:
        part.unlink(missing_ok=True)  # nothing would tell whether the rest is of the same file
    resumed = part.is_file()
    _transfer(url, part, headers, largest)
    if resumed and not matches(part, expected):  # the file on the server is another one by now
        part.unlink()
        _transfer(url, part, headers, largest)
    with part.open("rb") as file:
        is_page = file.read(512).lstrip().lower().startswith(PAGE)
    if is_page or not matches(part, expected):
        part.unlink()
        if is_page:
            raise _page(url)
        raise WeightsError(
            f"weights: {shown(url)} must have the hash {expected}. Received: another file; it is removed"
        )


def _transfer(url: str, part: Path, headers: Mapping[str, str], largest: int) -> None:
    """Brings `part` to the length that the server says, from where it is; tries again while that helps."""
    furthest = _size(part)
    whole = False
    while not whole:
        try:
            whole = _transfer_once(url, part, _size(part), headers, largest)
        except requests.RequestException:
            if _size(part) <= furthest:
                raise
            furthest = _size(part)


def _transfer_once(url: str, part: Path, start: int, headers: Mapping[str, str], largest: int) -> bool:
    """Whether the file is whole after this."""
    # Compressed on the way, a file could not be taken up in the middle.
    asked = {**headers, "Accept-Encoding": "identity", **({"Range": f"bytes={start}-"} if start else {})}
    timeout = constants.HF_HUB_DOWNLOAD_TIMEOUT
    with requests.get(url, headers=asked, stream=True, timeout=(timeout, timeout)) as answer:
        ranged = answer.headers.get("Content-Range", "")
        resumed = bool(start) and answer.status_code == requests.codes.partial_content
        if start and answer.status_code == requests.codes.requested_range_not_satisfiable:
            if ranged == f"bytes */{start}":
                return True
            resumed = True  # it is longer than the server's
        if resumed and not ranged.startswith(f"bytes {start}-"):
            part.unlink()
            return False
        answer.raise_for_status()
        if answer.headers.get("Content-Type", "").lower().startswith("text/html"):
            raise _page(url)
        declared = answer.raw.length_remaining  # None: unknown
        encoding = answer.headers.get("Content-Encoding", "identity")
        if encoding != "identity" or (declared is None and not answer.raw.chunked):
            raise WeightsError(
                f"weights: {shown(url)} must come as it is and with its length. Received: Content-Encoding {encoding}, "
                f"Content-Length {declared}"
            )
        size = start if resumed else 0
        whole = None if declared is None else size + declared
        bar = tqdm(total=whole, initial=size, unit="B", unit_scale=True, desc=part.stem[:20], disable=None)
        with part.open("ab" if resumed else "wb") as file, bar:
            for block in answer.iter_content(BLOCK):
                size += len(block)
                if size > largest:
                    file.truncate(0)
                    raise WeightsError(f"weights: {shown(url)} must have at most {largest:,} bytes. Received: more")
                file.write(block)
                bar.update(len(block))
            file.flush()
            os.fsync(file.fileno())
    if whole is not None and size != whole:
        raise ChunkedEncodingError(f"{size:,} of {whole:,} bytes came")
    return True


def _size(part: Path) -> int:
    return part.stat().st_size if part.is_file() else 0


def _flush(directory: Path) -> None:
    """Makes a rename outlive a power cut, where directories can be flushed: not on Windows."""
    with contextlib.suppress(OSError):
        descriptor = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _page(url: str) -> WeightsError:
    return WeightsError(
        f"weights: {shown(url)} must be a file. Received: a web page; is a mirror or a login in between?"
    )


def _reason(error: requests.RequestException) -> str:
    if isinstance(error, requests.Timeout) or "timed out" in str(error).lower():
        return f"the server said nothing for {constants.HF_HUB_DOWNLOAD_TIMEOUT} s"
    if isinstance(error, requests.HTTPError) and error.response is not None:
        return f"the server answered {error.response.status_code} {error.response.reason}"
    if isinstance(error, ChunkedEncodingError):
        return "the connection broke off; what came is kept for the next time"
    if isinstance(error, requests.exceptions.SSLError):
        return "the server's certificate is not accepted"
    if isinstance(error, requests.ConnectionError):
        return "the server cannot be reached"
    return " ".join(str(error).split())[:200]
