"""`Split`: arrays and datasets of the user, hold-out, and corrupt files."""

import logging

import numpy as np
import pytest
import tensorflow as tf

import keras_resnet as kr
from keras_resnet.data.corrupt import name_corrupt_files
from tests.data.test_sources import pairs, write_png

IMAGES, LABELS = np.zeros((4, 5, 6, 3), "uint8"), np.array([0, 1, 0, 1])


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (IMAGES + 0.5, LABELS, "uint8, from 0 to 255: raw pixels, .* Received: float64 from 0.5 to 0.5"),
        (IMAGES[0], LABELS, "images must have the shape .N, H, W, C., each number at least 1. Received: .5, 6, 3."),
        (IMAGES[:0], LABELS[:0], "images must have the shape"),
        (IMAGES, LABELS[:3], "labels must have the shape .4,., one label for each image. Received: shape .3,."),
        (IMAGES, LABELS + 0.5, "labels must be integers. Received: float64 with the value 0.5"),
        (IMAGES, LABELS + 1, "labels must be indices into classes, in .0, 2.. Received: 1 to 2"),
        (IMAGES, LABELS - 1, "labels must be indices into classes, in .0, 2.. Received: -1 to 0"),
    ],
)
def test_wrong_arrays_are_refused(images, labels, message):
    with pytest.raises(ValueError, match=message):
        kr.data.from_arrays(images, labels, ("cat", "dog"))


def test_a_split_is_shown_on_one_line():
    assert repr(kr.data.from_arrays(IMAGES, LABELS, ("cat", "dog"))) == "<Split: 4 images, 2 classes, 3 channels>"


@pytest.mark.parametrize("numbers", [[-1], [4], [0, 1.0], [True, False, True, False]])
def test_a_part_has_only_images_that_there_are(numbers):
    split = kr.data.from_arrays(IMAGES, LABELS, ("cat", "dog"))
    with pytest.raises(ValueError, match="numbers must be integers from 0 to 3. Received: array"):
        split.part(np.array(numbers))
    assert [label for _, label in pairs(split.part(np.array([3, 0, 0])))] == [1, 0, 0]
    assert split.part([]).size == 0


@pytest.mark.slow
def test_a_dataset_of_the_callers_is_counted_where_it_does_not_know_its_size():
    dataset = tf.data.Dataset.from_tensor_slices((IMAGES, LABELS.astype("uint8")))
    split = kr.data.from_dataset(dataset.filter(lambda _, label: label == 1), ("cat", "dog"))
    assert (split.size, split.channels, split.classes, split.files) == (2, 3, ("cat", "dog"), ())
    assert [label for _, label in pairs(split)] == [1, 1]
    assert split.examples.element_spec[1].dtype == tf.int64
    assert kr.data.from_dataset(dataset, ("cat", "dog"), size=3).size == 3


@pytest.mark.parametrize(
    ("dataset", "error", "message"),
    [
        ([(IMAGES[0], 0)], TypeError, "dataset must be a tf.data.Dataset. Received: list"),
        ((IMAGES,), ValueError, "dataset must give pairs of an image"),
        (
            (IMAGES.astype("float32"), LABELS),
            ValueError,
            "and an integer label. Received: images .*float",
        ),
        ((IMAGES[..., 0], LABELS), ValueError, "Received: images"),
        ((IMAGES, LABELS.astype("float32")), ValueError, "Received: labels .*float32"),
        ((IMAGES, LABELS[:, None]), ValueError, "Received: labels"),
        ((IMAGES[:0], LABELS[:0]), ValueError, "must have at least one example"),
    ],
)
def test_datasets_of_other_kinds_are_refused(dataset, error, message):
    if isinstance(dataset, tuple):
        dataset = tf.data.Dataset.from_tensor_slices(dataset)
    with pytest.raises(error, match=message):
        kr.data.from_dataset(dataset, ("cat", "dog"))


def test_an_endless_dataset_is_refused():
    with pytest.raises(ValueError, match="dataset must be finite: leave out `repeat..`, training repeats it"):
        kr.data.from_dataset(tf.data.Dataset.from_tensor_slices((IMAGES, LABELS)).repeat(), ("cat", "dog"))


@pytest.mark.slow
def test_a_label_of_a_dataset_that_has_no_class_is_named():
    split = kr.data.from_dataset(tf.data.Dataset.from_tensor_slices((IMAGES, LABELS + 1)), ("cat", "dog"))
    message = "data: example 1 of dataset has a label outside of .0, 2."
    with pytest.raises(ValueError, match=message), name_corrupt_files(split):
        pairs(split)


# Hold-out


@pytest.mark.slow
def test_the_same_share_of_each_class_is_held_out():
    train = kr.data.load("digits", "train")
    rest, held = train.hold_out(0.2)
    assert (rest.size, held.size) == (1150, 287)
    rest_pairs, held_pairs = pairs(rest), pairs(held)
    labels = [label for _, label in held_pairs]
    assert np.bincount(labels).min() >= 28
    assert [label for _, label in pairs(train.hold_out(0.2)[1])] == labels
    assert [label for _, label in pairs(train.hold_out(0.2, seed=1)[1])] != labels
    assert not {image.tobytes() for image, _ in rest_pairs} & {image.tobytes() for image, _ in held_pairs}


def test_of_each_class_other_images_are_held_out():
    images, labels = np.arange(40, dtype="uint8").reshape(-1, 1, 1, 1), np.repeat([0, 1], 20)
    _, held = kr.data.from_arrays(images, labels, ("cat", "dog")).hold_out(0.25)
    numbers = [[int(image[0, 0, 0]) for image, label in pairs(held) if label == kind] for kind in (0, 1)]
    assert [len(class_numbers) for class_numbers in numbers] == [5, 5]
    assert set(numbers[0]) != {number - 20 for number in numbers[1]}


@pytest.mark.slow
def test_files_go_with_the_parts_and_small_classes_keep_one(tmp_path):
    for name, count in (("a", 1), ("b", 2), ("c", 9)):
        for number in range(count):
            write_png(tmp_path / name / f"{number}.png")
    rest, held = kr.data.load(f"folder:{tmp_path}", "all").hold_out(0.3)
    assert np.bincount([label for _, label in pairs(rest)]).tolist() == [1, 1, 6]
    assert np.bincount([label for _, label in pairs(held)]).tolist() == [0, 1, 3]
    assert len(set(rest.files) | set(held.files)) == 12


@pytest.mark.slow
def test_of_a_stream_every_so_manyth_record_is_held_out():
    images = np.arange(10, dtype="uint8")[:, None, None, None] * np.ones((1, 2, 2, 1), "uint8")
    split = kr.data.from_dataset(tf.data.Dataset.from_tensor_slices((images, [0] * 10)), ("all",))
    rest, held = split.hold_out(0.2)
    assert [int(image[0, 0, 0]) for image, _ in pairs(held)] == [0, 5]
    assert [int(image[0, 0, 0]) for image, _ in pairs(rest)] == [1, 2, 3, 4, 6, 7, 8, 9]
    assert [int(image[0, 0, 0]) for image, _ in pairs(split.hold_out(0.2, seed=1)[1])] == [4, 9]
    assert [int(image[0, 0, 0]) for image, _ in pairs(rest.hold_out(0.25)[1])] == [1, 6]


@pytest.mark.parametrize("share", [0, 1, -0.1, "half", 0.01])
def test_a_share_that_leaves_nothing_is_refused(share):
    split = kr.data.from_dataset(tf.data.Dataset.from_tensor_slices((IMAGES, LABELS)), ("cat", "dog"))
    with pytest.raises((ValueError, TypeError), match="share must"):
        split.hold_out(share, seed=1)


# Corrupt files


@pytest.fixture
def corrupt_folder(tmp_path):
    """A folder with eight files for each class; two of the files are not readable images."""
    for name in "ab":
        for number in range(8):
            write_png(tmp_path / name / f"{number}.png", (6, 6, 3), number)
    (tmp_path / "a" / "2.png").write_bytes(b"no image")
    (tmp_path / "b" / "5.png").write_bytes((tmp_path / "b" / "5.png").read_bytes()[:40])
    return tmp_path


@pytest.mark.slow
def test_corrupt_files_are_left_out_of_evaluation(corrupt_folder, caplog):
    split = kr.data.load(f"folder:{corrupt_folder}", "all", on_corrupt="skip")
    with caplog.at_level(logging.WARNING, "keras_resnet.data"):
        for _ in range(2):
            batches = list(kr.data.pipeline(split, 6, 4).as_numpy_iterator())
    shown = np.concatenate([images[:, 0, 0, 0] for images, _ in batches]).tolist()
    assert shown == [0, 1, 3, 4, 5, 6, 7, 0, 1, 2, 3, 4, 6, 7]
    assert np.concatenate([labels for _, labels in batches]).tolist() == [0] * 7 + [1] * 7
    assert [name.partition(" is no")[0] for name in split.skipped] == [
        f"{corrupt_folder}/a/2.png",
        f"{corrupt_folder}/b/5.png",
    ]
    assert len(caplog.messages) == 2
    assert split.size == 16


@pytest.mark.slow
def test_in_training_what_follows_a_corrupt_file_stays_where_it_is(corrupt_folder):
    split = kr.data.load(f"folder:{corrupt_folder}", "all", on_corrupt="skip")
    batches_with_replacements = list(kr.data.train_pipeline(split, 6, 8).take(4).as_numpy_iterator())
    resumed = list(kr.data.train_pipeline(split, 6, 8, start=2).take(2).as_numpy_iterator())
    for batch, other in zip(batches_with_replacements[2:], resumed):
        np.testing.assert_array_equal(batch[0], other[0])
        np.testing.assert_array_equal(batch[1], other[1])
    write_png(corrupt_folder / "a" / "2.png", (6, 6, 3), 100)
    write_png(corrupt_folder / "b" / "5.png", (6, 6, 3), 100)
    repaired = kr.data.load(f"folder:{corrupt_folder}", "all")
    for (images_with_replacements, _), (images, _) in zip(
        batches_with_replacements, kr.data.train_pipeline(repaired, 6, 8).as_numpy_iterator()
    ):
        readable = images[:, 0, 0, 0] != 100
        np.testing.assert_array_equal(images_with_replacements[readable], images[readable])
        assert set(images_with_replacements[~readable, 0, 0, 0]) <= set(images[readable, 0, 0, 0])


@pytest.mark.slow
@pytest.mark.parametrize("make_batches", [kr.data.pipeline, kr.data.train_pipeline])
def test_a_corrupt_file_stops_the_run_and_is_named(corrupt_folder, make_batches):
    split = kr.data.load(f"folder:{corrupt_folder}", "all")
    with pytest.raises(ValueError, match="^data: .*[ab]/[25].png is not a readable JPEG"), name_corrupt_files(split):
        list(make_batches(split, 6, 4).take(9))
    assert split.skipped == ()


@pytest.mark.slow
def test_a_file_that_is_gone_is_named(tmp_path):
    for number in range(3):
        write_png(tmp_path / "a" / f"{number}.png")
    split = kr.data.load(f"folder:{tmp_path}", "all", on_corrupt="skip")
    (tmp_path / "a" / "1.png").unlink()
    assert len(pairs(split)) == 2
    assert split.skipped == (f"cannot read {tmp_path}/a/1.png: No such file or directory",)


@pytest.mark.slow
def test_a_batch_without_any_good_image_ends_the_run(tmp_path):
    for number in range(3):
        write_png(tmp_path / "a" / f"{number}.png")
        (tmp_path / "a" / f"{number}.png").write_bytes(b"none")
    split = kr.data.load(f"folder:{tmp_path}", "all", on_corrupt="skip")
    with pytest.raises(tf.errors.InvalidArgumentError, match="none of the images in a batch can be read"):
        next(iter(kr.data.train_pipeline(split, 6, 2)))


def test_what_to_do_about_corrupt_images_is_one_of_two_things():
    with pytest.raises(ValueError, match="on_corrupt must be one of 'stop', 'skip'. Received: on_corrupt='log'"):
        kr.data.load("digits", "train", on_corrupt="log")
