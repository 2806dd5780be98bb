"""TFRecord files: shards, globs, labels and class names, and corrupt records."""

import logging
import os

import numpy as np
import pytest
import tensorflow as tf

import keras_resnet as kr
from keras_resnet.data import framing
from keras_resnet.data.corrupt import name_corrupt_files
from keras_resnet.data.folders import default_split


def feature(value):
    if isinstance(value, int):
        return tf.train.Feature(int64_list=tf.train.Int64List(value=[value]))
    return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))


def example(**features):
    named = {f"image/{name.replace('_', '/')}": feature(value) for name, value in features.items()}
    return tf.train.Example(features=tf.train.Features(feature=named)).SerializeToString()


def write_shards(folder, name, images, labels, shards=2, **texts):
    """Writes images and labels into shards that are named like ImageNet's usual files; returns their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{name}-{shard:05}-of-{shards:05}" for shard in range(shards)]
    for shard, path in enumerate(paths):
        with tf.io.TFRecordWriter(str(path)) as writer:
            for number in range(shard, len(images), shards):
                content = images[number]
                if not isinstance(content, bytes):
                    content = tf.io.encode_png(content).numpy()
                more = {key: value[number] for key, value in texts.items()}
                writer.write(
                    example(encoded=content, class_label=int(labels[number]), filename=b"%d.png" % number, **more)
                )
    return paths


def grey(*values):
    return [np.full((4, 5, 3), value, "uint8") for value in values]


def values(split):
    return [(int(image[0, 0, 0]), int(label)) for image, label in split.examples.as_numpy_iterator()]


@pytest.mark.slow
def test_a_directory_has_its_splits_by_the_names_of_files(tmp_path):
    write_shards(tmp_path, "train", grey(0, 1, 2, 3), [0, 1, 1, 0])
    write_shards(tmp_path, "validation", grey(7, 8), [1, 0])
    train, test = (kr.data.load(f"tfrecord:{tmp_path}", split) for split in ("train", "test"))
    assert (train.size, train.classes, train.channels, test.classes) == (4, ("0", "1"), 3, ("0", "1"))
    assert values(train) == [(0, 0), (2, 1), (1, 1), (3, 0)]  # in the order of the shards
    assert values(test) == [(7, 1), (8, 0)]


@pytest.mark.slow
def test_a_glob_has_a_place_for_the_split_or_is_all_of_one(tmp_path):
    write_shards(tmp_path / "a", "train", grey(0, 1), [0, 1])
    write_shards(tmp_path / "b", "train", grey(2), [1], shards=1)
    write_shards(tmp_path / "a", "val", grey(3), [1], shards=1)
    assert kr.data.load(f"tfrecord:{tmp_path}/*/{{split}}-*", "train").size == 3
    assert values(kr.data.load(f"tfrecord:{tmp_path}/*/{{split}}-*", "test")) == [(3, 1)]
    assert kr.data.load(f"tfrecord:{tmp_path}/b/*", "all").size == 1
    assert [default_split(f"tfrecord:{where}") for where in (tmp_path, "x/{split}-*", "x/val-*")] == [
        "test",
        "test",
        "all",
    ]


@pytest.mark.parametrize(
    ("where", "split", "message"),
    [
        ("{folder}", "test", "must have files with test or validation or val or valid in their names. Received: none"),
        ("{folder}/train*", "train", "must be followed by a directory, or a glob with {{split}}"),
        ("{folder}", "all", "for split 'all' tfrecord: must be followed by a glob without {{split}}"),
        ("{folder}/nothing*", "all", "must match at least one file. Received: no match"),
    ],
)
def test_what_is_missing_is_said(tmp_path, where, split, message):
    write_shards(tmp_path, "train", grey(0), [0])
    with pytest.raises(ValueError, match=message.replace("{{", "{").replace("}}", "}")):
        kr.data.load(f"tfrecord:{where.format(folder=tmp_path)}", split)


# Labels


@pytest.mark.slow
def test_labels_that_begin_at_1_are_found_out(tmp_path):
    write_shards(tmp_path, "train", grey(0, 1, 2), [1, 3, 1])
    write_shards(tmp_path, "val", grey(5), [2])
    assert kr.data.load(f"tfrecord:{tmp_path}", "train").classes == ("1", "2", "3")
    assert values(kr.data.load(f"tfrecord:{tmp_path}", "test")) == [(5, 1)]


@pytest.mark.parametrize(
    ("texts", "classes"),
    [
        ({"class_text": [b"tench", b"goldfish"]}, ("tench", "goldfish")),
        ({"class_text": [b"crane", b"crane"], "class_synset": [b"n1", b"n2"]}, ("n1", "n2")),
    ],
)
def test_records_name_their_classes(tmp_path, texts, classes):
    write_shards(tmp_path, "train", grey(0, 1), [1, 2], **texts)
    assert kr.data.load(f"tfrecord:{tmp_path}", "train").classes == classes


@pytest.mark.parametrize(
    ("file", "lines", "first"),
    [
        pytest.param("classes.txt", "cat\ndog\n", 0, marks=pytest.mark.slow),
        ("labels.txt", "1:cat\n2:dog\n", 1),
        pytest.param("labels.txt", "1: dog\n0: cat\n", 0, marks=pytest.mark.slow),
    ],
)
def test_a_file_beside_the_shards_names_classes_and_the_first_label(tmp_path, file, lines, first):
    write_shards(tmp_path, "train", grey(0, 1), [first, first + 1])
    (tmp_path / file).write_text(lines)
    split = kr.data.load(f"tfrecord:{tmp_path}", "train")
    assert split.classes == ("cat", "dog")
    assert values(split) == [(0, 0), (1, 1)]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("", "Received: an empty file"),
        ("1:a\n3:b\n", "must number the classes from 1 to 2, each number once"),
        ("k\xe4fer\n", "labels.txt must be a text file in UTF-8"),
    ],
)
def test_a_file_of_labels_is_checked(tmp_path, lines, message):
    write_shards(tmp_path, "train", grey(0), [1])
    (tmp_path / "labels.txt").write_text(lines, encoding="latin-1")
    with pytest.raises(ValueError, match=message):
        kr.data.load(f"tfrecord:{tmp_path}", "train")


# Corrupt records


def flip_byte(path, record, place=20):
    """Changes a byte of a record, so that its checksum is wrong; of its length, if `place` is below 8."""
    content = bytearray(path.read_bytes())
    offset = 0
    for _ in range(record):
        offset += int.from_bytes(content[offset : offset + 8], "little") + 16
    content[offset + place] ^= 0xFF
    path.write_bytes(content)


@pytest.mark.slow
def test_a_corrupt_image_is_skipped_with_its_name_and_counted_once(tmp_path, caplog):
    paths = write_shards(tmp_path, "train", [*grey(0, 1), b"no image", *grey(3)], [0, 1, 1, 0])
    split = kr.data.load(f"tfrecord:{tmp_path}", "train", on_corrupt="skip")
    name = f"{paths[0]}: record 1 (2.png) is not a readable JPEG, PNG, BMP, WebP or GIF"
    with caplog.at_level(logging.WARNING, "keras_resnet.data"):
        assert values(split) == values(split) == [(0, 0), (1, 1), (3, 0)]
        batches = list(kr.data.train_pipeline(split, 4, 4).take(3).as_numpy_iterator())
    assert split.skipped == (name,)
    assert caplog.messages == [f"skipped: {name}"]
    for images, targets in batches:  # another image of the batch replaces the corrupt one
        shown = images[:, 0, 0, 0].tolist()
        assert len(shown) == 4
        assert set(shown) == {0, 1, 3}
        assert targets.argmax(-1).tolist() == [{0: 0, 1: 1, 3: 0}[value] for value in shown]


@pytest.mark.slow
@pytest.mark.parametrize("make_batches", [kr.data.pipeline, kr.data.train_pipeline])
def test_a_corrupt_image_stops_the_run_and_is_named(tmp_path, make_batches):
    paths = write_shards(tmp_path, "train", [*grey(0, 1), b"no image", *grey(3)], [0, 1, 1, 0])
    split = kr.data.load(f"tfrecord:{tmp_path}", "train")
    with (
        pytest.raises(ValueError, match=f"^data: {paths[0]}: record 1 .2.png. is not a readable"),
        name_corrupt_files(split),
    ):
        list(make_batches(split, 4, 2).take(4))


@pytest.mark.slow
def test_only_the_damaged_record_of_a_shard_is_skipped(tmp_path):
    write_shards(tmp_path, "train", grey(*range(8)), [0] * 8)
    for record in (0, 2):
        flip_byte(tmp_path / "train-00000-of-00002", record)
    cut = (tmp_path / "train-00001-of-00002").read_bytes()[:-9]
    (tmp_path / "train-00001-of-00002").write_bytes(cut)
    split = kr.data.load(f"tfrecord:{tmp_path}", "train", on_corrupt="skip")
    assert split.size == 8
    assert values(split) == [(2, 0), (6, 0), (1, 0), (3, 0), (5, 0)]
    assert [name.partition("train-")[2] for name in split.skipped] == [
        "00000-of-00002: record 0 is damaged: its checksum is wrong",
        "00000-of-00002: record 2 is damaged: its checksum is wrong",
        "00001-of-00002: record 3 is damaged: the file is cut off",
    ]
    shown = {int(image[0, 0, 0]) for images, _ in kr.data.train_pipeline(split, 4, 4).take(6) for image in images}
    assert shown == {1, 2, 3, 5, 6}


def test_the_checksums_after_a_damaged_record_are_computed_once_until_the_file_changes(tmp_path, monkeypatch):
    """In Python they take 8 ms for 100 kB, and each epoch reads the records again."""
    (path,) = write_shards(tmp_path, "train", grey(0, 1, 2, 3), [0] * 4, shards=1)
    written = list(framing.records_from(path, 0))
    flip_byte(path, 1)
    lengths = []
    checksum = framing.masked_checksum
    monkeypatch.setattr(framing, "masked_checksum", lambda content: lengths.append(len(content)) or checksum(content))
    expected = [None, *written[2:]]
    assert list(framing.records_from(path, 1)) == expected
    assert len([length for length in lengths if length > 8]) == 3
    lengths.clear()
    assert list(framing.records_from(path, 1)) == expected
    assert set(lengths) == {8}  # of the lengths
    flip_byte(path, 3)
    later = path.stat().st_mtime_ns + 10**9  # some file systems count in seconds
    os.utime(path, ns=(later, later))
    assert list(framing.records_from(path, 1)) == [None, written[2], None]


@pytest.mark.slow
def test_after_a_damaged_length_the_records_of_a_shard_are_not_found(tmp_path):
    (path,) = write_shards(tmp_path, "train", grey(0, 1, 2, 3), [0, 1, 0, 1], shards=1)
    flip_byte(path, 2, place=1)
    split = kr.data.load(f"tfrecord:{tmp_path}", "train", on_corrupt="skip")
    assert values(split) == [(0, 0), (1, 1)]
    assert split.skipped == (
        f"{path}: record 2 is damaged: its length has a wrong checksum, so no record after it can be found",
    )


@pytest.mark.slow
def test_a_bad_record_takes_no_other_with_it_and_is_named(tmp_path):
    """One that could not be parsed once made classes of other records vanish, and sound records were refused."""
    path = tmp_path / "train-0"
    png = [tf.io.encode_png(image).numpy() for image in grey(*range(6))]
    records = [example(encoded=png[number], class_label=number % 3) for number in range(6)]
    records[1] = b"\xff\xff not an Example"
    records[3] = example(encoded=png[3])
    records[4] = example(encoded=png[4], class_label=-1)
    with tf.io.TFRecordWriter(str(path)) as writer:
        for record in records:
            writer.write(record)
    split = kr.data.load(f"tfrecord:{tmp_path}", "train", on_corrupt="skip")
    assert split.classes == ("0", "1", "2")  # though no record of class 1 is left
    assert values(split) == [(0, 0), (2, 2), (5, 2)]
    assert [reason.removeprefix(f"{path}: record ") for reason in split.skipped] == [
        "1 is not a tf.train.Example with image/encoded and image/class/label",
        "3 has no image/class/label",
        "4 has the label -1; labels must be from 0 to 2",
    ]
    strict = kr.data.load(f"tfrecord:{tmp_path}", "train")
    with pytest.raises(ValueError, match="record 1 is not a tf.train.Example"), name_corrupt_files(strict):
        values(strict)


@pytest.mark.parametrize("labels", [[0, 1, 2, 10**6], pytest.param([1, 1, 9, 1], marks=pytest.mark.slow)])
def test_a_label_far_from_the_others_makes_no_classes(tmp_path, labels):
    paths = write_shards(tmp_path, "train", grey(0, 1, 2, 3), labels)
    place = labels.index(max(labels))
    message = (
        f"classes.txt next to the shards must name all classes, .*Received: label {max(labels)} in {paths[place % 2]}, "
        f"record {place // 2}, and {len(set(labels))} different labels in all records"
    )
    with pytest.raises(ValueError, match=message):
        kr.data.load(f"tfrecord:{tmp_path}", "train")


@pytest.mark.slow
def test_a_label_that_has_no_class_is_named(tmp_path):
    write_shards(tmp_path, "train", grey(0, 1), [0, 7], shards=1)
    (tmp_path / "classes.txt").write_text("cat\ndog\n")
    split = kr.data.load(f"tfrecord:{tmp_path}", "train")
    with (
        pytest.raises(ValueError, match="record 1 .1.png. has the label 7; labels must be from 0 to 1"),
        name_corrupt_files(split),
    ):
        values(split)


@pytest.mark.parametrize("content", [b"", b"PK" + bytes(100), b"\x1f\x8b"])
def test_a_file_of_another_kind_is_refused(tmp_path, content):
    (tmp_path / "train-0").write_bytes(content)
    (tmp_path / "classes.txt").write_text("cat\ndog\n")
    with pytest.raises(ValueError, match="must be an uncompressed TFRecord file|must have records"):
        kr.data.load(f"tfrecord:{tmp_path}", "train")


def test_records_without_the_usual_features_are_refused(tmp_path):
    with tf.io.TFRecordWriter(str(tmp_path / "train-0")) as writer:
        writer.write(example(pixels=b"none"))
    with pytest.raises(
        ValueError, match="must have the features image/encoded, image/class/label. Received: no record with a label"
    ):
        kr.data.load(f"tfrecord:{tmp_path}", "train")


def test_records_are_counted_without_being_read(tmp_path):
    (path,) = write_shards(tmp_path, "train", grey(0, 1, 2), [0, 0, 0], shards=1)
    flip_byte(path, 1)
    assert framing.count(path) == 3
