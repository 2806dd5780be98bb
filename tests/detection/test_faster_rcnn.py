"""Detectors of small networks: what they answer, that they are saved, and what they refuse."""

import dataclasses

import keras
import numpy as np
import pytest

import keras_resnet as kr
from keras_resnet.detection import (
    C4,
    FPN,
    FPN_SMALL,
    FPN_V2,
    FasterRCNN,
    create_detector,
    find,
    training_network,
)
from keras_resnet.detection.anchors import Anchors
from keras_resnet.detection.rows import ROWS

SMALL_FPN = dataclasses.replace(
    FPN, pre_nms_top_n=(50, 40), post_nms_top_n=(30, 20), regions_per_image=16, shorter=64, longer=96
)
SMALL_C4 = dataclasses.replace(
    C4,
    anchors=Anchors(((16, 32),)),
    pre_nms_top_n=(50, 40),
    post_nms_top_n=(30, 20),
    regions_per_image=16,
    roi_size=4,
    shorter=64,
    longer=96,
)
DESIGNS = {"fpn": SMALL_FPN, "c4": SMALL_C4}


def backbone(**arguments):
    shape = {"input_shape": (None, None, 3), **arguments}
    return kr.ResNet(depths=(1, 1, 1, 1), filters=(8, 8, 16, 16), include_top=False, **shape)


@pytest.fixture(scope="module", params=["c4", pytest.param("fpn", marks=pytest.mark.slow)])
def small(request):
    """A small detector of three classes and its design; all its detections count."""
    keras.utils.set_random_seed(0)
    design = dataclasses.replace(DESIGNS[request.param], least_score=0.0)
    return FasterRCNN(backbone(), 3, design), design


def images(rng):
    return [rng.integers(0, 256, shape, "uint8") for shape in ((50, 60, 3), (64, 40, 3))]


def test_boxes_are_within_their_images(small, rng):
    detector, design = small
    for image, found in zip(images(rng), find(detector, images(rng), design), strict=True):
        height, width = image.shape[:2]
        assert len(found.boxes) > 5
        assert (found.boxes >= 0).all()
        assert (found.boxes[:, 2] <= width + 1e-3).all()
        assert (found.boxes[:, 3] <= height + 1e-3).all()
        assert (np.diff(found.scores) <= 0).all()
        assert set(found.classes) <= {0, 1, 2}


def test_an_image_of_one_pixel_is_answered(small):
    detector, design = small
    (found,) = find(detector, [np.full((1, 1, 3), 200, "uint8")], design)
    assert np.isfinite(found.boxes).all()
    assert (found.boxes <= 1 + 1e-3).all()


def test_an_image_without_objects_has_none(small, rng):
    detector, design = small
    certain = dataclasses.replace(design, least_score=0.999)
    found = find(FasterRCNN(backbone(), 3, certain), images(rng), certain)
    assert [one.boxes.shape for one in found] == [(0, 4)] * 2
    assert [len(one.scores) for one in found] == [0, 0]
    assert find(detector, [], design) == []


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((20, 30), "uint8"), r"images \(H, W, 3\) of raw pixels; .* as image 1 .* of the shape \(20, 30\)"),
        (np.zeros((20, 30, 1), "uint8"), r"images \(H, W, 3\) of raw pixels"),
        (np.zeros((0, 30, 3), "uint8"), r"images \(H, W, 3\) of raw pixels"),
        (np.full((20, 30, 3), "a"), r"an array of <U1"),
        (np.zeros((20, 30, 3), bool), r"an array of bool"),
        (np.full((20, 30, 3), np.nan), "raw pixels from 0 to 255; .* as image 1 pixels from nan to nan"),
        (np.full((20, 30, 3), 0.5), "raw pixels from 0 to 255; .* as image 1 pixels from 0.5 to 0.5"),
        (np.linspace(-2.1, 2.6, 300).reshape(10, 10, 3), "raw pixels from 0 to 255"),
        (np.full((20, 30, 3), -120, "int8"), "raw pixels from 0 to 255"),
        (np.full((20, 30, 3), 60_000, "uint16"), "raw pixels from 0 to 255; .* from 6e\\+04 to 6e\\+04"),
    ],
)
def test_what_is_no_image_is_refused(small, image, message):
    detector, design = small
    with pytest.raises(ValueError, match=message):
        find(detector, [np.zeros((20, 30, 3), "uint8"), image], design)


def test_pixels_that_resizing_left_a_little_outside_are_raw(small):
    detector, design = small
    assert find(detector, [np.linspace(-20.5, 270.5, 300).reshape(10, 10, 3)], design)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("shorter", 0, "shorter must be an integer of at least 1"),
        ("shorter", "64", "shorter must be an integer"),
        ("detections_per_image", 0, "detections_per_image must be an integer of at least 1"),
        ("least_score", 50, r"least_score must be in \[0, 1\)"),
        ("pre_nms_top_n", 1000, "pre_nms_top_n must be a sequence of integers"),
        ("post_nms_top_n", (1, 2, 3), "post_nms_top_n must be two numbers, for training and for use"),
        ("anchors", ((32,), (64,)), "anchors must be keras_resnet.detection.anchors.Anchors"),
        ("anchors", Anchors((32, 64)), "sizes of anchors must be groups of numbers, one for each map"),
        ("anchors", Anchors(((32, 64), (16,))), "groups .* of the same length"),
        ("neck", "fpn", "neck must be a function"),
    ],
)
def test_a_design_is_checked(field, value, message):
    with pytest.raises((ValueError, TypeError), match=message):
        dataclasses.replace(FPN, **{field: value})


def test_a_saved_detector_gives_the_same_answers(small, rng, tmp_path):
    detector, design = small
    detector.save(tmp_path / "detector.keras")
    again = keras.models.load_model(tmp_path / "detector.keras")
    pair = images(rng)
    for found, expected in zip(find(again, pair, design), find(detector, pair, design)):
        np.testing.assert_allclose(found.boxes, expected.boxes, atol=1e-3)


def test_a_training_step_learns_from_objects_and_from_images_without_any(small, rng):
    detector, design = small
    network = training_network(detector, design)
    batch = rng.integers(0, 256, (2, 64, 96, 3)).astype("float32")
    boxes, labels = np.zeros((2, 2, 4), "float32"), np.full((2, 2), -1, "int32")
    boxes[0, 0], labels[0, 0] = (10, 10, 50, 40), 1
    inputs = {"images": batch, "sizes": np.array([[64, 96], [64, 80]]), "boxes": boxes, "labels": labels}
    losses = {name: float(np.mean(value)) for name, value in network(inputs).items()}
    assert all(np.isfinite(value) and value >= 0 for value in losses.values()), losses
    assert losses["classes"] > 0
    assert losses["rpn_objectness"] > 0
    empty = network({**inputs, "labels": np.full((2, 2), -1, "int32")})
    assert float(empty["rpn_boxes"][0]) == float(empty["boxes"][0]) == 0


def test_batch_norms_and_the_first_stages_of_the_backbone_do_not_train():
    detector = FasterRCNN(backbone(), 3, SMALL_FPN)
    trained = {variable.path.split("/")[-2] for variable in detector.trainable_variables}
    assert not any(name.startswith(("conv1_", "conv2_")) for name in trained)
    assert "conv3_block1_1_conv" in trained
    assert "conv3_block1_1_bn" not in trained


def test_a_backbone_of_one_size_is_refused():
    with pytest.raises(ValueError, match=r"backbone must take images of any size: pass input_shape=\(None, None, 3\)"):
        FasterRCNN(backbone(input_shape=(64, 64, 3)), 3, SMALL_FPN)


def test_a_backbone_without_the_needed_stages_is_refused():
    with pytest.raises(ValueError, match="backbone must have the feature maps C2, C3, C4, C5; .* without C5"):
        FasterRCNN(kr.ResNet20(include_top=False, input_shape=(None, None, 3)), 3, SMALL_FPN)


def network(**options):
    return kr.ResNet(
        (1, 1, 1, 1), kr.residual_block, filters=(8,) * 4, include_top=False, input_shape=(None, None, 3), **options
    )


@pytest.mark.parametrize(
    ("backbone", "design", "message"),
    [
        ({"output_stride": 8}, SMALL_C4, "strides of the design, 16; .* with maps at 8$"),
        ({"stem": kr.stems.cifar}, SMALL_FPN, "strides of the design, 4, 8, 16, 32; .* with maps at 1, 2, 4, 8, 16$"),
        ({"include_preprocessing": False}, SMALL_FPN, "takes raw pixels: pass include_preprocessing=True"),
    ],
)
def test_a_backbone_that_would_be_read_at_wrong_places_or_in_wrong_pixels_is_refused(backbone, design, message):
    with pytest.raises(ValueError, match=message):
        FasterRCNN(network(**backbone), 3, design)


def test_a_network_without_conv5_is_no_backbone_of_the_paper():
    backbone = kr.ResNet(
        (1, 1, 1), kr.residual_block, filters=(8, 8, 8), include_top=False, input_shape=(None, None, 3)
    )
    with pytest.raises(ValueError, match="backbone must have conv4 and conv5. .* with the feature maps C2, C3, C4"):
        FasterRCNN(backbone, 3, SMALL_C4)


def test_a_design_with_sizes_for_other_maps_is_refused():
    design = dataclasses.replace(SMALL_FPN, anchors=Anchors(((32,),)))
    with pytest.raises(ValueError, match="sizes of anchors for each of the 5 maps"):
        FasterRCNN(backbone(), 3, design)


@pytest.mark.parametrize("classes", [0, 2.5, "3"])
def test_a_number_of_classes_that_is_none_is_refused(classes):
    with pytest.raises((ValueError, TypeError), match="classes must be an integer of at least 1"):
        FasterRCNN(backbone(), classes)


def test_each_row_names_a_model_of_the_zoo():
    assert {row.backbone for row in ROWS.values()} <= set(kr.list_models())


def test_the_table_has_the_published_detectors_and_a_small_one():
    rows = {row.name: (row.backbone, row.design) for row in ROWS.values()}
    assert rows == {
        "fasterrcnn_resnet101_c4": ("ResNet101", C4),
        "fasterrcnn_resnet50_fpn": ("ResNet50", FPN),
        "fasterrcnn_resnet50_fpn_v2": ("ResNet50", FPN_V2),
        "fasterrcnn_resnet18_320_fpn": ("ResNet18", FPN_SMALL),
    }


@pytest.mark.slow
def test_the_small_detector_has_12_million_weights_and_finds_at_most_100_objects():
    detector = create_detector("fasterrcnn_resnet18_320_fpn", 3)
    assert detector.count_params() == 12_307_427
    assert detector.output["boxes"].shape == (None, 100, 4)
