"""Annotations in COCO's format: gaps in the ids, crowds, and where images may be."""

import json

import numpy as np
import pytest

from keras_resnet.classes import COCO
from keras_resnet.detection import load
from tests import needs
from tests.conftest import SHARED
from tests.detection.annotated_files import as_png, picture, write_coco

CATEGORIES = {90: "toothbrush", 1: "person", 13: "stop sign"}  # with gaps, and not sorted


def write_images(folder, *names):
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).write_bytes(as_png(picture((20, 30))))


def row(image, category, box, **more):
    return {"image_id": image, "category_id": category, "bbox": box, **more}


@pytest.mark.slow
def test_ids_with_gaps_become_labels_and_stay_known(tmp_path, caplog):
    write_images(tmp_path / "images", "a.png", "b.png")
    rows = [
        row(139, 90, [1, 2, 3, 4]),
        row(139, 1, [0, 0, 30, 20], iscrowd=1),
        row(7, 13, [0, 0, 0, 4]),
        row(8, 13, [0, 0, 5, 5]),
        row(139, 1, [5, 5, -3, 3]),
        row(139, 1, ["1", 2, 3, 4]),
        row(139, 1, [10**400, 2, 3, 4]),
        {"image_id": 139, "category_id": 1},
    ]
    source = write_coco(tmp_path / "x.json", [(139, "a.png", 20, 30), (7, "b.png", 20, 30)], rows, CATEGORIES)
    split = load(source, "all")
    assert split.classes == ("person", "stop sign", "toothbrush")
    assert split.category_ids == (1, 13, 90)
    assert split.ids == (139, 7)
    assert split.objects[0].boxes.tolist() == [[1, 2, 4, 6], [0, 0, 30, 20]]
    assert split.objects[0].labels.tolist() == [2, 0]
    assert split.objects[0].crowd.tolist() == [False, True]
    assert split.objects[1].boxes.shape == (0, 4)
    assert split.dropped == {
        "of an image that is not listed": 1,
        "corners swapped": 1,
        "not four numbers": 3,
        "without area": 1,
    }
    assert "x.json: 6 boxes dropped" in caplog.records[0].message


@pytest.mark.slow
@needs.shared_data
def test_blood_cells_as_coco_are_those_of_voc(tmp_path):
    voc = load(f"voc:{SHARED / 'bccd'}", "test")
    images = [(10 * i + 7, file.rpartition("/")[2], 480, 640) for i, file in enumerate(voc.files)]
    category = {label: 20 * label + 3 for label in range(3)}
    rows = [
        row(image[0], category[label], [left, top, right - left, bottom - top])
        for image, found in zip(images, voc.objects)
        for label, (left, top, right, bottom) in zip(found.labels.tolist(), found.boxes.tolist())
    ]
    (tmp_path / "images").symlink_to(SHARED / "bccd" / "JPEGImages")
    source = write_coco(tmp_path / "x.json", images, rows, dict(zip(category.values(), voc.classes)))
    split = load(source, "all")
    assert split.category_ids == (3, 23, 43)
    assert split.ids == tuple(image[0] for image in images)
    assert split.class_counts == voc.class_counts == {"Platelets": 69, "RBC": 805, "WBC": 71}
    for found, expected in zip(split.objects, voc.objects, strict=True):
        np.testing.assert_array_equal(found.boxes, expected.boxes)
        np.testing.assert_array_equal(found.labels, expected.labels)


IMAGES = [(1, "a.png", 20, 30)]
LAYOUTS = {
    "COCO": ("annotations/instances_val2017.json", "val2017", "coco:{}", "test"),
    "Roboflow": ("valid/_annotations.coco.json", "valid", "coco:{}", "val"),
    "beside": ("x.json", ".", "coco:{}/x.json", "all"),
}


@pytest.mark.slow
@pytest.mark.parametrize("layout", LAYOUTS)
def test_directories_of_coco_and_of_roboflow_are_known(layout, tmp_path):
    file, folder, source, split = LAYOUTS[layout]
    write_images(tmp_path / folder, "a.png")
    write_coco(tmp_path / file, IMAGES, [row(1, 1, [1, 1, 2, 2])], {0: "person", 1: "person"})
    found = load(source.format(tmp_path), split)
    assert found.files == (str(tmp_path / folder / "a.png"),)
    assert found.classes == ("person",)  # Roboflow has the group of all classes as a class too
    assert found.category_ids == (1,)
    assert found.class_counts == {"person": 1}


def refused(tmp_path, change, message):
    content = {
        "images": [{"id": 1, "file_name": "a.png"}],
        "annotations": [row(1, 1, [1, 1, 2, 2])],
        "categories": [{"id": 1, "name": "person"}],
    }
    (tmp_path / "x.json").write_text(json.dumps({**content, **change}))
    with pytest.raises(ValueError, match=message):
        load(f"coco:{tmp_path / 'x.json'}", "all")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"annotations": None}, "x.json must have a list of annotations, as COCO's instances_"),
        ({"annotations": [{"image_id": 1, "caption": "a cat"}]}, "each of annotations must have image_id and category"),
        ({"annotations": [row(1, 2, [1, 1, 2, 2])]}, "category_id must be the id of a category. Received: 2"),
        ({"images": []}, "must have images. Received: none"),
        ({"images": [{"id": 1, "file_name": "a"}] * 2}, "each image must have its own id. Received: 1 twice"),
        (
            {"images": [{"id": 1, "file_name": "a"}, {"id": 2, "file_name": "a"}]},
            "each image must be there once, with all of its objects: .* Received: file_name 'a' 2 times",
        ),
        ({"images": [{"id": [1], "file_name": "a"}]}, "each of images must have id and file_name"),
        ({"categories": [{"id": "1", "name": "cat"}, {"id": 2, "name": "dog"}]}, "ids of categories must be integers"),
        ({"categories": []}, "classes must be names, each once"),
        ({}, "names the image 'a.png', which must be in one of the folders"),
    ],
)
def test_files_of_another_form_are_refused(change, message, tmp_path):
    refused(tmp_path, change, message)


@pytest.mark.slow
def test_sides_may_be_written_with_a_point_and_a_crowd_is_0_or_1(tmp_path):
    (tmp_path / "a.png").write_bytes(as_png(picture((20, 30)), 6))
    image = [(1, "a.png", 30.0, 20.0)]  # of the upright image
    split = load(write_coco(tmp_path / "x.json", image, [row(1, 1, [1, 2, 3, 4])], CATEGORIES), "all")
    assert split.objects[0].boxes.tolist() == [[1, 2, 4, 6]]
    source = write_coco(tmp_path / "x.json", image, [row(1, 1, [1, 2, 3, 4], iscrowd="0")], CATEGORIES)
    with pytest.raises(ValueError, match=r"x\.json: iscrowd must be 0 or 1. Received: '0'"):
        load(source, "all")


def test_a_file_that_is_cut_off_is_refused_by_name(tmp_path):
    (tmp_path / "x.json").write_text('{"images": [')
    with pytest.raises(ValueError, match=r"x\.json must be a readable JSON file"):
        load(f"coco:{tmp_path / 'x.json'}", "all")


def test_a_split_that_is_not_there_is_told(tmp_path):
    with pytest.raises(ValueError, match=r"with annotations/instances_train\*.json or train/_annotations.coco.json"):
        load(f"coco:{tmp_path}", "train")
    write_coco(tmp_path / "x.json", IMAGES, [], CATEGORIES)
    with pytest.raises(ValueError, match="split must be 'all' for a JSON file"):
        load(f"coco:{tmp_path / 'x.json'}", "train")
    for year in (2014, 2017):
        write_coco(tmp_path / "annotations" / f"instances_train{year}.json", IMAGES, [], CATEGORIES)
    with pytest.raises(ValueError, match="must have one file for 'train'; .* instances_train2014.json, instances_tr"):
        load(f"coco:{tmp_path}", "train")


@pytest.mark.slow
def test_classes_of_the_caller_give_the_labels(tmp_path):
    write_images(tmp_path, "a.png")
    source = write_coco(tmp_path / "x.json", IMAGES, [row(1, 90, [1, 1, 2, 2])], CATEGORIES)
    split = load(source, "all", classes=("toothbrush", "person", "stop sign", "tie"))
    assert split.objects[0].labels.tolist() == [0]
    assert split.category_ids == (90, 1, 13, -1)
    published = load(source, "all", classes=COCO)  # ten names of these are "N/A"
    assert published.objects[0].labels.tolist() == [89]
    with pytest.raises(ValueError, match="must have objects of the classes person, toothbrush.* Received: 'stop sign'"):
        load(source, "all", classes=("person", "toothbrush"))


@pytest.mark.slow
def test_images_that_are_missing_stop_or_are_skipped_by_name(tmp_path):
    write_images(tmp_path, "a.png")
    source = write_coco(tmp_path / "x.json", [(2, "b.png", 20, 30), *IMAGES], [], CATEGORIES)
    with pytest.raises(ValueError, match=r"data: cannot read .*b\.png: No such file"):
        load(source, "all")
    split = load(source, "all", on_corrupt="skip")
    assert split.ids == (1,)
    assert len(split.skipped) == 1
