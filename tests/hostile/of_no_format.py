"""Paths that are not weights files, or not files at all."""

import os
from pathlib import Path

import numpy as np

from tests.hostile.corpus import case

for name, data in {
    "empty": b"",
    "one byte": b"\x80",
    "a web page": b"<!DOCTYPE html><html><body>404</body></html>",
    "a JPEG": b"\xff\xd8\xff\xe0\0\x10JFIF" + bytes(100),
    "a text": b"conv1 1.0 2.0\n" * 100,
    "zeros": bytes(10_000),
    "noise": np.random.default_rng(0).bytes(10_000),
    "a tar archive": b"storages\0" + bytes(248) + b"ustar" + bytes(1000),
    "gzip": b"\x1f\x8b\x08" + bytes(100),
    "a pickle of protocol 0": b"cos\nsystem\n(S'touch canary'\ntR.",
    "a script": b"#!/bin/sh\ntouch canary\n",
    "PK and nothing": b"PK",
    "a web page with a declaration of XML": b'\n<?xml version="1.0"?><!DOCTYPE html><html>',
    "a configuration": b'{"module": "keras_hub.src.models.resnet.resnet_backbone", "class_name": "ResNetBackbone"}',
    "an index of a TensorFlow checkpoint": bytes(200) + bytes.fromhex("57fb808b247547db"),
    "a network for LiteRT": b"\x1c\0\0\0TFL3" + bytes(100),
    "bzip2": b"BZh9" + bytes(100),
    "Git's pointer to a large file": b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 102\n",
}.items():

    @case(f"no weights: {name}")
    def _(folder, model, data=data):
        (folder / "model.bin").write_bytes(data)
        return folder / "model.bin"


@case("no weights: a missing file")
def _(folder, model):
    return folder / "model.h5"


@case("no weights: a folder")
def _(folder, model):
    return folder


@case("no weights: a pipe")
def _(folder, model):
    os.mkfifo(folder / "model.h5")
    return folder / "model.h5"


@case("no weights: a device")
def _(folder, model):
    return Path("/dev/zero")


@case("no weights: a link to nothing")
def _(folder, model):
    (folder / "model.h5").symlink_to(folder / "nothing.h5")
    return folder / "model.h5"


@case("no weights: a link to itself")
def _(folder, model):
    (folder / "model.h5").symlink_to(folder / "model.h5")
    return folder / "model.h5"


for name, files in {
    "a preset of KerasHub": ("config.json", "metadata.json", "model.weights.h5"),
    "a SavedModel": ("saved_model.pb", "fingerprint.pb"),
    "a repository": ("model.safetensors", "config.json"),
    "a training run": ("run.json", "model.keras"),
}.items():

    @case(f"no weights: the folder of {name}")
    def _(folder, model, files=files):
        for file in files:
            (folder / file).write_bytes(b"{}")
        return folder
