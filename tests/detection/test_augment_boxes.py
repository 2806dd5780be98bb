"""Augmentation: boxes follow the pixels of their objects, and the same arguments give the same result."""

import functools
import json

import numpy as np
import pytest
import tensorflow as tf

from keras_resnet.data.augment import color_jitter
from keras_resnet.detection.augment_boxes import (
    Annotated,
    of_image,
    random_horizontal_flip,
    random_iou_crop,
    random_vertical_flip,
)
from keras_resnet.detection.resizing import resized, resized_sides
from keras_resnet.detection.scales import large_scale_jitter, random_shortest_side, shortest_side, viewed
from tests import needs, processes
from tests.conftest import quick_among
from tests.detection.annotated_files import painted, picture

BOX = (12, 9, 33, 27)  # in an image of 40x60


def one(box=BOX, sides=(40, 60)):
    return Annotated(tf.constant(picture(sides, box)), tf.constant([box], tf.float32), tf.constant([5]))


def rescaled(scale):
    """An augmentation of a scale, with whole pixels: the image is twice or three times as large, and parts of it."""
    return lambda annotated, seed: viewed(annotated, scale(tf.shape(annotated.image)[:2], seed))


GEOMETRY = {
    "flip": random_horizontal_flip,
    "upside down": random_vertical_flip,
    "crop": random_iou_crop,
    "color": of_image(functools.partial(color_jitter, brightness=0.2)),
    "shortest side": rescaled(functools.partial(shortest_side, shorter=80, longer=200)),
    "multiscale": rescaled(functools.partial(random_shortest_side, shorter=(40, 80, 120), longer=200)),
    "large scale": rescaled(functools.partial(large_scale_jitter, target=(80, 120), scale=(0.5, 2.0))),
}


@pytest.mark.parametrize("kind", quick_among(list(GEOMETRY), "flip", "upside down", "shortest side"))
def test_boxes_are_where_the_pixels_are(kind):
    boxes = set()
    for seed in range(12):
        found = GEOMETRY[kind](one(), (seed, 1))
        if not len(found.labels):
            continue
        box = found.boxes[0].numpy()
        # The edge between two colors is resized to a ramp, and a part has whole pixels.
        np.testing.assert_allclose(box, painted(found.image), atol=1.6 if "scale" in kind else 0.5)
        assert found.labels.numpy().tolist() == [5]
        boxes.add(tuple(box.round().tolist()))
    assert len(boxes) >= {"color": 1, "shortest side": 1, "flip": 2, "upside down": 2}.get(kind, 3), boxes


@pytest.mark.slow
@pytest.mark.parametrize("kind", GEOMETRY)
def test_a_graph_gives_the_same_as_eager_execution(kind):
    seeds = tf.data.Dataset.range(4).map(lambda seed: GEOMETRY[kind](one(), tf.stack([seed, seed])))
    for seed, found in enumerate(seeds):
        expected = GEOMETRY[kind](one(), (seed, seed))
        np.testing.assert_array_equal(found.boxes, expected.boxes)
        np.testing.assert_array_equal(found.image, expected.image)


@pytest.mark.parametrize("kind", quick_among(list(GEOMETRY), "flip", "crop"))
def test_an_image_without_objects_stays_without(kind):
    none = Annotated(tf.constant(picture((40, 60))), tf.zeros((0, 4)), tf.zeros((0,), tf.int32))
    found = GEOMETRY[kind](none, (0, 1))
    assert (found.boxes.shape, found.labels.shape) == ((0, 4), (0,))
    if kind == "crop":
        assert found.image.shape == (40, 60, 3)


@pytest.mark.slow
def test_a_crop_keeps_objects_with_their_center_and_enough_overlap():
    rng = np.random.default_rng(0)
    corners = rng.uniform(0, (70, 50), (6, 2))
    boxes = np.concatenate([corners, corners + rng.uniform(8, 30, (6, 2))], axis=1).astype("float32")
    annotated = Annotated(tf.constant(picture((80, 100))), tf.constant(boxes), tf.range(6))
    shapes = []
    for seed in range(30):
        found = random_iou_crop(annotated, (seed, 0), least_overlaps=(0.3,))
        shapes.append(tuple(found.image.shape[:2]))
        height, width = shapes[-1]
        assert len(found.labels) >= 1
        assert (found.boxes.numpy() >= 0).all()
        assert (found.boxes.numpy() <= (width, height, width, height)).all()
        sides = (found.boxes[:, 2:] - found.boxes[:, :2]).numpy()
        assert (sides > 0).all()
        if shapes[-1] != (80, 100):
            assert 0.5 <= width / height <= 2
            assert height >= 0.3 * 80 - 1
            assert sides.prod(axis=1).max() / (width * height) >= 0.3 - 1e-3
    assert len(set(shapes)) > 20
    whole = random_iou_crop(annotated, (0, 0), least_overlaps=(1.0,))
    assert whole.image.shape == (80, 100, 3)
    assert len(whole.labels) == 6


CROPS_IN_A_PIPELINE = """
import json, tensorflow as tf
from keras_resnet.detection.augment_boxes import random_iou_crop
from tests.detection.test_augment_boxes import one
crops = tf.data.Dataset.range(8).map(lambda number: random_iou_crop(one(), (number, 1)))
print(json.dumps([found.boxes.numpy().tolist() for found in crops]))
"""


@pytest.mark.slow
@pytest.mark.processes
@pytest.mark.parametrize("backend", [pytest.param(name, marks=needs.package(name)) for name in ("jax", "torch")])
def test_crops_are_the_same_on_other_backends(backend):
    ended = processes.python("-c", CROPS_IN_A_PIPELINE, environment={"KERAS_BACKEND": backend})
    found = json.loads(processes.printed(ended))
    expected = [random_iou_crop(one(), (number, 1)).boxes.numpy().tolist() for number in range(8)]
    assert found == expected
    assert len({str(boxes) for boxes in found}) > 2


def test_sides_are_those_of_find():
    rng = np.random.default_rng(0)
    sides = rng.integers(1, 3000, (400, 2))
    found = tf.data.Dataset.from_tensor_slices(sides).map(lambda pair: shortest_side(pair).sides)
    expected = [resized_sides(int(height), int(width), 800, 1333) for height, width in sides]
    assert [tuple(pair.tolist()) for pair in found.as_numpy_iterator()] == expected


def test_pixels_are_those_of_find(rng):
    image = rng.integers(0, 256, (37, 53, 3), "uint8")
    view = shortest_side((37, 53), shorter=50, longer=70)
    found = viewed(Annotated(tf.constant(image), tf.zeros((0, 4)), tf.zeros((0,), tf.int32)), view)
    np.testing.assert_array_equal(found.image, resized(image, 50, 70))


@pytest.mark.slow
def test_large_scale_jitter_is_at_most_the_target():
    shapes = set()
    for seed in range(40):
        view = large_scale_jitter(tf.constant([480, 640]), (seed, 0), target=(512, 512))
        top, left, height, width = view.part.numpy().tolist()
        new_height, new_width = view.sides.numpy().tolist()
        assert top >= 0
        assert left >= 0
        assert top + height <= 480
        assert left + width <= 640
        assert 1 <= new_height <= 512
        assert 1 <= new_width <= 512
        np.testing.assert_allclose(new_height / height, new_width / width, rtol=0.05)
        shapes.add((new_height, new_width))
    assert (512, 512) in shapes
    assert any(height < 200 for height, _ in shapes)


def test_an_object_of_which_no_pixel_is_left_is_dropped():
    tiny = Annotated(tf.zeros((100, 100, 3), tf.uint8), tf.constant([[10.0, 10, 14, 30]]), tf.constant([0]))
    assert len(viewed(tiny, shortest_side((100, 100), shorter=20, longer=20)).labels) == 0
    assert len(viewed(tiny, shortest_side((100, 100), shorter=30, longer=30)).labels) == 1


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: random_horizontal_flip(one(), (0, 0), probability=2), r"probability must be in \[0, 1\]"),
        (lambda: random_iou_crop(one(), (0, 0), scale=(0.5, 2)), "scale must be"),
        (lambda: random_iou_crop(one(), (0, 0), ratio=(2, 1)), "ratio must be"),
        (lambda: random_shortest_side((4, 4), (0, 0), shorter=(0,)), r"shorter\[0\] must be an integer of at least 1"),
        (lambda: large_scale_jitter((4, 4), (0, 0), scale=(0, 1)), "scale must be"),
    ],
)
def test_arguments_are_checked(call, message):
    with pytest.raises(ValueError, match=message):
        call()
