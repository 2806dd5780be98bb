"""Limits of what metadata of strangers may declare; they are checked by arithmetic, before anything is built.

A few bytes of a hub's config.json, or of a card, decide how large a network and its images are. Without these limits
they could fill the memory of the machine.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from keras_resnet._internal.validation import integer, number, one_of
from keras_resnet.inputs import IMAGENET_MEAN
from keras_resnet.weights.table import (
    INTERPOLATIONS,
    LARGEST_SIDE,
    MOST_CLASSES,
    SMALLEST_CROP,
    SMALLEST_STD,
    Checkpoint,
)
from keras_resnet.weights.tensors import WeightsError

MOST_CHANNELS = 256  # of images; satellites have up to 242
MOST_PARAMETERS = 10**9  # the largest ResNeXt of timm, 32x48d, has 0.83e9


def within_limits(checkpoint: Checkpoint) -> Checkpoint:
    """A checkpoint from metadata, with its numbers as ints and floats, if all of them are possible for images.

    Raises:
        ValueError, TypeError: a field is outside its limits; the message names it.
    """
    channels = whole("in_chans", checkpoint.channels, 1, MOST_CHANNELS)
    mean = tuple(number("mean", value, "[-1000, 1000]") for value in checkpoint.mean)
    std = tuple(number("std", value, f"[{SMALLEST_STD}, 1000]") for value in checkpoint.std)
    if len(mean) != len(std) or len(mean) not in (len(IMAGENET_MEAN), channels):
        raise ValueError(
            f"mean and std must have {channels} numbers, one for each channel. Received: mean={mean}, std={std}"
        )
    return dataclasses.replace(
        checkpoint,
        channels=channels,
        mean=mean,
        std=std,
        size=whole("size", checkpoint.size, 1, LARGEST_SIDE),
        crop_pct=number("crop_pct", checkpoint.crop_pct, f"[{SMALLEST_CROP}, 1]"),
        interpolation=one_of("interpolation", checkpoint.interpolation, INTERPOLATIONS),
        classes=whole("num_classes", checkpoint.classes, 0, MOST_CLASSES),
    )


def check_parameters(source: str, parameters: int) -> None:
    """Raises a `WeightsError` if a network that `source` describes has too many parameters."""
    if parameters > MOST_PARAMETERS:
        raise WeightsError(
            f"weights: {source} must describe a network of at most {MOST_PARAMETERS:,} parameters. Received: "
            f"{parameters:,}"
        )


def check_file(source: str, parameters: int, path: Path) -> None:
    """Raises a `WeightsError` if a file is too small for the parameters of the network that `source` describes.

    A parameter in float16, the smallest type that is read, has two bytes; half of that is asked for, because an archive
    may be compressed.
    """
    if parameters > (size := path.stat().st_size):
        raise WeightsError(
            f"weights: {source} must have the weights of the network that it describes, {parameters:,} parameters. "
            f"Received: {path.name} with {size:,} bytes"
        )


def whole(name: str, value: Any, least: int, most: int) -> int:
    """`value` as an int, if it is a whole number from `least` to `most`."""
    return int(number(name, integer(name, value, least), f"[{least}, {most}]"))
