"""What is given in place of weights is answered with what it is and what to do."""

import pytest

import keras_resnet as kr
from keras_resnet.weights import readers
from keras_resnet.weights.readers.not_weights import CONTENTS, STARTS


def refused(path):
    with pytest.raises(ValueError, match="weights") as error, readers.open_tensors(path, 0):
        pass
    return str(error.value)


@pytest.mark.parametrize(
    ("content", "answer"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 102\n", "run git lfs pull"),
        (b"\n <!DOCTYPE html><html>", "a web page that was downloaded instead of the file; download the file itself"),
        (b'{\n "architecture": "resnet50"}', "JSON, which describes a model; give the file of weights beside it"),
        (b"\x1f\x8b\x08" + bytes(100), "a compressed file; unpack it"),
        (bytes(257) + b"ustar\x0000" + bytes(100), "a tar archive; unpack it"),
        (b"\x1c\0\0\0TFL3" + bytes(100), "a network for LiteRT; give the weights that it was made from"),
        (bytes(100) + bytes.fromhex("57fb808b247547db"), "the index of a TensorFlow checkpoint; load it in TensorFlow"),
        (b"conv1 1.0", "a file that starts with the bytes 63 6f 6e"),
        (b"", "an empty file"),
    ],
)
def test_a_file_is_named(content, answer, tmp_path):
    (tmp_path / "net.bin").write_bytes(content)
    assert f"or a torch checkpoint. Received: {answer}" in refused(tmp_path / "net.bin").replace(
        "Git's pointer to a large file; ", ""
    )


@pytest.mark.parametrize(
    ("files", "answer"),
    [
        (["config.json", "model.weights.h5", "task.json"], "a preset of KerasHub: its networks have other layers"),
        (["run.json", "model.keras"], "a training run: give the model.keras in it"),
        (["saved_model.pb"], "a SavedModel: give the .keras or weights file"),
        (["config.json", "model.safetensors"], "a repository: give the model.safetensors in it"),
        (["other"], "a directory; give a file in it"),
    ],
)
def test_a_directory_is_named(files, answer, tmp_path):
    for file in files:
        (tmp_path / file).touch()
    assert answer in refused(tmp_path)


def test_layers_of_keras_hub_are_named(tmp_path):
    import numpy as np

    np.savez(tmp_path / "net.npz", **{"stack0_block0_1_conv/kernel": np.zeros((1, 1, 8, 8), "float32")})
    model = kr.ResNet((1,), filters=(8,), input_shape=(32, 32, 3))
    with pytest.raises(ValueError, match="KerasHub's networks have other layers; its published ResNets are timm's"):
        kr.load_weights(model, tmp_path / "net.npz")


def test_no_file_of_weights_is_taken_for_something_else():
    starts = (b"\x89HDF\r\n\x1a\n", b"PK\x03\x04", b"\x80\x02", b"\x10\0\0\0\0\0\0\0{}")
    assert not any(pattern.match(start) for pattern, _, _ in STARTS for start in starts)
    assert all(advice for _, _, advice in CONTENTS)
