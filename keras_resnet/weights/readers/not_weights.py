"""Files and directories that are given in place of weights: what they are, and what to do."""

from __future__ import annotations

import re
from pathlib import Path

# The first bytes of a file, what it is, and what to do.
STARTS: tuple[tuple[re.Pattern[bytes], str, str], ...] = (
    (
        re.compile(rb"version https://git-lfs"),
        "Git's pointer to a large file",
        "run git lfs pull where you cloned it, or download the file itself",
    ),
    (
        re.compile(rb"\s*<(!doctype|html|\?xml)", re.IGNORECASE),
        "a web page that was downloaded instead of the file",
        "download the file itself, whose link often has raw or resolve in place of blob",
    ),
    (re.compile(rb"\s*[{\[]\s*[\"{\[\]}]"), "JSON, which describes a model", "give the file of weights beside it"),
    (re.compile(rb"\x1f\x8b|BZh|\xfd7zXZ|7z\xbc\xaf"), "a compressed file", "unpack it, and give the file in it"),
    (re.compile(rb".{257}ustar", re.DOTALL), "a tar archive", "unpack it, and give the file in it"),
    (re.compile(rb".{4}TFL3", re.DOTALL), "a network for LiteRT", "give the weights that it was made from"),
)
# TensorFlow's index of a checkpoint ends so (LevelDB's magic number).
INDEX_END = bytes.fromhex("57fb808b247547db")

# Files in a directory, what it is, and what to do.
CONTENTS: tuple[tuple[tuple[str, ...], str, str], ...] = (
    (
        ("model.weights.h5", "config.json"),
        "a preset of KerasHub",
        "its networks have other layers; those of its ResNets that are published are timm's, such as "
        "hf://timm/resnet50.a1_in1k for resnet_50_imagenet",
    ),
    (("task.json",), "a preset of KerasHub", "load it with keras_hub, whose networks have other layers"),
    (("run.json",), "a training run", "give the model.keras in it"),
    (("saved_model.pb",), "a SavedModel", "give the .keras or weights file that it was exported from"),
    (("model.safetensors",), "a repository", "give the model.safetensors in it"),
    (("pytorch_model.bin",), "a repository", "give the pytorch_model.bin in it"),
    (("data.pkl",), "an unpacked torch checkpoint", "give the file that was unpacked"),
)


def file_of(start: bytes, end: bytes) -> str:
    """What a file is that is no file of weights, and what to do; "" if that is not known.

    Args:
        start: the first 512 bytes of the file.
        end: its last 8 bytes.
    """
    for pattern, kind, advice in STARTS:
        if pattern.match(start):
            return f"{kind}; {advice}"
    if end == INDEX_END:
        return "the index of a TensorFlow checkpoint; load it in TensorFlow, and save model.save_weights(...)"
    return ""


def directory_of(path: Path) -> str:
    """What a directory is, and what to do."""
    for names, kind, advice in CONTENTS:
        if all((path / name).is_file() for name in names):
            return f"a directory, {kind}: {advice}"
    return "a directory; give a file in it"
