"""Image folders as people have them: names of splits, files of systems and other types, links, names in other bytes."""

import logging
import os

import numpy as np
import pytest
import tensorflow as tf

import keras_resnet as kr
from keras_resnet.data import folders
from keras_resnet.data.sources import splits_of

PNG = tf.io.encode_png(np.full((4, 4, 3), 9, "uint8")).numpy()


def write(directory, *names, content=PNG):
    for name in names:
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def load(directory, split, **options):
    return kr.data.load(f"folder:{directory}", split, **options)


def names(split, directory):
    return sorted(os.path.relpath(file, directory) for file in split.files)


@pytest.mark.parametrize(
    ("train", "test"),
    [
        ("Train", "Test"),
        ("TRAINING", "TESTING"),
        ("training_set", "test_set"),
        ("train-set", "valid"),
        ("train", "Val"),
    ],
)
def test_folders_of_splits_are_known_in_their_usual_names(tmp_path, train, test):
    write(tmp_path, f"{train}/cat/1.png", f"{train}/dog/2.png", f"{test}/cat/3.png")
    assert names(load(tmp_path, "train"), tmp_path) == [f"{train}/cat/1.png", f"{train}/dog/2.png"]
    assert names(load(tmp_path, "test"), tmp_path) == [f"{test}/cat/3.png"]
    assert load(tmp_path, "test").classes == ("cat", "dog")
    assert folders.default_split(f"folder:{tmp_path}") == "test"


def test_folders_that_were_unpacked_into_a_folder_of_their_name(tmp_path):
    """As Kaggle's Intel images: seg_train/seg_train/CLASS, and seg_pred without labels."""
    write(tmp_path, "seg_train/seg_train/sea/1.jpg", "seg_test/seg_test/sea/2.jpg", "seg_pred/seg_pred/3.jpg")
    assert names(load(tmp_path, "train"), tmp_path) == ["seg_train/seg_train/sea/1.jpg"]
    assert names(load(tmp_path, "test"), tmp_path) == ["seg_test/seg_test/sea/2.jpg"]


def test_images_without_class_folders_are_no_classes(tmp_path):
    write(tmp_path, "train/1.jpg", "train/2.jpg", "test/3.jpg")
    with pytest.raises(ValueError, match=r"Received: only test, train, and no train with one folder for each class"):
        load(tmp_path, "train")


@pytest.mark.parametrize("place", ["test", "Test/test", "testing"])
def test_a_test_folder_without_labels_is_left_out_and_a_fifth_is_tested(tmp_path, caplog, place):
    """As in competitions: train/CLASS, and test images whose labels nobody has."""
    write(tmp_path, *(f"train/{name}/{number}.jpg" for name in ("cat", "dog") for number in range(5)))
    write(tmp_path, f"{place}/1.jpg", f"{place}/2.jpg")
    assert splits_of(f"folder:{tmp_path}") == ("train", "test")
    assert folders.default_split(f"folder:{tmp_path}") == "test"
    train, test = load(tmp_path, "train"), load(tmp_path, "test")
    assert (train.size, test.size, train.classes, test.classes) == (8, 2, ("cat", "dog"), ("cat", "dog"))
    assert sorted(train.files + test.files) == sorted(map(str, (tmp_path / "train").rglob("*.jpg")))
    (message,) = (record.getMessage() for record in caplog.records)
    assert f"{tmp_path / place.split('/')[0]} is not used: its images are in no class folder" in message
    assert f"a fifth of each class of {tmp_path}/train is for testing" in message


def test_of_a_folder_without_labels_one_image_is_looked_at(tmp_path, monkeypatch):
    """Such a folder of a competition has many thousand images."""
    write(tmp_path, "train/cat/1.jpg", *(f"test/{number}.jpg" for number in range(50)))
    seen = []
    is_added = folders._is_added
    monkeypatch.setattr(folders, "_is_added", lambda name: seen.append(name) or is_added(name))
    assert folders.split_folders(tmp_path)["test"] == tmp_path / "train"
    assert len([name for name in seen if name.endswith(".jpg")]) == 1


def test_val_is_tested_where_test_has_no_labels(tmp_path, caplog):
    write(tmp_path, "train/cat/1.png", "val/cat/2.png", "test/3.png")
    assert names(load(tmp_path, "test"), tmp_path) == ["val/cat/2.png"]
    assert [record.getMessage() for record in caplog.records] == [
        f"{tmp_path}/test is not used: its images are in no class folder, so they have no labels"
    ]


def test_two_folders_for_one_split_are_refused(tmp_path):
    write(tmp_path, "train/cat/1.png", "Training/cat/2.png")
    with pytest.raises(ValueError, match="must have one folder for train. Received: Training and train"):
        load(tmp_path, "train")


def test_a_folder_named_as_a_split_is_a_class_if_it_holds_images(tmp_path):
    write(tmp_path, "match/1.png", "training/2.png")
    assert load(tmp_path, "all").classes == ("match", "training")


def test_val_is_a_split_of_its_own(tmp_path):
    write(tmp_path, "train/cat/1.png", "val/cat/2.png", "val/cat/3.png")
    assert load(tmp_path, "val").files == load(tmp_path, "test").files
    assert splits_of(f"folder:{tmp_path}") == ("train", "test")
    write(tmp_path, "test/cat/4.png")
    assert names(load(tmp_path, "val"), tmp_path) == ["val/cat/2.png", "val/cat/3.png"]
    assert names(load(tmp_path, "test"), tmp_path) == ["test/cat/4.png"]
    assert splits_of(f"folder:{tmp_path}") == ("train", "val", "test")


def test_a_folder_without_val_has_no_val(tmp_path):
    write(tmp_path, "cat/1.png", "dog/2.png")
    with pytest.raises(ValueError, match="must have a folder train and a folder val .* Received: the folders cat, dog"):
        load(tmp_path, "val")
    write(tmp_path, "train/cat/1.png", "test/cat/1.png")
    with pytest.raises(ValueError, match="must have a folder val .* Received: cat, dog, test, train"):
        load(tmp_path, "val")


@pytest.mark.parametrize("source", ["digits", "idx:DIR"])
def test_sources_without_validation_images_say_how_to_get_some(source):
    with pytest.raises(ValueError, match="hold some out of 'train' with `Split.hold_out`. Received: split='val'"):
        kr.data.load(source, "val")


def test_a_class_of_vehicles_may_hold_trains(tmp_path):
    write(tmp_path, "land/train/1.png", "land/car/2.png", "sea/ship/3.png")
    assert load(tmp_path, "all").classes == ("land", "sea")


def test_a_data_set_in_a_folder_is_not_a_class(tmp_path):
    write(tmp_path, "flowers/train/rose/1.png", "flowers/test/rose/2.png")
    with pytest.raises(ValueError, match=f"with the folders test, train; give folder:{tmp_path}/flowers, or move"):
        load(tmp_path, "train")


@pytest.mark.parametrize("layout", ["{}", "train/{}"])
def test_a_class_without_images_is_refused_with_what_it_has(tmp_path, layout):
    write(tmp_path, *(layout.format(name) for name in ("cat/1.png", "cat/2.png", "dog/1.tif", "dog/2.TIF", "dog/3")))
    with pytest.raises(ValueError, match="Received: dog in .*, with 2 .tif, 1 without a suffix; convert the files"):
        load(tmp_path, "train")


def test_a_split_for_measuring_may_have_a_class_without_images(tmp_path):
    write(tmp_path, "cat/1.png")
    (tmp_path / "dog").mkdir()
    assert (load(tmp_path, "all").classes, load(tmp_path, "all").size) == (("cat", "dog"), 1)


def test_files_that_are_not_read_are_counted(tmp_path, caplog):
    write(tmp_path, "cat/1.png", "cat/2.png", "cat/scan.tif", "cat/notes.txt", "dog/3.png", "loose.png")
    with caplog.at_level(logging.WARNING, "keras_resnet.data"):
        assert load(tmp_path, "train").size == 2
        load(tmp_path, "test")
    (message,) = (record.getMessage() for record in caplog.records)
    assert "not read: 1 .tif, 1 .txt, 1 images in no class folder" in message


def test_files_of_systems_and_programs_are_skipped_at_any_depth(tmp_path, caplog):
    write(tmp_path, *(f"cat/{number}.png" for number in range(5)), "dog/1.png", "dog/2.png")
    added = ("cat/.ipynb_checkpoints/1.png", "cat/deep/__MACOSX/2.png", "cat/._3.png", "dog/Thumbs.db", ".git/a/1.png")
    write(tmp_path, *added, "__MACOSX/cat/1.png")
    assert load(tmp_path, "all").classes == ("cat", "dog")
    assert len(load(tmp_path, "all").files) == 7
    assert not caplog.records


def test_a_class_of_one_image_is_for_training(tmp_path):
    write(tmp_path, "cat/1.png", "dog/1.png", "dog/2.png")
    assert "cat/1.png" in names(load(tmp_path, "train"), tmp_path)
    assert len(load(tmp_path, "test").files) == 1


def test_links_are_followed_and_circles_are_not(tmp_path):
    write(tmp_path / "store", "a/1.png", "b/2.png")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "cat").symlink_to(tmp_path / "store")
    (tmp_path / "store" / "a" / "up").symlink_to(tmp_path / "store")
    (tmp_path / "store" / "b" / "gone.png").symlink_to(tmp_path / "nowhere.png")
    assert names(load(tmp_path / "data", "all"), tmp_path / "data") == ["cat/a/1.png", "cat/b/2.png"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_directories_pipes_and_devices_are_no_images(tmp_path, caplog):
    write(tmp_path, "cat/1.png", "cat/scan.jpg/2.png")
    os.mkfifo(tmp_path / "cat" / "pipe.jpg")
    (tmp_path / "cat" / "zero.jpg").symlink_to("/dev/zero")
    assert names(load(tmp_path, "all"), tmp_path) == ["cat/1.png", "cat/scan.jpg/2.png"]
    assert "not read: 2 pipe, device or broken link" in caplog.text


def test_very_large_files_are_not_read(tmp_path, caplog):
    write(tmp_path, "cat/1.png", "cat/2.png")
    with (tmp_path / "cat" / "2.png").open("r+b") as file:
        file.truncate(3 * 10**9)  # sparse: it takes no room
    assert names(load(tmp_path, "all"), tmp_path) == ["cat/1.png"]
    assert "not read: 1 .png over 100 MB" in caplog.text


LATIN = b"gr\xfcn"  # "grün" in Latin-1, which is not UTF-8


@pytest.fixture
def latin_folder(tmp_path):
    """A folder with a file whose name is not UTF-8; some file systems do not have such names."""
    try:
        write(tmp_path, "cat/1.png", os.fsdecode(b"cat/" + LATIN + b".png"))
    except OSError:
        pytest.skip("this file system has names in UTF-8 only")
    return tmp_path


@pytest.mark.slow
def test_a_file_name_in_any_bytes_is_read(latin_folder):
    split = load(latin_folder, "all")
    assert len(list(split.examples)) == 2
    assert {os.fsencode(file).rpartition(b"/")[2] for file in split.files} == {b"1.png", LATIN + b".png"}


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_a_corrupt_file_with_a_name_in_any_bytes_is_named(latin_folder):
    write(latin_folder, os.fsdecode(b"cat/" + LATIN + b".png"), content=b"no image")
    split = load(latin_folder, "all", on_corrupt="skip")
    assert len(list(split.examples)) == 1
    (reason,) = split.skipped
    assert r"gr\xfcn.png is not a readable" in reason
    assert reason.encode()  # it can be printed


def test_a_class_name_that_is_not_utf8_is_refused(latin_folder):
    write(latin_folder, os.fsdecode(LATIN) + "/1.png")
    with pytest.raises(ValueError, match=r"folders of classes must have names in UTF-8. Received: .*gr\\xfcn; rename"):
        load(latin_folder, "train")


def test_a_directory_without_its_kind_is_answered_with_what_to_type(tmp_path):
    with pytest.raises(ValueError, match=f"data must be .* Received: '{tmp_path}'; type folder:{tmp_path}"):
        kr.data.load(str(tmp_path), "train")


@pytest.mark.slow
def test_color_files_can_be_read_in_gray(tmp_path):
    write(tmp_path, "cat/1.png", "dog/2.png")
    for image, _ in load(tmp_path, "all").with_channels(1).examples.as_numpy_iterator():
        np.testing.assert_array_equal(image, np.full((4, 4, 1), 9))
    with pytest.raises(ValueError, match="channels must be 3, as the images have; .* Received: channels=4"):
        load(tmp_path, "all").with_channels(4)
    pixels = kr.data.from_arrays(np.zeros((2, 4, 4, 3), "uint8"), np.arange(2), ("a", "b"))
    with pytest.raises(ValueError, match="channels must be 3, .* Received: channels=1"):
        pixels.with_channels(1)
