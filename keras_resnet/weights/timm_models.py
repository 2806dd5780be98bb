"""timm's residual networks: from a name such as `seresnext101d_32x8d` to arguments of `ResNet`, and from a repository
on the hub to a checkpoint.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from keras_resnet import gates, shortcuts, stems
from keras_resnet._internal.validation import number
from keras_resnet.blocks import BASIC_DEPTHS, BOTTLENECK_DEPTHS, RS_DEPTHS, bottleneck_block, residual_block
from keras_resnet.gates import Gate
from keras_resnet.weights.limits import MOST_CHANNELS, whole, within_limits
from keras_resnet.weights.table import Checkpoint
from keras_resnet.weights.tensors import WeightsError

LARGEST_CONFIG = 2**20  # bytes
# Arguments of timm's networks that either are part of a checkpoint here or matter only while timm trains.
HARMLESS = (
    "num_classes",
    "in_chans",
    "global_pool",
    "drop_rate",
    "drop_path_rate",
    "drop_block_rate",
    "zero_init_last",
)
NAME = re.compile(
    r"(?P<wide>wide_)?(?P<gate>se|eca)?res(?P<kind>net|next)(?P<family>v2_|rs)?(?P<depth>\d{1,4})(?P<stem>[cdst]?)"
    r"(?:_(?P<groups>\d{1,6})x(?P<width>\d{1,6})d|_(?P<factor>2))?"
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
        # timm gives `model_args` to the network, and takes the other values for what they do not have.
        model_args = {name: value for name, value in (config.get("model_args") or {}).items() if value is not None}
        facts = {**config, **config.get("pretrained_cfg", {})}
        name = config["architecture"]
        pooling = model_args.get("global_pool", config.get("global_pool", "avg"))
        # Some checkpoints are evaluated with another size and crop than they were trained with.
        channels, height, size = facts.get("test_input_size") or facts["input_size"]
        if height != size:
            raise ValueError(f"input_size must be square. Received: {height} x {size}")
        channels = whole("in_chans", model_args.get("in_chans", channels), 1, MOST_CHANNELS)
        checkpoint = within_limits(
            Checkpoint(
                model="",
                tag=source,
                source=source,
                mean=_statistics("mean", facts["mean"], channels),
                std=_statistics("std", facts["std"], channels),
                size=size,
                crop_pct=facts["crop_pct"] if facts.get("test_crop_pct") is None else facts["test_crop_pct"],
                interpolation=facts["interpolation"],
                licence=str(facts.get("license") or ""),
                classes=model_args.get("num_classes", config.get("num_classes", facts["num_classes"])),
                data="imagenet" if "in1k" in source else "",
                channels=channels,
            )
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError, OSError) as error:
        raise WeightsError(f"weights: {source} must have timm's config.json. Received: {error!r:.200} in it") from None
    fields = architecture(str(name))
    output_stride = model_args.get("output_stride", 32)
    if output_stride in (8, 16) and "shortcut" not in fields:  # timm dilates the pooling of other shortcuts too
        fields["output_stride"] = output_stride
    unknown = {key: value for key, value in model_args.items() if key not in HARMLESS}
    if output_stride in (32, fields.get("output_stride")):
        unknown.pop("output_stride", None)
    if pooling != "avg" or unknown:
        raise WeightsError(
            f"weights: {source} must have average pooling, and no model_args that change the network of its name. "
            f"Received: global_pool={pooling!r:.50}, model_args={unknown!r:.150}"
        )
    return dataclasses.replace(checkpoint, fields=fields)


def _statistics(name: str, values: Any, channels: int) -> tuple[float, ...]:
    """Mean or standard deviation of each channel, as timm takes them.

    One number is for all channels; if the count of numbers is another than that of the channels, their average is.
    """
    numbers = tuple(number(name, value) for value in (values if isinstance(values, list) else [values]))
    if len(numbers) == channels:
        return numbers
    return (sum(numbers) / len(numbers),) * channels if numbers else ()
