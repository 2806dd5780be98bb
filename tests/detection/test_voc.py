"""Annotations of PASCAL VOC: the real ones of blood cells, and damaged ones."""

import logging

import numpy as np
import pytest

from keras_resnet.detection import load, voc
from keras_resnet.detection.voc import parse, read_annotation, splits_of_voc
from tests import needs
from tests.conftest import SHARED
from tests.detection.annotated_files import as_png, picture, write_voc, xml

BCCD = f"voc:{SHARED / 'bccd'}"
SMALL = as_png(picture((20, 30)))


@pytest.fixture
def folder(tmp_path):
    """Three images: two with objects, and one as background."""
    images = {
        "a": (SMALL, xml([("cat", (1, 1, 30, 20))], (20, 30))),
        "b": (SMALL, xml([("dog", (5, 5, 9, 9)), ("cat", (2, 2, 2, 2))], (20, 30))),
        "c": (SMALL, xml([], (20, 30))),
    }
    return write_voc(tmp_path / "photos", images, {"train": "ab", "val": "c", "cat_train": ["a 1", "b -1"]})


@pytest.mark.slow
@needs.shared_data
def test_the_blood_cells_are_read_as_they_are(caplog):
    splits = {name: load(BCCD, name) for name in ("train", "val", "test")}
    assert {name: split.size for name, split in splits.items()} == {"train": 205, "val": 87, "test": 72}
    assert splits["train"].classes == ("Platelets", "RBC", "WBC")
    assert splits["train"].class_counts == {"Platelets": 209, "RBC": 2381, "WBC": 214}
    assert splits["val"].class_counts == {"Platelets": 83, "RBC": 967, "WBC": 87}
    assert splits["test"].class_counts == {"Platelets": 69, "RBC": 805, "WBC": 71}
    assert [dict(split.dropped) for split in splits.values()] == [{"without area": 1}, {"without area": 1}, {}]
    messages = [record.message for record in caplog.records]
    assert [message.partition("bccd, ")[2] for message in messages] == [
        "train: 1 box dropped: 1 without area",
        "val: 1 box dropped: 1 without area",
    ]
    for split in splits.values():
        assert (split.sides == (480, 640)).all()
        boxes = np.concatenate([found.boxes for found in split.objects])
        assert (boxes >= 0).all()
        assert (boxes <= (640, 480, 640, 480)).all()
        assert (boxes[:, 2:] > boxes[:, :2]).all()
    assert repr(splits["train"]) == "<AnnotatedSplit: 205 images, 2,804 objects, 3 classes>"


@pytest.mark.slow
def test_pixels_are_counted_from_one_and_the_last_is_inside(folder):
    split = load(folder, "train")
    assert split.classes == ("cat", "dog")
    assert split.objects[0].boxes.tolist() == [[0, 0, 30, 20]]
    assert split.objects[1].boxes.tolist() == [[4, 4, 9, 9]]
    assert split.objects[1].labels.tolist() == [1]
    assert split.ids == ("a", "b")
    assert split.dropped == {"without area": 1}
    assert split.sides.tolist() == [[20, 30], [20, 30]]


@pytest.mark.slow
def test_an_image_without_objects_is_background(folder):
    split = load(folder, "test")  # the split val, as there is no test
    assert split.ids == ("c",)
    assert split.objects[0].boxes.shape == (0, 4)
    assert split.class_counts == {"cat": 0, "dog": 0}


@pytest.mark.slow
def test_all_is_each_annotation_and_a_part_can_be_held_out(folder):
    split = load(folder, "all")
    assert split.ids == ("a", "b", "c")
    rest, held = split.hold_out(0.3)
    assert (rest.size, held.size) == (2, 1)
    assert sorted(rest.ids + held.ids) == ["a", "b", "c"]
    assert held.files[0].endswith(f"{held.ids[0]}.png")
    assert held.objects[0] is split.objects["abc".index(held.ids[0])]
    with pytest.raises(ValueError, match="two images at least"):
        held.hold_out(0.5)


def test_lists_of_one_class_are_no_splits(folder, tmp_path):
    assert splits_of_voc(tmp_path / "photos") == ["train", "val"]
    with pytest.raises(ValueError, match="or 'all'. Received: split='trainval'; there are train, val"):
        load(folder, "trainval")


@pytest.mark.slow
def test_classes_come_from_the_caller_or_a_file_or_the_annotations(folder, tmp_path):
    assert load(folder, "train", classes=("dog", "cat")).objects[0].labels.tolist() == [1]
    (tmp_path / "photos" / "classes.txt").write_text("bird\ndog\ncat\n")
    assert load(folder, "train").objects[0].labels.tolist() == [2]
    assert load(folder, "train", classes=("cat", "dog")).objects[0].labels.tolist() == [0]


def test_an_unknown_class_is_named_with_the_nearest(folder):
    with pytest.raises(ValueError, match=r"a.xml must have objects of the classes cats, dog; .* Did you mean cats\?"):
        load(folder, "train", classes=("cats", "dog"))
    with pytest.raises(ValueError, match="classes must be names, each once"):
        load(folder, "train", classes=("cat", "cat"))


BOMB = '<!DOCTYPE a [<!ENTITY b "bbbbbbbbbb"><!ENTITY c "&b;&b;&b;&b;&b;">]><annotation>&c;</annotation>'
DAMAGED = {
    "entities": (BOMB, "a document type"),
    "cut off": (xml([("cat", (1, 1, 9, 9))])[:-20], "no element found|unclosed|mismatched"),
    "no XML": ("cat 1 1 9 9", "syntax error"),
    "empty": ("", "no element found"),
    "another root": ("<svg></svg>", "the element <svg>"),
    "no name": (xml([("", (1, 1, 9, 9))]), "must have a <name> in each object"),
    "words": (xml([("cat", (1, 1, "wide", 9))]), "must have numbers in each bndbox. Received: .*'wide'"),
}


@pytest.mark.parametrize("kind", DAMAGED)
def test_a_damaged_annotation_is_refused_by_name(kind, tmp_path):
    content, message = DAMAGED[kind]
    (tmp_path / "x.xml").write_text(content)
    with pytest.raises(ValueError, match=rf"x\.xml .*({message})"):
        read_annotation(tmp_path / "x.xml", {"x": "x.png"})


def test_an_annotation_that_is_too_large_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("keras_resnet.detection.voc.MOST_BYTES", 100)
    (tmp_path / "x.xml").write_text(xml([]) + " " * 100)
    with pytest.raises(ValueError, match=r"x.xml must be an annotation of PASCAL VOC. Received: more than"):
        parse(tmp_path / "x.xml")


def test_an_object_without_a_box_is_no_number(tmp_path):
    (tmp_path / "x.xml").write_text(xml([("cat", None), ("cat", ("nan", 1, 2, 3))], more="<difficult>1</difficult>"))
    read = read_annotation(tmp_path / "x.xml", {"x": "x.png"})
    assert np.isnan(read.boxes).any(axis=1).all()
    assert read.difficult == [True, True]
    assert read.sides == (0, 0)


@pytest.mark.parametrize(("text", "difficult"), [("0", False), ("1", True), (" True ", True), ("false", False)])
def test_a_difficult_object_is_one_in_numbers_or_words(text, difficult, tmp_path):
    (tmp_path / "x.xml").write_text(xml([("cat", None)], more=f"<difficult>{text}</difficult>"))
    assert read_annotation(tmp_path / "x.xml", {"x": "x.png"}).difficult == [difficult]
    (tmp_path / "x.xml").write_text(xml([("cat", None)], more="<difficult>no</difficult>"))
    with pytest.raises(ValueError, match=r"x\.xml must have 0 or 1 in each <difficult>. Received: 'no'"):
        read_annotation(tmp_path / "x.xml", {"x": "x.png"})


def test_of_two_images_of_one_name_the_annotation_names_its_own(tmp_path):
    (tmp_path / "x.xml").write_text(xml([], filename="x.png"))
    images = {"x.jpg": "x.jpg", "x": "x.jpg", "x.png": "x.png"}
    assert read_annotation(tmp_path / "x.xml", images).file == "x.png"
    (tmp_path / "x.xml").write_text(xml([], filename="renamed.png"))
    assert read_annotation(tmp_path / "x.xml", {**images, "renamed.png": "renamed.png"}).file == "x.jpg"


def test_classes_that_differ_only_in_case_are_warned_of(tmp_path, caplog):
    (tmp_path / "Annotations").mkdir()
    (tmp_path / "Annotations" / "x.xml").write_text(xml([("RBC", None), ("rbc", None), ("WBC", None)]))
    assert voc._names_in(tmp_path) == ("RBC", "WBC", "rbc")
    assert "classes that differ only in upper and lower case: RBC, WBC, rbc" in caplog.text


def test_the_image_is_found_by_the_name_of_the_annotation_and_then_by_the_one_in_it(tmp_path):
    (tmp_path / "x.xml").write_text(xml([], filename="other.jpg"))
    assert read_annotation(tmp_path / "x.xml", {"x": "x.png", "other": "other.png"}).file == "x.png"
    assert read_annotation(tmp_path / "x.xml", {"other": "other.png"}).file == "other.png"
    with pytest.raises(ValueError, match=r"no file 'x' .* and the missing 'other.jpg', which it names"):
        read_annotation(tmp_path / "x.xml", {"y": "y.png"})


@pytest.mark.slow
def test_what_cannot_be_read_stops_or_is_skipped_by_name(tmp_path, caplog):
    images = {
        "a": (SMALL, xml([("cat", (1, 1, 9, 9))])),
        "missing": (None, xml([("cat", (1, 1, 9, 9))])),
        "damaged": (SMALL, "<annotation>"),
        "corrupt": (b"no picture", xml([("cat", (1, 1, 9, 9))])),
    }
    lists = {"missing": ["missing"], "damaged": ["damaged"], "corrupt": ["corrupt", "a"], "train": list(images)}
    source = write_voc(tmp_path / "photos", images, lists)
    for split, message in {
        "missing": "data: .*missing.xml must belong to an image in JPEGImages",
        "damaged": "data: .*damaged.xml must be an annotation",
        "corrupt": "data: .*corrupt.png is not a readable JPEG, PNG",
    }.items():
        with pytest.raises(ValueError, match=message):
            load(source, split)
    with caplog.at_level(logging.WARNING):
        split = load(source, "train", on_corrupt="skip")
    assert split.ids == ("a",)
    assert split.files == (str(tmp_path / "photos" / "JPEGImages" / "a.png"),)
    names = [reason.split()[2 if reason.startswith("cannot") else 0] for reason in split.skipped]
    assert [name.rpartition("/")[2] for name in names] == ["damaged.xml", "missing.xml", "corrupt.png"]
    assert sum("skipped: " in record.message for record in caplog.records) == 3
    (tmp_path / "photos" / "JPEGImages" / "a.png").write_bytes(b"no picture")
    for nothing, message in {
        "damaged": "must have annotated images",
        "corrupt": "must have images that can be",
    }.items():
        with pytest.raises(ValueError, match=message):
            load(source, nothing, on_corrupt="skip")


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("photos", "source must be voc:DIR, coco:FILE.json, coco:DIR or tfds:NAME. Received: 'photos'$"),
        ("a/b.json", "type coco:a/b.json"),
        ("voc:", "source must be voc:DIR"),
        ("voc:/nowhere", "must be followed by a directory with the folders Annotations and JPEGImages"),
        ("yolo:photos", "Received: 'yolo:photos'"),
    ],
)
def test_sources_say_what_to_type(source, message):
    with pytest.raises(ValueError, match=message):
        load(source, "train")
    with pytest.raises(ValueError, match="on_corrupt must be one of 'stop', 'skip'"):
        load(source, "train", on_corrupt="raise")
