"""The card in a file: what a network is built with so that the file's weights say the right thing.

Weights alone do not tell where a network strides or how pixels are prepared. `.keras` files hold the network itself;
a safetensors file that this package wrote says it in its metadata.
"""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import safetensors

from keras_resnet.inputs import IMAGENET_MEAN, IMAGENET_STD
from keras_resnet.weights.forms import FORMS
from keras_resnet.weights.table import Checkpoint
from keras_resnet.weights.tensors import WeightsError

KEY = "keras_resnet"
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
)


def is_plain(checkpoint: Checkpoint) -> bool:
    """Whether the zoo's row as it stands is the network that a checkpoint fits, so that a file needs no card."""
    default = tuple(checkpoint.mean) == IMAGENET_MEAN and tuple(checkpoint.std) == IMAGENET_STD
    return default and not FORMS[checkpoint.form or "torch"].fields


def written(checkpoint: Checkpoint, model: str) -> dict[str, str]:
    """The metadata of a safetensors file for a zoo model with these weights."""
    values = {name: getattr(checkpoint, name) for name in WRITTEN}
    return {"format": "keras", KEY: json.dumps({**values, "model": model, "form": checkpoint.form or "torch"})}


def read(path: Path) -> Checkpoint | None:
    """The checkpoint that a file's card describes; None if it has no card.

    Raises:
        ValueError: the card says what cannot be.
    """
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
    except (OSError, safetensors.SafetensorError):
        return None  # another kind of file
    if KEY not in metadata:
        return None
    try:
        card: dict[str, Any] = json.loads(metadata[KEY])
        form = FORMS[card["form"]]
        checkpoint = Checkpoint(
            **{name: card[name] for name in WRITTEN},
            source=str(path),
            fields=form.fields,
            epsilon=form.epsilon,
        )
        checkpoint = dataclasses.replace(
            checkpoint, mean=tuple(map(float, checkpoint.mean)), std=tuple(map(float, checkpoint.std))
        )
        numbers = (*checkpoint.mean, *checkpoint.std, float(checkpoint.crop_pct))
        possible = (
            len(checkpoint.mean) == len(checkpoint.std) == 3
            and all(map(math.isfinite, numbers))
            and min(*checkpoint.std, checkpoint.crop_pct) > 0
            and all(isinstance(value, int) and 0 < value <= 100_000 for value in (checkpoint.size, checkpoint.classes))
        )
    except (ValueError, TypeError, KeyError) as error:
        raise WeightsError(f"weights: the card in {path} cannot be read: {error!r}") from error
    if not possible:
        raise WeightsError(f"weights: the card in {path} must be of a network of ours. Received: {metadata[KEY][:200]}")
    return checkpoint
