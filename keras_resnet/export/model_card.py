"""The model card, `card.txt` in a SavedModel: model, weights, accuracy, licence, inputs and outputs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import keras
import tensorflow as tf

from keras_resnet.data.pipeline import Resize
from keras_resnet.weights import Checkpoint

UNKNOWN = "unknown"


def describe_files(checkpoint: Checkpoint | None, size: int, resize: Resize | None) -> str:
    """How image files become pixels, in words.

    Args:
        checkpoint: the published weights, whose own resizing and crop are used if there is no `resize`; or None, for
            the centre square.
        size: side of the pixels that the network gets.
        resize: the caller's function `(image, size) -> image`, or None.
    """
    if resize is not None:
        return f"resized to {size} pixels by `{getattr(resize, '__name__', 'a function')}`"
    if checkpoint is None:
        return f"centred square, resized to {size} pixels"
    return f"shorter side to {size / checkpoint.crop_pct:.0f} pixels ({checkpoint.interpolation}), centre of {size}"


def describe_answers(classes: int, signatures: Iterable[str]) -> dict[str, str]:
    """The lines about what the signatures answer.

    Args:
        classes: number of classes.
        signatures: names of the signatures.
    """
    lines = {"answers": f"probabilities of {classes} classes, float32"}
    if "explain" in signatures:
        lines["heat maps"] = "`explain`: `heat_map`, float32 (N, h, w): how much each place speaks for the class"
    return lines


def facts(
    model: keras.Model, checkpoint: Checkpoint | None, precision: str, files: str, answers: Mapping[str, str]
) -> dict[str, str]:
    """The lines of the card: name of a fact -> the fact.

    Args:
        model: the network that is exported.
        checkpoint: its published weights, or None.
        precision: text about the type that it is computed in.
        files: text about how files become pixels, from `describe_files`.
        answers: texts about what the signatures answer, from `describe_answers`.
    """
    _, height, width, channels = model.inputs[0].shape
    return {
        "model": f"{model.name}, {model.count_params():,} parameters",
        "weights": f"{checkpoint.tag} ({checkpoint.source})" if checkpoint else UNKNOWN,
        "accuracy": _accuracy(checkpoint),
        "licence of the weights": (checkpoint and checkpoint.licence) or UNKNOWN,
        "computed in": precision,
        "pixels": f"`image`: float32 (N, {height or 'any'}, {width or 'any'}, {channels}), 0 to 255, not normalised",
        "files": f"`image_bytes`: JPEG, PNG, WebP or the first picture of a GIF; {files}",
        **answers,
        "made with": f"keras {keras.__version__}, tensorflow {tf.__version__}",
    }


def _accuracy(checkpoint: Checkpoint | None) -> str:
    if checkpoint and checkpoint.box_ap:
        return f"{checkpoint.box_ap:.1f} box AP on {checkpoint.data or 'its data'} ({checkpoint.top1_source})"
    if checkpoint and checkpoint.top1:
        balanced = checkpoint.balanced_accuracy
        return (
            f"{checkpoint.top1:.2f} % top-1{'' if balanced is None else f', {balanced:.2f} % balanced accuracy,'} "
            f"on {checkpoint.data or 'its data'} at {checkpoint.size} pixels "
            f"({checkpoint.top1_source})"
        )
    return UNKNOWN


def write(lines: Mapping[str, str], path: Path) -> None:
    """Writes one line for each fact."""
    width = max(map(len, lines))
    path.write_text("".join(f"{name:{width}}  {fact}\n" for name, fact in lines.items()))
