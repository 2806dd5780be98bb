"""Weights of detectors: files of torchvision and our own, whole or not at all."""

import dataclasses
import functools
import re

import keras
import numpy as np
import pytest

import keras_resnet as kr
from keras_resnet import weights
from keras_resnet.detection import FPN, FasterRCNN, create_detector, find, heads, list_detectors, list_weights, necks
from keras_resnet.weights.load import variables_of
from keras_resnet.weights.save import WRITERS, save_weights
from keras_resnet.weights.table import detectors
from tests import needs
from tests.conftest import quick_among
from tests.detection import torchvision_peer
from tests.torch_peers import peers

CHANNELS, UNITS, CLASSES = 16, 32, 3
DESIGN = dataclasses.replace(
    FPN,
    neck=functools.partial(necks.feature_pyramid, channels=CHANNELS),
    box_head=functools.partial(heads.two_dense, units=UNITS),
    pre_nms_top_n=(50, 40),
    post_nms_top_n=(30, 20),
)
PREDICTOR = ("box_logits/", "box_codes/")


def backbone(**arguments):
    return kr.ResNet((1, 1, 1, 1), kr.residual_block, include_top=False, input_shape=(None, None, 3), **arguments)


def small(classes=CLASSES, **arguments):
    """A detector of the same layers as `small_file`."""
    return FasterRCNN(backbone(**arguments), classes, DESIGN)


@pytest.fixture(scope="module")
def small_state():
    """The state dict of a small Faster R-CNN of torchvision."""
    torch, _, torchvision = peers()
    torch.manual_seed(0)
    detection = torchvision.models.detection
    body = torchvision.models.resnet.ResNet(torchvision.models.resnet.BasicBlock, [1, 1, 1, 1])
    net = detection.FasterRCNN(
        detection.backbone_utils.BackboneWithFPN(
            body, {f"layer{n + 1}": str(n) for n in range(4)}, [64, 128, 256, 512], CHANNELS
        ),
        box_head=detection.faster_rcnn.TwoMLPHead(CHANNELS * 49, UNITS),
        box_predictor=detection.faster_rcnn.FastRCNNPredictor(UNITS, CLASSES + 1),
    )
    return torchvision_peer.with_random_values(net).state_dict()


@pytest.fixture
def write(tmp_path):
    """Writes a file of torch, and returns its path."""
    torch, _, _ = peers()

    def written(content):
        torch.save(content, tmp_path / "net.pth")
        return tmp_path / "net.pth"

    return written


def values_of(model):
    return {key: variable.numpy() for key, variable in variables_of(model).items()}


def assert_equal(model, expected):
    """All variables have the expected values; there are no others."""
    found = values_of(model)
    assert set(found) == set(expected)
    for key, value in found.items():
        np.testing.assert_array_equal(value, expected[key], err_msg=key)


def of_torchvision(test):
    """Marks a test that reads files of torchvision: its import alone takes seconds."""
    return pytest.mark.slow(pytest.mark.parity(needs.package("torchvision")(test)))


def with_old_names(state):
    """The names of torchvision before 0.14."""
    numbers = re.compile(r"((?:inner|layer)_blocks\.\d|rpn\.head\.conv)\.0(?:\.0)?\.")
    return {numbers.sub(r"\1.", name): value for name, value in state.items()}


WRAPPED = {
    "as it is": lambda state: state,
    "with old names": with_old_names,
    "in a training's checkpoint": lambda state: {"model": state, "epoch": 3},
    "with a moving average": lambda state: {
        "model": {name: value * 0 for name, value in state.items()},
        "model_ema": {f"module.{name}": value for name, value in state.items()},
    },
}


@of_torchvision
@pytest.mark.parametrize("form", WRAPPED)
def test_a_file_of_torchvision_is_loaded_as_a_whole(form, small_state, write):
    assert set(with_old_names(small_state)) != set(small_state)
    detector = small()
    kr.load_weights(detector, write(WRAPPED[form](small_state)))
    assert_equal(detector, torchvision_peer.in_keras(small_state))


@of_torchvision
def test_for_other_classes_the_predictor_starts_anew_and_the_log_says_so(small_state, write, caplog):
    detector = small(classes=7)
    before = values_of(detector)
    kr.load_weights(detector, write(small_state))
    expected = torchvision_peer.in_keras(small_state)
    expected |= {key: value for key, value in before.items() if key.startswith(PREDICTOR)}
    assert_equal(detector, expected)
    message = "the classifier in .*net.pth has another number of classes; that of faster_rcnn keeps its values"
    assert re.search(message, caplog.text)


CHANGES = {
    "not in the file: rpn_codes/kernel": lambda state: state.pop("rpn.head.bbox_pred.weight"),
    "must have finite values. Received: nan": lambda state: state["rpn.head.bbox_pred.bias"].fill_(float("nan")),
    "not in the model: roi_heads.mask_head": lambda state: state.update(
        {"roi_heads.mask_head.w": state["rpn.head.bbox_pred.bias"]}
    ),
}


@of_torchvision
@pytest.mark.parametrize("message", CHANGES)
def test_of_a_file_that_does_not_fit_nothing_is_loaded(message, small_state, write):
    state = {name: value.clone() for name, value in small_state.items()}
    CHANGES[message](state)
    detector = small()
    before = values_of(detector)
    with pytest.raises(ValueError, match=re.escape(message)):
        kr.load_weights(detector, write(state))
    assert_equal(detector, before)


@of_torchvision
def test_a_file_of_a_classifier_is_answered_with_what_to_type(small_state, write):
    state = {n.removeprefix("backbone.body."): v for n, v in small_state.items() if n.startswith("backbone.body.")}
    with pytest.raises(
        ValueError, match="weights of a whole detector. Weights of a backbone are loaded into the backb"
    ):
        kr.load_weights(small(), write(state))


@of_torchvision
def test_a_backbone_gets_its_own_part_of_a_detector_or_the_weights_of_a_classifier(small_state, write, caplog):
    expected = torchvision_peer.in_keras(small_state)
    for content in (small_state, {n.removeprefix("backbone.body."): v for n, v in small_state.items() if "body" in n}):
        network = backbone()
        kr.load_weights(network, write(content))
        found = values_of(FasterRCNN(network, CLASSES, DESIGN))
        own = [key for key in found if key.startswith("conv")]
        assert len(own) > 50
        for key in own:
            np.testing.assert_array_equal(found[key], expected[key])
    assert "backbone.body is loaded, not backbone.fpn, rpn" in caplog.text


FROZEN = weights.find("fasterrcnn_resnet50_fpn", "torchvision_coco")


@of_torchvision
def test_a_network_with_another_epsilon_than_the_weights_is_refused(small_state, write):
    mine = dataclasses.replace(FROZEN, source=str(write(small_state)), hash="")
    with pytest.raises(ValueError, match=r"norm must have epsilon=0.0 for weights 'torchvision_coco'. Received: 1e-05"):
        kr.load_weights(small(), mine)
    kr.load_weights(small(**FROZEN.fields), mine)


@of_torchvision
@pytest.mark.parametrize("counted", [True, False])
def test_a_file_with_frozen_norms_does_not_say_their_epsilon(counted, small_state, write, caplog):
    state = {n: v for n, v in small_state.items() if counted or not n.endswith("num_batches_tracked")}
    kr.load_weights(small(), write(state))
    assert ("frozen batch norms, and does not say their epsilon; the model has (1e-05)" in caplog.text) != counted


@pytest.mark.parametrize("ending", quick_among(WRITERS, ".safetensors"))
def test_a_detector_is_saved_in_each_format(ending, tmp_path):
    detector = small()
    save_weights(detector, tmp_path / f"net{ending}", weights.find("fasterrcnn_resnet50_fpn_v2", "coco"), "mine")
    again = small()
    kr.load_weights(again, tmp_path / f"net{ending}")
    assert_equal(again, values_of(detector))


def test_published_weights_have_their_precision_and_their_licence():
    rows = {row.model: row for row in detectors()}
    assert {name: row.box_ap for name, row in rows.items()} == {
        "fasterrcnn_resnet50_fpn": 37.0,
        "fasterrcnn_resnet50_fpn_v2": 46.7,
    }
    for name in list_detectors():
        assert list_weights(name) == (["torchvision_coco"] if name in rows else [])
    assert all((row.licence, row.classes) == ("bsd-3-clause", 90) for row in rows.values())
    assert set(rows) <= set(list_detectors())


@of_torchvision
def test_the_table_says_what_torchvision_says():
    _, _, torchvision = peers()
    for row in detectors():
        theirs = torchvision.models.get_model_weights(row.model).COCO_V1
        assert row.source == theirs.url
        assert row.hash == f"sha256:{re.search('-(.*)[.]pth', theirs.url)[1]}"
        assert row.box_ap == theirs.meta["_metrics"]["COCO-val2017"]["box_map"]
        assert ["__background__", *kr.classes.names_of(row.data, row.classes)] == theirs.meta["categories"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "classes must be the number of classes, .* Received: classes=None"),
        ({"weights": "coco", "backbone_weights": "imagenet"}, "backbone_weights must be None if weights are given"),
        ({"weights": "cocoo"}, r"detection.list_weights\('fasterrcnn_resnet50_fpn'\) lists them. Did you mean .*coco"),
        (
            {"weights": weights.find("ResNet50", "imagenet")},
            "must not be those of ResNet50. Received: 'torchvision_v2'",
        ),
        ({"weights": "none.pth"}, "none.pth"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        create_detector("fasterrcnn_resnet50_fpn", **arguments)


def test_an_unknown_detector_is_answered_with_the_nearest():
    with pytest.raises(ValueError, match="detection.list_detectors.* Did you mean fasterrcnn_resnet50_fpn"):
        create_detector("fasterrcnn_resnet50")


@of_torchvision
@pytest.mark.parametrize("name", torchvision_peer.DESIGNS)
def test_published_weights_build_the_network_that_they_need(name, write):
    """Files of torchvision's networks with random values, of the norms and the epsilon of its published weights."""
    torch, _, _ = peers()
    frozen = name == FROZEN.model
    net = torchvision_peer.frozen_peer() if frozen else torchvision_peer.peer(name)
    row = weights.find(name, "coco")
    mine = dataclasses.replace(row, source=str(write(net.state_dict())), hash="", classes=0)
    design = torchvision_peer.DESIGNS[name]
    detector = create_detector(name, weights=mine, design=design)
    with torch.no_grad():
        expected = net(torchvision_peer.as_torch(torchvision_peer.photographs()))
    for theirs, found in zip(expected, find(detector, torchvision_peer.photographs(), design), strict=True):
        assert len(found.scores) == len(theirs["scores"]) > 50
        np.testing.assert_allclose(found.scores, theirs["scores"], atol=1e-4)


@pytest.mark.slow
def test_a_detector_starts_from_weights_of_a_classifier(tmp_path):
    classifier = kr.ResNet50(classes=7)
    classifier.save_weights(tmp_path / "net.weights.h5")
    detector = create_detector("fasterrcnn_resnet50_fpn_v2", 3, backbone_weights=tmp_path / "net.weights.h5")
    expected, found = values_of(classifier), values_of(detector)
    own = [key for key in found if key.startswith("conv")]
    assert len(own) > 200
    for key in own:
        np.testing.assert_array_equal(found[key], expected[key])


@pytest.mark.slow
def test_a_saved_detector_is_built_from_its_file_alone(tmp_path, caplog):
    detector = create_detector("fasterrcnn_resnet50_fpn", 5)
    assert "has a backbone with random weights, and a training would not change its frozen parts" in caplog.text
    caplog.clear()
    row = dataclasses.replace(FROZEN, tag="mine", mean=(0.5, 0.5, 0.5))
    save_weights(detector, tmp_path / "mine.safetensors", row, FROZEN.model)
    again = create_detector(FROZEN.model, weights=tmp_path / "mine.safetensors")
    assert "random weights" not in caplog.text
    assert_equal(again, values_of(detector))
    norms = [x for x in kr.complexity.flat_layers(again) if isinstance(x, keras.layers.BatchNormalization)]
    assert {layer.epsilon for layer in norms} == {0.0}
