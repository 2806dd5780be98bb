"""Boxes that follow images that are stored on their side, and boxes that no image can have."""

import numpy as np
import pytest
import tensorflow as tf

from keras_resnet.data.orientation import upright
from keras_resnet.data.split import image_of
from keras_resnet.detection import load
from keras_resnet.detection.upright_boxes import objects_of, turned, within
from tests.conftest import quick_among
from tests.detection.annotated_files import as_png, painted, picture, write_coco, write_voc, xml

BOX = (4, 7, 15, 19)  # in an image of 30x40


@pytest.mark.parametrize("stored", quick_among(range(1, 9), 6, 7))
def test_boxes_turn_as_pixels_do(stored):
    image = upright(tf.constant(picture((30, 40), BOX)), tf.constant(stored))
    assert turned(np.array([BOX]), image.shape[:2], stored).tolist() == [painted(image)]


@pytest.mark.slow
@pytest.mark.parametrize("counted_in", ["stored", "upright", "nothing"])
def test_the_sides_in_an_annotation_say_which_pixels_it_counts(counted_in, tmp_path):
    stored = picture((30, 40), BOX)
    shown = upright(tf.constant(stored), tf.constant(6)).numpy()
    sides = {"stored": (30, 40), "upright": (40, 30), "nothing": (0, 0)}[counted_in]
    left, top, right, bottom = painted(shown) if counted_in == "upright" else BOX
    annotation = xml([("cat", (left + 1, top + 1, right, bottom))], sides)
    split = load(write_voc(tmp_path / "x", {"a": (as_png(stored, 6), annotation)}, {"train": "a"}), "train")
    assert split.sides.tolist() == [[40, 30]]
    assert split.objects[0].boxes.tolist() == [painted(shown)]
    content = (tmp_path / "x" / "JPEGImages" / "a.png").read_bytes()
    assert painted(image_of(tf.constant(content), 3)) == painted(shown)


@pytest.mark.slow
@pytest.mark.parametrize("others", ["none", "upright", "stored"])
def test_where_the_sides_do_not_say_it_other_turned_images_do(others, tmp_path, caplog):
    """An image that is stored upside down has the same sides as the upright one."""
    stored = picture((30, 40), BOX)
    shown = upright(tf.constant(stored), tf.constant(3)).numpy()

    def annotation(box, sides):
        left, top, right, bottom = box
        return xml([("cat", (left + 1, top + 1, right, bottom))], sides)

    images = {"a": (as_png(stored, 3), annotation(painted(shown) if others == "upright" else BOX, (30, 40)))}
    if others != "none":
        sides = (40, 30) if others == "upright" else (30, 40)
        images["b"] = as_png(stored, 6), annotation((1, 2, 9, 12), sides)
    split = load(write_voc(tmp_path / "x", images, {"train": "".join(images)}), "train")
    assert split.objects[0].boxes.tolist() == [painted(shown)]
    said = [message for message in caplog.messages if "do not say whether boxes are those of the stored" in message]
    assert len(said) == (others == "none")
    assert not said or "upright image: 1; they are taken as those of the stored one" in said[0]


@pytest.mark.slow
def test_boxes_that_are_fractions_of_their_images_are_refused(tmp_path):
    (tmp_path / "a.png").write_bytes(as_png(picture((30, 40))))
    box = {"image_id": 1, "category_id": 1, "bbox": [0.1, 0.2, 0.5, 0.8]}
    source = write_coco(tmp_path / "x.json", [(1, "a.png", 30, 40)], [box], {1: "cat"})
    with pytest.raises(ValueError, match="must have boxes in pixels of their images. Received: coordinates from 0 to"):
        load(source, "all")


def test_boxes_that_no_image_can_have_are_dropped_and_counted():
    boxes = {
        (1, 2, 3, 4): "",
        (-0.5, 0, 40.5, 30): "",  # cut by less than a pixel
        (30, 20, 50, 40): "cut",
        (5, 5, 5, 9): "without area",
        (5, 5, 9, 5): "without area",
        (9, 5, 5, 9): "corners swapped",
        (40, 0, 50, 10): "outside of the image",
        (-9, -9, -1, -1): "outside of the image",
        (np.nan, 0, 1, 1): "not four numbers",
        (0, 0, np.inf, 1): "not four numbers",
    }
    objects = objects_of(list(boxes), range(len(boxes)), crowd=[True, *[False] * 9])
    kept, dropped, cut = within(objects, (30, 40))
    assert kept.labels.tolist() == [0, 1, 2]
    assert kept.boxes.tolist() == [[1, 2, 3, 4], [0, 0, 40, 30], [30, 20, 40, 30]]
    assert kept.boxes.dtype == np.float32
    assert kept.crowd.tolist() == [True, False, False]
    assert cut == 1
    reasons = [reason for reason in boxes.values() if reason not in ("", "cut")]
    assert dict(dropped) == {reason: reasons.count(reason) for reason in reasons}


def test_no_objects_stay_no_objects():
    kept, dropped, cut = within(objects_of([], []), (30, 40))
    assert (kept.boxes.shape, dict(dropped), cut) == ((0, 4), {}, 0)
    assert turned(kept.boxes, (30, 40), 6).shape == (0, 4)


@pytest.mark.slow
def test_annotations_of_resized_images_are_told(tmp_path, caplog):
    annotation = xml([("cat", (1, 1, 60, 60))], (300, 400))
    source = write_voc(tmp_path / "x", {"a": (as_png(picture((30, 40))), annotation)}, {"train": "a"})
    assert load(source, "train").objects[0].boxes.tolist() == [[0, 0, 40, 30]]
    messages = " ".join(record.message for record in caplog.records)
    assert "annotations that state another width or height than their image has: 1;" in messages
    assert "boxes cut at the border of the image: 1" in messages
