"""Metadata in a weights file ("card"): how to build the network and how to prepare pixels for its weights.

Weights alone do not show where a network has its strides or how pixels are prepared. This package writes both into
`.keras` and safetensors files.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors

from keras_resnet._internal.validation import integer, number
from keras_resnet.inputs import IMAGENET_MEAN, IMAGENET_STD
from keras_resnet.weights.limits import within_limits
from keras_resnet.weights.readers import zips
from keras_resnet.weights.table import Checkpoint
from keras_resnet.weights.tensors import LARGEST_INDEX, WeightsError
from keras_resnet.weights.variants import VARIANTS

KEY = "keras_resnet"
TEXTS = ("model", "tag", "form", "licence", "top1_source", "data")
WRITTEN = (
    "model",
    "tag",
    "form",
    "mean",
    "std",
    "size",
    "crop_pct",
    "interpolation",
    "licence",
    "top1",
    "top1_source",
    "data",
    "classes",
    "channels",
)
ADDED = ("channels",)  # files of before do not have it; their networks had the default


def is_zoo_network(checkpoint: Checkpoint) -> bool:
    """Whether a checkpoint fits the zoo's model without changes, so that its file needs no metadata."""
    default = tuple(checkpoint.mean) == IMAGENET_MEAN and tuple(checkpoint.std) == IMAGENET_STD
    return default and not VARIANTS[checkpoint.form or "torch"].fields


def metadata_of(checkpoint: Checkpoint, model: str, classes: int) -> dict[str, str]:
    """The metadata of a safetensors file with the weights of `checkpoint` for a zoo model."""
    values = {name: getattr(checkpoint, name) for name in WRITTEN}
    values |= {"model": model, "form": checkpoint.form or "torch", "classes": classes}
    return {"format": "keras", KEY: json.dumps(values)}


def read_metadata(path: Path) -> Checkpoint | None:
    """The checkpoint that the metadata of a file describes; None if the file has no such metadata.

    Raises:
        ValueError: the metadata is not valid.
    """
    text = _metadata_text(path)
    if not text:
        return None
    try:
        metadata: dict[str, Any] = json.loads(text)
        variant = VARIANTS[metadata["form"]]
        checkpoint = Checkpoint(
            **{name: metadata[name] for name in WRITTEN if name in metadata or name not in ADDED},
            source=str(path),
            fields=variant.fields,
            epsilon=variant.epsilon,
        )
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise WeightsError(
            f"weights: the metadata in {path} must be JSON that keras_resnet wrote. Received: {text[:100]!r}, which "
            f"raises {type(error).__name__}"
        ) from error
    try:
        for name in TEXTS:
            if not isinstance(getattr(checkpoint, name), str):
                raise TypeError(f"{name} must be a text. Received: {getattr(checkpoint, name)!r:.50}")
        if checkpoint.top1 is not None:
            number("top1", checkpoint.top1, "[0, 100]")
        integer("classes", checkpoint.classes)
        return within_limits(checkpoint)
    except (ValueError, TypeError, OverflowError) as error:
        raise WeightsError(
            f"weights: the metadata in {path} must describe a network of keras_resnet: {str(error)[:200]}"
        ) from error


def _metadata_text(path: Path) -> str:
    """The metadata of a safetensors file, or the comment of a ZIP archive, which Keras does not read; or ""."""
    with path.open("rb") as file:
        start = file.read(8)
    try:
        if start.startswith(b"PK"):
            with zips.open_archive(path) as archive:
                return archive.comment.decode().removeprefix(KEY) if archive.comment.startswith(KEY.encode()) else ""
        if int.from_bytes(start, "little") > LARGEST_INDEX:
            return ""
        with safetensors.safe_open(path, framework="numpy") as opened:
            return (opened.metadata() or {}).get(KEY, "")
    except (OSError, ValueError, safetensors.SafetensorError, zipfile.BadZipFile):
        return ""  # a file of another kind, or a damaged one: the reader raises the error


def write_metadata(archive: Path, metadata: Mapping[str, str]) -> None:
    """Writes metadata into a `.keras` file.

    Args:
        archive: the file.
        metadata: the result of `metadata_of`.
    """
    with zipfile.ZipFile(archive, "a") as file:
        file.comment = (KEY + metadata[KEY]).encode()
