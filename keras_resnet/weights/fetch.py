"""Fetching: from what a user calls weights to a file on this machine.

A URL is kept where keras.applications keeps it, so that what that has downloaded is used; a hub's file in the hub's own
cache. The hub's settings are HF_ENDPOINT, HF_HUB_OFFLINE, HF_HOME, HF_TOKEN, HF_HUB_ETAG_TIMEOUT (of a question) and
HF_HUB_DOWNLOAD_TIMEOUT (of a file); KERAS_HOME is Keras'. KERAS_RESNET_MIRROR is a URL under which the files are
that do not come from a hub.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
import re
import shutil
import uuid
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

import huggingface_hub
from huggingface_hub import constants, errors
from huggingface_hub.file_download import HfFileMetadata, repo_folder_name
from huggingface_hub.utils import build_hf_headers

from keras_resnet.weights import metadata, timm_models
from keras_resnet.weights.download import LARGEST, digest, download, matches, shown
from keras_resnet.weights.table import Checkpoint, table
from keras_resnet.weights.tensors import WeightsError

HUB = "hf://"
PACKAGE, SHIPPED = "package:", Path(__file__).parent / "shipped"
REPOSITORY = re.compile(r"hf://(?P<repository>[\w.-]+/[\w.-]+)(?:@(?!.*\.\.)(?P<revision>[\w.-]+(?:/[\w.-]+)*))?")
FILES = ("model.safetensors", "pytorch_model.bin")
# What a hub answers names files in the cache; anything else could name files outside it.
COMMIT = re.compile("[0-9a-f]{40}")
ETAG = re.compile("[0-9A-Za-z][0-9A-Za-z._-]{0,127}")


def parse_source(source: str | os.PathLike[str]) -> Checkpoint | Path:
    """What a string or path stands for: a hub's repository is a checkpoint, all else a file.

    A file with a card is the checkpoint that the card describes, and one that by its hash is a published one is that.
    """
    if not isinstance(source, str | os.PathLike) or not isinstance(text := os.fspath(source), str) or not text:
        raise TypeError(f"weights must be a tag, hf://owner/repository, a path or a Checkpoint. Received: {source!r}")
    if text.startswith(HUB):
        return timm_models.checkpoint_of(text, from_hub)
    path = Path(text).expanduser()
    return (metadata.read_metadata(path) or _published(path) or path) if path.is_file() else path


def _published(path: Path) -> Checkpoint | None:
    digests = {kind: digest(path, kind) for kind in ("md5", "sha256")}
    for row in table():
        for expected in (row.hash, row.notop_hash):
            kind, _, start = expected.partition(":")
            if start and digests[kind].startswith(start):
                return dataclasses.replace(row, source=str(path), hash=expected, notop="")
    return None


def local_file(checkpoint: Checkpoint, include_top: bool) -> Path:
    """The file of a checkpoint, downloaded if it is not here yet; the smaller one without a head where that will do.

    Raises:
        ValueError: it cannot be had, or has not the checkpoint's hash.
    """
    smaller = checkpoint.notop and not include_top
    source, expected = (checkpoint.notop, checkpoint.notop_hash) if smaller else (checkpoint.source, checkpoint.hash)
    if source.startswith(("http://", "https://")):
        return from_url(source, expected)
    if source.startswith(PACKAGE):
        path = SHIPPED / source.removeprefix(PACKAGE)
    else:
        path = from_hub(source, *FILES) if source.startswith(HUB) else Path(source).expanduser()
    if path.is_file() and not matches(path, expected):  # it may be the user's own: it stays
        raise WeightsError(f"weights: {source} must have the hash {expected}. Received: another file, {path}")
    return path


def from_url(url: str, expected: str) -> Path:
    """The file behind a URL, from Keras' cache if it is there and has the hash that is expected."""
    name = Path(urlsplit(url).path).name
    folder = Path(os.environ.get("KERAS_HOME", "~/.keras")).expanduser() / "models"
    if not expected:  # nothing else would tell two files of the same name apart
        folder /= hashlib.sha256(url.encode()).hexdigest()[:16]
    path = folder / name
    if constants.HF_HUB_OFFLINE:
        if path.is_file() and matches(path, expected):
            return path
        raise WeightsError(f"weights: HF_HUB_OFFLINE forbids to download {name}, and it is not in {folder}, or damaged")
    mirror = os.environ.get("KERAS_RESNET_MIRROR")
    download(f"{mirror.rstrip('/')}/{name}" if mirror else url, path, expected)
    return path


def from_hub(source: str, *files: str, largest: int = LARGEST) -> Path:
    """The first of some files that a hub's repository has, from the hub's cache if it is there and whole.

    Args:
        source: "hf://owner/repository", or with `@revision`.
        files: their names.
        largest: bytes that it may have.

    Raises:
        ValueError: no such repository or file, or it can neither be downloaded nor found in the cache.
    """
    match = REPOSITORY.fullmatch(source)
    if match is None:
        raise WeightsError(f"weights must be hf://owner/repository or with @revision. Received: {source!r}")
    repository, revision = match["repository"], match["revision"] or constants.DEFAULT_REVISION
    if constants.HF_HUB_OFFLINE:
        return _cached(repository, revision, files, "HF_HUB_OFFLINE forbids to download")
    for file in files:
        url = huggingface_hub.hf_hub_url(repository, file, revision=revision)
        try:
            remote = _remote(url, source)
        except FileNotFoundError:
            continue
        except ConnectionError as error:
            why = str(error)
        else:
            return _kept(url, remote, repository, revision, file, largest)
        return _cached(repository, revision, files, why)
    raise WeightsError(f"weights: {source} must have {' or '.join(files)}. Received: a repository without it")


def _remote(url: str, source: str) -> HfFileMetadata:
    """What the hub knows of a file.

    Raises:
        FileNotFoundError: the repository has no such file.
        ConnectionError: the hub gives no answer, or none that can be used.
    """
    try:
        remote = huggingface_hub.get_hf_file_metadata(url, timeout=constants.HF_HUB_ETAG_TIMEOUT)
    except errors.EntryNotFoundError:
        raise FileNotFoundError(url) from None
    except errors.RepositoryNotFoundError:
        raise WeightsError(f"weights: there is no repository {source}, or it is private: see HF_TOKEN") from None
    except errors.RevisionNotFoundError:
        raise WeightsError(f"weights: there is no such revision: {source}") from None
    except errors.HfHubHTTPError as error:
        raise ConnectionError(f"{shown(url)}: the hub answered {error.response.status_code}") from None
    except Exception as error:  # of whichever HTTP library the hub's client uses
        said = f"cannot be reached ({' '.join(str(error).split())[:100]})"
        if "timeout" in type(error).__name__.lower():
            said = f"said nothing for {constants.HF_HUB_ETAG_TIMEOUT} s"
        raise ConnectionError(f"{shown(url)}: the hub {said}") from None
    if not COMMIT.fullmatch(remote.commit_hash or "") or not ETAG.fullmatch(remote.etag or ""):
        raise ConnectionError(f"{shown(url)}: the answer is not a hub's; is HF_ENDPOINT a mirror of web pages?")
    return remote


def _kept(url: str, remote: HfFileMetadata, repository: str, revision: str, file: str, largest: int) -> Path:
    """Downloads a file into the hub's cache, as the hub's client would.

    That is: a blob named by its etag, a link to it under the commit, and the commit under the revision's name. Asked to
    make the links itself, the client asks the hub again, and waits for minutes if that has gone away in the meantime.
    """
    etag, commit = str(remote.etag), str(remote.commit_hash)
    headers = build_hf_headers()
    if urlsplit(remote.location)[:2] != urlsplit(url)[:2]:
        headers.pop("authorization", None)  # it is the hub's, not its storage's
    folder = _folder(repository)
    blob, link = folder / "blobs" / etag, folder / "snapshots" / commit / file
    download(remote.location, blob, _hash(etag), headers, largest)
    try:
        if not (link.exists() and link.samefile(blob)):
            link.parent.mkdir(parents=True, exist_ok=True)
            aside = _aside(link)
            try:
                aside.symlink_to(os.path.relpath(blob, link.parent))
            except OSError:  # Windows, some network drives
                shutil.copyfile(blob, aside)
            aside.replace(link)
        name = folder / "refs" / revision
        if revision != commit and not (name.is_file() and name.read_text("utf-8") == commit):
            name.parent.mkdir(parents=True, exist_ok=True)
            aside = _aside(name)
            aside.write_text(commit, "utf-8")
            aside.replace(name)
    except OSError as error:
        raise WeightsError(f"weights: cannot keep {file} in {folder}: {error.strerror or error}") from None
    return link


def _cached(repository: str, revision: str, files: Sequence[str], why: str) -> Path:
    """The first of some files that is in the hub's cache."""
    for file in files:
        found = huggingface_hub.try_to_load_from_cache(repository, file, revision=revision)
        if isinstance(found, str):
            path = Path(found)
            # The link's own target is the blob; that may be a link in turn, into a store that repositories share.
            if matches(path, _hash(path.readlink().name) if path.is_symlink() else ""):
                return path
            raise WeightsError(f"weights: {why}, and {path} in the cache is damaged")
    raise WeightsError(f"weights: {why}, and {' or '.join(files)} is not in the cache, {_folder(repository)}")


def _folder(repository: str) -> Path:
    return Path(constants.HF_HUB_CACHE) / repo_folder_name(repo_id=repository, repo_type="model")


def _aside(path: Path) -> Path:
    """Where to write what is then moved to `path`: another process sees the old one or the new one."""
    return path.with_name(f"{path.name}.{uuid.uuid4().hex}")


def _hash(etag: str) -> str:
    """A hub names large files by their SHA-256, and small ones by git's SHA-1."""
    kind = {64: "sha256", 40: "git"}.get(len(etag))
    return f"{kind}:{etag}" if kind and re.fullmatch("[0-9a-f]+", etag) else ""
