"""What the summary of a data set says, and of what it warns."""

import logging

import numpy as np
import pytest
import tensorflow as tf

import keras_resnet as kr
from keras_resnet.data import from_arrays, summary


def split_of(*counts, names="abcdefgh"):
    labels = np.repeat(np.arange(len(counts)), counts)
    return from_arrays(np.zeros((len(labels), 2, 2, 1), "uint8"), labels, tuple(names[: len(counts)]))


def test_images_of_splits_and_classes_are_listed():
    splits = {"training": split_of(1200, 30), "test": split_of(3, 4)}
    assert summary.describe(splits) == ["images: 1,230 training, 7 test", "classes: a 1,200, b 30"]


def test_of_many_classes_the_rarest_and_the_most_frequent_are_named():
    assert summary.describe({"all": split_of(5, 6, 9, 4, 5, 5, 5)})[1] == "classes: 7, from 4 images (d) to 9 (c)"


def test_classes_of_a_stream_are_only_counted():
    dataset = tf.data.Dataset.from_tensor_slices((np.zeros((4, 2, 2, 1), "uint8"), [0, 1, 0, 1]))
    assert summary.describe({"train": kr.data.from_dataset(dataset, ("a", "b"))})[1] == "classes: 2"


@pytest.mark.parametrize(("counts", "warns"), [((10, 1), False), ((85, 8), True)])
def test_uneven_classes_are_told(counts, warns, caplog):
    with caplog.at_level(logging.WARNING, "keras_resnet.data"):
        summary.warn_of_uneven_classes(split_of(*counts))
    assert bool(caplog.records) is warns
    assert (
        not warns or "a has 85 training images, b has 8; a network that always says a is right for 91%" in caplog.text
    )


def test_copies_in_two_splits_are_counted(tmp_path, caplog):
    """Copies have other names; a file of the same size, and one with the same middle, are no copies."""
    contents = {"train/cat/1.png": b"same", "train/cat/2.png": b"else", "train/dog/3.png": bytes(3000) + b"a"}
    contents |= {"test/cat/x.png": b"same", "test/dog/y.png": b"size", "test/dog/z.png": bytes(3000) + b"b"}
    for name, content in contents.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(content)
    splits = {name: kr.data.load(f"folder:{tmp_path}", name) for name in ("train", "test")}
    with caplog.at_level(logging.WARNING, "keras_resnet.data"):
        summary.warn_of_copies(splits)
    assert [record.getMessage() for record in caplog.records] == ["1 file of test: the same bytes are in train"]


def test_copies_are_not_searched_for_among_very_many_files(monkeypatch, tmp_path):
    (tmp_path / "a").write_bytes(b"same")
    (tmp_path / "b").write_bytes(b"same")
    files = [str(tmp_path / "a")], [str(tmp_path / "b")]
    assert summary.shared_files(*files) == 1
    monkeypatch.setattr(summary, "COMPARED", 1)
    assert summary.shared_files(*files) == 0
