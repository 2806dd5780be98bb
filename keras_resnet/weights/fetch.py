"""Finds the weights that a user names, and downloads them if they are not on this machine.

Files from URLs are stored in the cache of keras.applications, so that files in there are used; files from the Hugging
Face hub are stored in the hub's own cache.

Environment variables: HF_ENDPOINT, HF_HUB_OFFLINE, HF_HOME, HF_TOKEN, HF_HUB_ETAG_TIMEOUT (seconds for a request of
metadata) and HF_HUB_DOWNLOAD_TIMEOUT (seconds for a request of a file) as in huggingface_hub; KERAS_HOME as in Keras;
KERAS_RESNET_MIRROR: a base URL from which all files are downloaded that do not come from the hub;
KERAS_RESNET_MIN_SPEED: bytes in a second that a download must have on average after its first minute; 10000 if it is
not set, 0 for no limit.
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
from keras_resnet.weights.deadlines import PATIENCE, within
from keras_resnet.weights.download import LARGEST, UnavailableError, digest, download, matches, shown
from keras_resnet.weights.table import Checkpoint, detectors, table
from keras_resnet.weights.tensors import WeightsError

HUB = "hf://"
PACKAGE, SHIPPED = "package:", Path(__file__).parent / "shipped"
# Names of folders in the cache: none may be "." or "..", which are other folders.
NAME = r"(?!\.)[\w.-]+"
REPOSITORY = re.compile(rf"hf://(?P<repository>{NAME}/{NAME})(?:@(?!.*\.\.)(?P<revision>{NAME}(?:/{NAME})*))?")
FILES = ("model.safetensors", "pytorch_model.bin")
# Files in the cache are named by these values of a hub's answer. Any other text could name a file outside the cache.
COMMIT = re.compile("[0-9a-f]{40}")
ETAG = re.compile("[0-9A-Za-z][0-9A-Za-z._-]{0,127}")


def parse_source(source: str | os.PathLike[str]) -> Checkpoint | Path:
    """The checkpoint or file that a string or path means.

    Args:
        source: "hf://owner/repository", "hf://owner/repository@revision", or the path of a file.

    Returns:
        A checkpoint for a repository of the hub, for a file with metadata of this package, and for a file with the hash
        of a published one. Otherwise the path, whether the file exists or not.

    Raises:
        TypeError: `source` is neither a string nor a path, or is empty.
        ValueError: the repository cannot be used.
    """
    if not isinstance(source, str | os.PathLike) or not isinstance(text := os.fspath(source), str) or not text:
        raise TypeError(f"weights must be a tag, hf://owner/repository, a path or a Checkpoint. Received: {source!r}")
    if text.startswith(HUB):
        return timm_models.checkpoint_of(text, from_hub)
    path = Path(text).expanduser()
    return (metadata.read_metadata(path) or _published(path) or path) if path.is_file() else path


def _published(path: Path) -> Checkpoint | None:
    """The published checkpoint whose hash a file has; None if there is none."""
    digests = {kind: digest(path, kind) for kind in ("md5", "sha256")}
    for row in (*table(), *detectors()):
        for expected in (row.hash, row.notop_hash):
            kind, _, start = expected.partition(":")
            if start and digests[kind].startswith(start):
                return dataclasses.replace(row, source=str(path), hash=expected, notop="")
    return None


def local_file(checkpoint: Checkpoint, include_top: bool) -> Path:
    """The file of a checkpoint, downloaded if it is not on this machine.

    Args:
        checkpoint: the checkpoint.
        include_top: whether the model has a classifier; if not, the smaller file without classifier is used if there
            is one.

    Returns:
        The path of the file.

    Raises:
        ValueError: the file cannot be downloaded, or does not have the hash of the checkpoint.
    """
    smaller = checkpoint.notop and not include_top
    source, expected = (checkpoint.notop, checkpoint.notop_hash) if smaller else (checkpoint.source, checkpoint.hash)
    if source.startswith(("http://", "https://")):
        return from_url(source, expected)
    if source.startswith(PACKAGE):
        path = SHIPPED / source.removeprefix(PACKAGE)
    else:
        path = from_hub(source, *FILES) if source.startswith(HUB) else Path(source).expanduser()
    if path.is_file() and not matches(path, expected):  # the file is not removed: it may be the user's own
        kind = expected.partition(":")[0]
        raise WeightsError(
            f"weights: {source} must have the hash {expected}. Received: {path} with {kind}:{digest(path, kind)}"
        )
    return path


def from_url(url: str, expected: str) -> Path:
    """The file of a URL, from Keras' cache if it is there with the right hash, otherwise downloaded.

    Args:
        url: the URL of the file.
        expected: the hash of the file, see `download`; "" if it is not known.

    Returns:
        The path of the file.

    Raises:
        ValueError: the file cannot be downloaded or has another hash.
    """
    name = Path(urlsplit(url).path).name
    folder = Path(os.environ.get("KERAS_HOME", "~/.keras")).expanduser() / "models"
    if not expected:  # two URLs may end in the same file name
        folder /= hashlib.sha256(url.encode()).hexdigest()[:16]
    path = folder / name
    if constants.HF_HUB_OFFLINE:
        if path.is_file() and matches(path, expected):
            return path
        raise WeightsError(
            f"weights: HF_HUB_OFFLINE forbids the download of {name}, and {folder} has no good copy of it; "
            f"{_by_hand(path)}, or unset HF_HUB_OFFLINE"
        )
    mirror = os.environ.get("KERAS_RESNET_MIRROR")
    try:
        download(f"{mirror.rstrip('/')}/{name}" if mirror else url, path, expected)
    except UnavailableError as error:
        raise WeightsError(f"{error}. KERAS_RESNET_MIRROR can name another server; {_by_hand(path)}") from None
    return path


def _by_hand(path: Path) -> str:
    return f"without a network, copy the file to {path}"


def from_hub(source: str, *files: str, largest: int = LARGEST) -> Path:
    """The first of `files` that a repository of the hub has, from the hub's cache if it is there undamaged.

    Args:
        source: "hf://owner/repository" or "hf://owner/repository@revision".
        files: names of files, the preferred one first.
        largest: largest size of the file in bytes.

    Returns:
        The path of the file.

    Raises:
        ValueError: there is no such repository or file, or it can neither be downloaded nor found in the cache.
    """
    match = REPOSITORY.fullmatch(source)
    if match is None:
        raise WeightsError(
            f"weights must be hf://owner/repository or hf://owner/repository@revision. Received: {source!r}"
        )
    repository, revision = match["repository"], match["revision"] or constants.DEFAULT_REVISION
    if constants.HF_HUB_OFFLINE:
        return _from_cache(repository, revision, files, "HF_HUB_OFFLINE forbids downloads")
    for file in files:
        url = huggingface_hub.hf_hub_url(repository, file, revision=revision)
        try:
            remote = _remote_metadata(url, source)
        except FileNotFoundError:
            continue
        except ConnectionError as error:
            reason = str(error)
        else:
            return _download_into_cache(url, remote, repository, revision, file, largest)
        return _from_cache(repository, revision, files, reason)
    raise WeightsError(f"weights: {source} must have {' or '.join(files)}. Received: a repository without it")


def _remote_metadata(url: str, source: str) -> HfFileMetadata:
    """The metadata of a file on the hub: its commit, its etag and its location.

    Raises:
        FileNotFoundError: the repository has no such file.
        ConnectionError: the hub does not answer, or its answer cannot be used.
        WeightsError: there is no such repository or revision.
    """
    try:
        timeout = constants.HF_HUB_ETAG_TIMEOUT
        remote = within(PATIENCE + 2 * timeout, lambda: huggingface_hub.get_hf_file_metadata(url, timeout=timeout))
    except errors.EntryNotFoundError:
        raise FileNotFoundError(url) from None
    except errors.RepositoryNotFoundError:
        raise WeightsError(f"weights: there is no repository {source}, or it is private and needs HF_TOKEN") from None
    except errors.RevisionNotFoundError:
        raise WeightsError(f"weights: the repository has no such revision. Received: {source}") from None
    except errors.HfHubHTTPError as error:
        raise ConnectionError(f"{shown(url)}: the hub answered {error.response.status_code}") from None
    except TimeoutError as error:
        raise ConnectionError(f"{shown(url)}: the hub cannot be reached ({error})") from None
    except Exception as error:  # the type depends on the HTTP library of the hub's client
        reason = f"cannot be reached ({' '.join(str(error).split())[:100]})"
        if "timeout" in type(error).__name__.lower():
            reason = f"did not answer for {constants.HF_HUB_ETAG_TIMEOUT} s"
        raise ConnectionError(f"{shown(url)}: the hub {reason}") from None
    if not COMMIT.fullmatch(remote.commit_hash or "") or not ETAG.fullmatch(remote.etag or ""):
        raise ConnectionError(f"{shown(url)}: the answer is not that of a hub; does HF_ENDPOINT name a hub?")
    return remote


def _download_into_cache(
    url: str, remote: HfFileMetadata, repository: str, revision: str, file: str, largest: int
) -> Path:
    """Downloads a file into the hub's cache, with the same layout as the hub's client.

    The layout has a blob that is named by its etag, a link to the blob in the folder of the commit, and a file with the
    name of the revision that contains the commit. The client is not used to make the links: it sends another request to
    the hub, and waits for minutes if the hub is not available any more.
    """
    etag, commit = str(remote.etag), str(remote.commit_hash)
    headers = build_hf_headers()
    if urlsplit(remote.location)[:2] != urlsplit(url)[:2]:
        headers.pop("authorization", None)  # the token is for the hub, not for its storage server
    folder = _cache_folder(repository)
    blob, link = folder / "blobs" / etag, folder / "snapshots" / commit / file
    try:
        download(remote.location, blob, _expected_hash(etag), headers, largest)
    except UnavailableError as error:
        raise WeightsError(
            f"{error}. {file} of {repository} goes to {folder}; HF_ENDPOINT can name another hub"
        ) from None
    try:
        if not (link.exists() and link.samefile(blob)):
            link.parent.mkdir(parents=True, exist_ok=True)
            temporary = _temporary_path(link)
            try:
                temporary.symlink_to(os.path.relpath(blob, link.parent))
            except OSError:  # links do not work on Windows and on some network drives
                shutil.copyfile(blob, temporary)
            temporary.replace(link)
        reference = folder / "refs" / revision
        if revision != commit and not (reference.is_file() and reference.read_text("utf-8") == commit):
            reference.parent.mkdir(parents=True, exist_ok=True)
            temporary = _temporary_path(reference)
            temporary.write_text(commit, "utf-8")
            temporary.replace(reference)
    except OSError as error:
        raise WeightsError(f"weights: cannot store {file} in {folder}: {error.strerror or error}") from None
    return link


def _from_cache(repository: str, revision: str, files: Sequence[str], reason: str) -> Path:
    """The first of `files` that is in the hub's cache; `reason` says why nothing is downloaded."""
    for file in files:
        cached = huggingface_hub.try_to_load_from_cache(repository, file, revision=revision)
        if isinstance(cached, str):
            path = Path(cached)
            # The link points to the blob. The blob may itself be a link to a file that several repositories share.
            if matches(path, _expected_hash(path.readlink().name) if path.is_symlink() else ""):
                return path
            raise WeightsError(f"weights: {reason}, and {path} in the cache is damaged")
    raise WeightsError(
        f"weights: {reason}, and {' or '.join(files)} is not in the cache, {_cache_folder(repository)}. HF_ENDPOINT "
        f"can name another hub; without a network, copy this folder from where `hf download {repository}` ran"
    )


def _cache_folder(repository: str) -> Path:
    return Path(constants.HF_HUB_CACHE) / repo_folder_name(repo_id=repository, repo_type="model")


def _temporary_path(path: Path) -> Path:
    """A new path next to `path`. A file is written there and renamed, so other processes see the old or the new one."""
    return path.with_name(f"{path.name}.{uuid.uuid4().hex}")


def _expected_hash(etag: str) -> str:
    """The hash of a file from its etag: a hub uses SHA-256 for large files, and git's SHA-1 for small ones."""
    kind = {64: "sha256", 40: "git"}.get(len(etag))
    return f"{kind}:{etag}" if kind and re.fullmatch("[0-9a-f]+", etag) else ""
