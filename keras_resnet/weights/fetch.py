"""Fetching: from what a user calls weights to a file on this machine.

A URL is kept where keras.applications keeps it, so that what that has downloaded is used; a hub's file in the hub's own
cache. HF_ENDPOINT, HF_HUB_OFFLINE, HF_HOME, HF_TOKEN and HF_HUB_DOWNLOAD_TIMEOUT are the hub's settings, KERAS_HOME is
Keras'; KERAS_RESNET_MIRROR is a URL under which the files are that do not come from a hub.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from urllib.parse import urlsplit

import huggingface_hub
from huggingface_hub import constants, errors
from huggingface_hub.file_download import repo_folder_name
from huggingface_hub.utils import build_hf_headers

from keras_resnet.weights import timm_models
from keras_resnet.weights.download import download, matches
from keras_resnet.weights.table import Checkpoint
from keras_resnet.weights.tensors import WeightsError

HUB = "hf://"
REPOSITORY = re.compile(r"hf://(?P<repository>[\w.-]+/[\w.-]+)(?:@(?P<revision>[\w./-]+))?")
FILES = ("model.safetensors", "pytorch_model.bin")


def of_source(source: str | os.PathLike[str]) -> Checkpoint | Path:
    """What a string or path stands for: a hub's repository is a checkpoint, all else a file."""
    text = os.fspath(source)
    if text.startswith(HUB):
        return timm_models.from_hub(text, from_hub)
    return Path(text).expanduser()


def local_file(checkpoint: Checkpoint, include_top: bool) -> Path:
    """The file of a checkpoint, downloaded if it is not here yet; the smaller one without a head where that will do."""
    smaller = checkpoint.notop and not include_top
    source, expected = (checkpoint.notop, checkpoint.notop_hash) if smaller else (checkpoint.source, checkpoint.hash)
    if source.startswith(HUB):
        return _weights_from_hub(source)
    if not source.startswith(("http://", "https://")):
        return Path(source)
    return from_url(source, expected)


def from_url(url: str, expected: str) -> Path:
    """The file behind a URL, from Keras' cache if it is there and has the hash that is expected."""
    name = Path(urlsplit(url).path).name
    path = Path(os.environ.get("KERAS_HOME", "~/.keras")).expanduser() / "models" / name
    if path.is_file() and matches(path, expected):
        return path
    if constants.HF_HUB_OFFLINE:
        raise WeightsError(f"weights: {name} is not in {path.parent}, and HF_HUB_OFFLINE forbids to download it")
    mirror = os.environ.get("KERAS_RESNET_MIRROR")
    download(f"{mirror.rstrip('/')}/{name}" if mirror else url, path, expected)
    return path


def from_hub(source: str, file: str) -> Path:
    """A file of a hub's repository, from the hub's cache if it is there and whole.

    Args:
        source: "hf://owner/repository", or with `@revision`.
        file: its name.

    Raises:
        ValueError: no such repository or file, or it can neither be downloaded nor found in the cache.
    """
    match = REPOSITORY.fullmatch(source)
    if match is None:
        raise WeightsError(f"weights must be hf://owner/repository or with @revision. Received: {source!r}")
    repository, revision = match["repository"], match["revision"] or constants.DEFAULT_REVISION
    if constants.HF_HUB_OFFLINE:
        return _cached(repository, revision, file, "HF_HUB_OFFLINE forbids to download it")
    url = huggingface_hub.hf_hub_url(repository, file, revision=revision)
    headers = build_hf_headers()
    try:
        remote = huggingface_hub.get_hf_file_metadata(url, timeout=constants.HF_HUB_ETAG_TIMEOUT)
    except errors.EntryNotFoundError:
        raise FileNotFoundError(f"{source} has no {file}") from None
    except errors.RepositoryNotFoundError:
        raise WeightsError(f"weights: there is no repository {repository!r}, or it is private: see HF_TOKEN") from None
    except errors.RevisionNotFoundError:
        raise WeightsError(f"weights: {repository!r} has no revision {revision!r}") from None
    except errors.HfHubHTTPError as error:
        return _cached(repository, revision, file, f"the hub answered {error.response.status_code}")
    except errors.FileMetadataError:
        return _cached(repository, revision, file, f"{urlsplit(url).netloc} does not answer as a hub does")
    except Exception:  # of whichever HTTP library the hub's client uses
        return _cached(repository, revision, file, f"{urlsplit(url).netloc} cannot be reached")

    # The hub's client finds the blob in its cache and links it; `download` is why it is whole and right.
    etag = str(remote.etag)
    blob = Path(constants.HF_HUB_CACHE) / repo_folder_name(repo_id=repository, repo_type="model") / "blobs" / etag
    if urlsplit(remote.location).netloc != urlsplit(url).netloc:
        headers.pop("authorization", None)  # it is the hub's, not its storage's
    download(remote.location, blob, _hash(etag), headers)
    return Path(huggingface_hub.hf_hub_download(repository, file, revision=remote.commit_hash))


def _weights_from_hub(source: str) -> Path:
    for file in FILES:
        try:
            path = from_hub(source, file)
        except FileNotFoundError:
            continue
        expected = _hash(path.resolve().name)
        if not matches(path, expected):
            path.resolve().unlink()
            return from_hub(source, file)
        return path
    raise WeightsError(f"weights: {source} must have one of {', '.join(FILES)}. Received: neither")


def _cached(repository: str, revision: str, file: str, why: str) -> Path:
    found = huggingface_hub.try_to_load_from_cache(repository, file, revision=revision)
    if isinstance(found, str):
        return Path(found)
    raise WeightsError(f"weights: {why}, and {file} of {repository} is not in the cache, {constants.HF_HUB_CACHE}")


def _hash(etag: str) -> str:
    """A hub names large files by their SHA-256, and small ones by git's SHA-1."""
    kind = {64: "sha256", 40: "git"}.get(len(etag))
    return f"{kind}:{etag}" if kind and re.fullmatch("[0-9a-f]+", etag) else ""
