"""The text beside a SavedModel: what it is, how good, what goes in and out, and under which licence."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import keras
import tensorflow as tf

from keras_resnet.weights import Checkpoint

UNKNOWN = "not said"


def facts(model: keras.Model, checkpoint: Checkpoint | None, precision: str, size: int, classes: int) -> dict[str, str]:
    """What there is to say, by name."""
    accuracy = UNKNOWN
    if checkpoint and checkpoint.top1:
        accuracy = f"{checkpoint.top1:.2f} % top-1 on {checkpoint.data or 'its data'} ({checkpoint.top1_source})"
    files = f"centred square, resized to {size} pixels"
    if checkpoint:
        files = (
            f"shorter side to {size / checkpoint.crop_pct:.0f} pixels ({checkpoint.interpolation}), centre of {size}"
        )
    _, height, width, channels = model.input_shape
    return {
        "model": f"{model.name}, {model.count_params():,} parameters",
        "weights": f"{checkpoint.tag} ({checkpoint.source})" if checkpoint else UNKNOWN,
        "accuracy": accuracy,
        "licence of the weights": (checkpoint and checkpoint.licence) or UNKNOWN,
        "computed in": precision,
        "pixels": f"`image`: float32 (N, {height or 'any'}, {width or 'any'}, {channels}), 0 to 255, not normalised",
        "files": f"`image_bytes`: JPEG, PNG, WebP or the first picture of a GIF; {files}",
        "answers": f"probabilities of {classes} classes, float32",
        "made with": f"keras {keras.__version__}, tensorflow {tf.__version__}",
    }


def write(said: Mapping[str, str], path: Path) -> None:
    """One line a fact."""
    width = max(map(len, said))
    path.write_text("".join(f"{name:{width}}  {what}\n" for name, what in said.items()))
