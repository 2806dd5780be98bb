"""Downloading: a file whole and checked, or not there at all.

Ours, because what there is falls short (seen in Keras 3.15.1 and huggingface_hub 2.4): Keras' `get_file` takes what a
killed download left for the whole file, keeps one of the wrong hash and waits for ever; the hub's client starts anew
after a kill, and compares no hash.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path

import filelock
import requests
from huggingface_hub import constants
from huggingface_hub.utils import tqdm

from keras_resnet.weights.tensors import WeightsError

CHUNK = 2**20


def download(url: str, path: Path, expected: str, headers: Mapping[str, str] | None = None) -> None:
    """Downloads a file, unless it is there already and right.

    A download that breaks off is kept beside it and taken up where it stopped, by this process or a later one;
    of two processes one downloads and the other waits.

    Args:
        url: from where.
        path: where to; its directory is made.
        expected: "md5:...", "sha256:..." or "git:..." (a blob's SHA-1), whole or the beginning of it; or "", for any.
        headers: of the request.

    Raises:
        ValueError: it cannot be downloaded, or is not what was expected; then nothing is left at `path`.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(path.with_name(path.name + ".lock")):
            if path.is_file() and matches(path, expected):
                return
            part = path.with_name(path.name + ".part")
            resumed = part.is_file()
            _transfer(url, part, headers or {})
            if resumed and not matches(part, expected):  # the file on the server is another one by now
                part.unlink()
                _transfer(url, part, headers or {})
            if not matches(part, expected):
                part.unlink()
                raise WeightsError(
                    f"weights: {url} must have the hash {expected}. Received: another file; it was removed"
                )
            part.replace(path)
            _flush(path.parent)
    except (requests.RequestException, OSError) as error:
        raise WeightsError(f"weights: cannot download {url}: {_reason(error)}") from error


def matches(path: Path, expected: str) -> bool:
    """Whether a file has the hash that is expected of it."""
    kind, _, digest = expected.partition(":")
    if not digest:
        return True
    hashed = hashlib.new({"git": "sha1"}.get(kind, kind), usedforsecurity=False)
    if kind == "git":
        hashed.update(b"blob %d\0" % path.stat().st_size)
    with path.open("rb") as file:
        while block := file.read(CHUNK):
            hashed.update(block)
    return hashed.hexdigest().startswith(digest)


def _transfer(url: str, part: Path, headers: Mapping[str, str]) -> None:
    """Brings `part` to the length that the server says, from where it is; tries again while that helps."""
    while True:
        before = _size(part)
        try:
            if _transfer_once(url, part, before, headers):
                return
        except requests.RequestException:
            if _size(part) <= before:
                raise


def _transfer_once(url: str, part: Path, start: int, headers: Mapping[str, str]) -> bool:
    """Whether the file is whole after this."""
    # Compressed on the way, a file could not be taken up in the middle.
    asked = {**headers, "Accept-Encoding": "identity", **({"Range": f"bytes={start}-"} if start else {})}
    timeout = constants.HF_HUB_DOWNLOAD_TIMEOUT
    with requests.get(url, headers=asked, stream=True, timeout=(timeout, timeout)) as answer:
        if answer.status_code == requests.codes.requested_range_not_satisfiable:
            part.unlink(missing_ok=True)  # longer than the server's
            return False
        answer.raise_for_status()
        if answer.headers.get("Content-Type", "").startswith("text/html"):
            part.unlink(missing_ok=True)
            raise WeightsError(
                f"weights: {url} must be a file of weights. Received: a web page; is a mirror in between?"
            )
        resumed = answer.status_code == requests.codes.partial_content
        declared = int(answer.headers.get("Content-Length", 0))
        whole = declared + (start if resumed else 0)
        bar = tqdm(total=whole or None, initial=start if resumed else 0, unit="B", unit_scale=True, desc=part.stem)
        with part.open("ab" if resumed else "wb") as file, bar:
            for block in answer.iter_content(CHUNK):
                file.write(block)
                bar.update(len(block))
            file.flush()
            os.fsync(file.fileno())
    if declared and _size(part) != whole:
        raise requests.ConnectionError(f"{_size(part):,} of {whole:,} bytes came")
    return True


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _flush(directory: Path) -> None:
    """Makes a rename outlive a power cut."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _reason(error: Exception) -> str:
    if isinstance(error, requests.Timeout) or "timed out" in str(error).lower():
        return f"the server said nothing for {constants.HF_HUB_DOWNLOAD_TIMEOUT} s"
    if isinstance(error, requests.HTTPError) and error.response is not None:
        return f"the server answered {error.response.status_code} {error.response.reason}"
    if isinstance(error, requests.ConnectionError) and "bytes came" not in str(error):
        return "the server cannot be reached"
    return " ".join(str(error).split())[:200]
