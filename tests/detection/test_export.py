"""Exports of detectors: they find what `find` finds, in files of any size, also through a server."""

import numpy as np
import pytest
import tensorflow as tf

import keras_resnet as kr
from keras_resnet import weights
from keras_resnet.detection import find, saved_model
from keras_resnet.detection.export import detect_function
from keras_resnet.detection.resizing import (
    batch_of,
    exact_sides_in_graph,
    resized,
    resized_in_graph,
    resized_sides,
)
from keras_resnet.export import client
from tests.detection.export_detector import DESIGN, NAMES, detector, photographs
from tests.export.test_images import WRONG
from tests.serving.process import serving

ROWS = DESIGN.detections_per_image
SLOW = pytest.mark.slow


@pytest.fixture(scope="module")
def net():
    return detector()


@pytest.fixture(scope="module")
def exported(net, tmp_path_factory):
    """An export with warm-up requests, and what the detector finds in the photographs."""
    rng = np.random.default_rng(0)
    images = photographs(rng)
    folder = tmp_path_factory.mktemp("served") / "pets"
    row = weights.find("fasterrcnn_resnet50_fpn_v2", "coco")
    path = saved_model(net, DESIGN, folder, NAMES, warmup=images[0][None], checkpoint=row)
    return path, images, find(net, images, DESIGN)


def png(image):
    return tf.io.encode_png(image).numpy()


def check(outputs, row, image, expected):
    """The outputs for an image are what `find` gives; the rows after them are empty."""
    count = int(outputs["num_detections"][row])
    assert count == len(expected.scores) > 5
    height, width = image.shape[:2]
    boxes = outputs["detection_boxes"][row] * [height, width, height, width]
    np.testing.assert_allclose(boxes[:count][:, [1, 0, 3, 2]], expected.boxes, atol=1e-2)
    np.testing.assert_allclose(outputs["detection_scores"][row, :count], expected.scores, atol=1e-4)
    assert outputs["detection_classes"][row, :count].tolist() == expected.classes.tolist()
    assert outputs["detection_class_names"][row, :count].tolist() == [NAMES[n].encode() for n in expected.classes]
    assert set(outputs["detection_class_names"][row, count:]) <= {b""}
    assert not outputs["detection_scores"][row, count:].any()


@SLOW
def test_files_of_different_sizes_and_of_no_image_are_answered_in_one_request(exported):
    path, images, expected = exported
    signature = tf.saved_model.load(str(path)).signatures["serving_bytes"]
    text, error = WRONG["text"]
    half = png(images[0])[:-40]
    answer = signature(image_bytes=tf.constant([png(images[0]), text, half, png(images[1])]))
    outputs = {name: value.numpy() for name, value in answer.items()}
    assert outputs["valid"].tolist() == [True, False, False, True]
    assert outputs["error"][[0, 3]].tolist() == [b"", b""]
    assert error in outputs["error"][1].decode()
    assert b"cannot be decoded" in outputs["error"][2]
    check(outputs, 0, images[0], expected[0])
    check(outputs, 3, images[1], expected[1])
    assert outputs["num_detections"][1:3].tolist() == [0, 0]
    assert not outputs["detection_boxes"][1:3].any()
    assert outputs["detection_boxes"].shape == (4, ROWS, 4)


@SLOW
def test_pixels_of_one_size_are_answered_and_pixels_that_are_no_numbers_get_no_scores(exported, net):
    path, images, _ = exported
    signature = tf.saved_model.load(str(path)).signatures["serving_default"]
    pixels = np.stack([images[0], images[0]]).astype("float32")
    pixels[1, 3, 4, 1] = np.nan
    outputs = {name: value.numpy() for name, value in signature(image=tf.constant(pixels)).items()}
    # Not those of a batch with another image, which has other sides, and so other places for the largest anchors.
    check(outputs, 0, images[0], find(net, [images[0]], DESIGN)[0])
    assert np.isnan(outputs["detection_scores"][1]).all()
    with pytest.raises(tf.errors.InvalidArgumentError, match="image must be one at least"):
        signature(image=tf.zeros((0, 8, 8, 3)))


@SLOW
def test_the_card_says_what_is_served(exported):
    card = (exported[0] / "card.txt").read_text()
    for fact in (
        "46.7 box AP on coco (torchvision)",
        "bsd-3-clause",
        "float32 (N, any, any, 3), 0 to 255",
        "shorter side to 64 pixels, longer one at most 96",
        "at most 12 boxes of 3 classes",
    ):
        assert fact in card


@SLOW
@pytest.mark.serving
@pytest.mark.processes
def test_a_server_gets_bytes_and_gives_boxes(exported, tmp_path):
    path, images, expected = exported
    files = [tmp_path / "a.png", tmp_path / "text.jpg", tmp_path / "b.png"]
    for file, content in zip(files, (png(images[0]), WRONG["text"][0], png(images[1])), strict=True):
        file.write_bytes(content)
    with serving("pets", f"--model_base_path={path.parent}") as server:
        for address in (server.grpc, server.rest):
            answers = dict(client.ask_detector(files, address, "pets"))
            assert str(answers.pop(files[1])).startswith(f"{files[1]}: image must be a JPEG, PNG, WebP or GIF.")
            for found, image, of in zip(answers.values(), images, expected, strict=True):
                height, width = image.shape[:2]
                assert found.classes == tuple(NAMES[number] for number in of.classes)
                np.testing.assert_allclose(found.scores, of.scores, atol=1e-5)
                top_left_first = np.array(found.boxes)[:, [1, 0, 3, 2]] * [width, height, width, height]
                np.testing.assert_allclose(top_left_first, of.boxes, atol=1e-2)


@pytest.fixture(scope="module")
def batch():
    return batch_of(photographs(np.random.default_rng(0)), DESIGN.shorter, DESIGN.longer)


@SLOW
@pytest.mark.parametrize("fold", [True, False])
def test_a_function_with_constants_computes_what_the_detector_computes(fold, net, batch):
    outputs = detect_function(net, fold=fold)(tf.constant(batch.images), tf.constant(batch.sizes))
    expected = net({"images": batch.images, "sizes": batch.sizes})
    assert set(outputs) == set(expected)
    for name, value in expected.items():
        np.testing.assert_allclose(outputs[name], value, atol=1e-2 if name == "boxes" else 1e-5)


@SLOW
def test_bfloat16_finds_nearly_the_same(net, batch):
    """Of each image the best detection in float32 is one in bfloat16 too."""
    outputs = detect_function(net, "bfloat16")(tf.constant(batch.images), tf.constant(batch.sizes))
    expected = net({"images": batch.images, "sizes": batch.sizes})
    assert 0 < np.abs(outputs["scores"] - expected["scores"]).max() < 0.05
    for row in range(2):
        distance = np.abs(outputs["boxes"][row].numpy() - expected["boxes"][row, 0].numpy()).max(-1)
        same = outputs["classes"][row].numpy() == int(expected["classes"][row, 0])
        assert distance[same].min() < 2


SIZES = [(480, 640), (333, 500), (7, 700), (1, 3)]


@pytest.mark.parametrize("size", SIZES)
def test_in_a_graph_images_are_resized_as_elsewhere(size, rng):
    image = rng.integers(0, 256, (*size, 3), "uint8")
    expected = resized(image, 50, 83)
    np.testing.assert_array_equal(resized_in_graph(tf.constant(image), 50, 83), expected)


def test_sides_in_whole_numbers_are_the_same_or_a_pixel_longer():
    rng, longer = np.random.default_rng(0), 0
    for height, width in [(480, 640), (1, 3000), *rng.integers(30, 4000, (200, 2)).tolist()]:
        exact = exact_sides_in_graph(tf.constant([height, width]), 480, 800).numpy()
        more = exact - resized_sides(height, width, 480, 800)
        assert set(more.tolist()) <= {0, 1}
        longer += more.any()
    assert 0 < longer < 30


def test_what_cannot_be_exported_is_refused(tmp_path):
    small = kr.ResNet((1,), filters=(4,), input_shape=(8, 8, 3))
    with pytest.raises(ValueError, match="detector must be a model of .*FasterRCNN. Received: <Functional"):
        saved_model(small, DESIGN, tmp_path)
    with pytest.raises(ValueError, match="precision must be one of 'float32', 'bfloat16'. Received: precision='int8'"):
        saved_model(small, DESIGN, tmp_path, precision="int8")
    (tmp_path / "1").mkdir()
    with pytest.raises(ValueError, match="version must be new. Received: version=1"):
        saved_model(small, DESIGN, tmp_path)


@SLOW
def test_names_of_other_classes_are_refused_and_nothing_is_left(net, tmp_path):
    with pytest.raises(ValueError, match="class_names must have a name for each of the model's 3 outputs. .* 2 names"):
        saved_model(net, DESIGN, tmp_path / "net", NAMES[:2])
    assert not (tmp_path / "net").exists()
