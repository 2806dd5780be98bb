"""timm's residual networks: from a name such as `seresnext101d_32x8d` to arguments of `ResNet`, and from a repository
on the hub to a checkpoint.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import math
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from keras_resnet import gates, shortcuts, stems
from keras_resnet._internal.validation import integer
from keras_resnet.blocks import BASIC_DEPTHS, BOTTLENECK_DEPTHS, RS_DEPTHS, bottleneck_block, residual_block
from keras_resnet.gates import Gate
from keras_resnet.weights.table import MOST_CLASSES, Checkpoint
from keras_resnet.weights.tensors import WeightsError

LARGEST_CONFIG = 2**20  # bytes
NAME = re.compile(
    r"(?P<wide>wide_)?(?P<gate>se|eca)?res(?P<kind>net|next)(?P<family>v2_|rs)?(?P<depth>\d+)(?P<stem>[cdst]?)"
    r"(?:_(?P<groups>\d+)x(?P<width>\d+)d|_(?P<factor>2))?"
)
STEMS: dict[str, dict[str, Any]] = {
    "": {},
    "c": {"stem": stems.deep},
    "d": {"stem": stems.deep, "shortcut": shortcuts.pool_project},
    "t": {"stem": stems.deep_tiered, "shortcut": shortcuts.pool_project},
    "s": {"stem": stems.deep, "stem_filters": 128},
}
GATES: dict[str, Gate] = {"se": gates.squeeze_excite, "eca": gates.efficient_channel_attention}
RS = {
    "stem": stems.deep_strided,
    "shortcut": shortcuts.pool_project,
    "gate": functools.partial(gates.squeeze_excite, ratio=0.25),
}


def architecture(name: str) -> dict[str, Any]:
    """The arguments of `ResNet` that build timm's model of this name.

    Args:
        name: timm's name of an architecture, for example "resnet50d" or "seresnext101_32x8d".

    Raises:
        ValueError: timm has no residual network with this name, or the network has parts that this package does not
            have.
    """
    match = NAME.fullmatch(name)
    depth = int(match["depth"]) if match else 0
    depths = RS_DEPTHS if match and match["family"] == "rs" else BASIC_DEPTHS | BOTTLENECK_DEPTHS
    if (
        match is None
        or depth not in depths
        or (match["kind"] == "next") != (match["groups"] is not None)
        or (match["wide"] is None) != (match["factor"] is None)
    ):
        raise WeightsError(
            "weights: timm's architecture must be one that keras_resnet can build: resnet, resnetv2, resnext, their "
            "wide, se and eca variants, or resnetrs, with plain batch norm and without blur pooling. Received: "
            f"{name[:100]!r}"
        )
    fields: dict[str, Any] = {
        "depths": depths[depth],
        "block": residual_block if depth in BASIC_DEPTHS else bottleneck_block,
    }
    fields |= STEMS[match["stem"]]
    if match["family"] == "rs":
        fields |= RS
    if match["family"] == "v2_":
        fields["ordering"] = "full_preactivation"
    if match["gate"]:
        fields["gate"] = GATES[match["gate"]]
    if match["groups"]:
        fields |= {"groups": int(match["groups"]), "base_width": int(match["width"])}
    if match["wide"]:
        fields["base_width"] = 128
    return fields


def checkpoint_of(source: str, fetch: Callable[..., Path]) -> Checkpoint:
    """The checkpoint in a repository of timm's layout, as its config.json describes it.

    Args:
        source: "hf://owner/repository" for the newest revision, or "hf://owner/repository@revision".
        fetch: a function `(source, file name, largest=bytes) -> path` that fetches a file of the repository.

    Raises:
        ValueError: the repository has no config.json, or describes a network that cannot be built.
    """
    path = fetch(source, "config.json", largest=LARGEST_CONFIG)
    try:
        with path.open("rb") as file:
            config = json.loads(file.read(LARGEST_CONFIG))
        facts = {**config, **config.get("pretrained_cfg", {})}
        name, pooling = config["architecture"], config.get("global_pool", "avg")
        model_args = config.get("model_args")
        # Some checkpoints are evaluated with another size and crop than they were trained with.
        input_size = facts.get("test_input_size") or facts["input_size"]
        channels, _, size = (integer("input_size", side) for side in input_size)
        checkpoint = Checkpoint(
            model="",
            tag=source,
            source=source,
            mean=_statistics("mean", facts["mean"]),
            std=_statistics("std", facts["std"], above=0),
            size=size,
            crop_pct=float(facts.get("test_crop_pct") or facts["crop_pct"]),
            interpolation=str(facts["interpolation"]),
            licence=str(facts.get("license") or ""),
            classes=integer("num_classes", config["num_classes"], 0),
            data="imagenet" if "in1k" in source else "",
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, OSError) as error:
        raise WeightsError(f"weights: {source} must have timm's config.json. Received: {error!r:.200} in it") from None
    if pooling != "avg" or channels != 3 or model_args or checkpoint.classes > MOST_CLASSES:
        raise WeightsError(
            f"weights: {source} must have average pooling, 3 channels and at most {MOST_CLASSES:,} classes, without "
            f"model_args. Received: global_pool={pooling!r:.50}, {channels} channels, {checkpoint.classes:,} classes, "
            f"model_args={model_args!r:.99}"
        )
    return dataclasses.replace(checkpoint, fields=architecture(str(name)))


def _statistics(name: str, values: Sequence[float], above: float = -math.inf) -> tuple[float, ...]:
    """Mean or standard deviation of the three channels, as floats; each must be greater than `above`."""
    numbers = tuple(float(value) for value in values)
    if len(numbers) != 3 or not all(above < number < math.inf for number in numbers):
        kind = "positive numbers" if above == 0 else "numbers"
        raise ValueError(f"{name} must be three {kind}. Received: {values!r:.100}")
    return numbers
