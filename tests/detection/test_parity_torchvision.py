"""torchvision: detections, losses and gradients of its Faster R-CNN and of ours are the same, and so is each part."""

import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_resnet.detection import find, training_layers, training_network
from keras_resnet.detection.anchors import around_zero, on_grid
from keras_resnet.detection.boxes import decode, encode, overlaps
from keras_resnet.detection.matching import match
from keras_resnet.detection.nms import greedy, non_maximum_suppression
from keras_resnet.detection.resizing import batch_of, resized_sides
from keras_resnet.detection.roi_align import average_of_points, level_of, roi_align
from keras_resnet.weights.load import variables_of
from tests import needs
from tests.detection.torchvision_peer import DESIGNS, LONGER, SHORTER, as_torch, in_keras, ours, peer, photographs
from tests.torch_peers import peers

pytestmark = [pytest.mark.parity, pytest.mark.slow, needs.package("torchvision")]

MODULE = sys.modules[roi_align.__module__]


def random_boxes(rng, shape, side=150):
    """Boxes with corners from -20 to `side`, some of them beyond the border of the image."""
    corners = rng.uniform(-20, side, (*shape, 2, 2)).astype("float32")
    return np.concatenate([corners.min(-2), corners.max(-2) + 0.1], axis=-1)


@pytest.fixture(scope="module", params=DESIGNS)
def pair(request):
    """The name of a detector, torchvision's network, and ours with the same weights."""
    net = peer(request.param)
    return request.param, net, ours(request.param, net)


def test_detections_are_those_of_torchvision(pair):
    name, net, detector = pair
    torch, _, _ = peers()
    with torch.no_grad():
        expected = net(as_torch(photographs()))
    for theirs, found in zip(expected, find(detector, photographs(), DESIGNS[name]), strict=True):
        assert len(found.scores) == len(theirs["scores"]) > 50
        np.testing.assert_allclose(found.scores, theirs["scores"], atol=1e-4)
        # Scores that are equal up to rounding may change places.
        apart = np.r_[True, np.diff(found.scores) < -1e-5] & np.r_[np.diff(found.scores) < -1e-5, True]
        assert apart.mean() > 0.9
        np.testing.assert_allclose(found.boxes[apart], theirs["boxes"].numpy()[apart], atol=1e-3)
        assert (found.classes[apart] == theirs["labels"].numpy()[apart] - 1).all()


def first_come(generator, shape):
    """Candidates are learned from in the order of their numbers."""
    count = shape[1]
    return keras.ops.broadcast_to(1 - keras.ops.arange(count, dtype="float32")[None] / count, shape)


def test_losses_and_gradients_are_those_of_torchvision(pair, monkeypatch):
    name, net, detector = pair
    torch, _, _ = peers()
    boxes = [np.array([[20, 30, 120, 150], [150, 40, 280, 190]], "float32"), np.array([[10, 10, 60, 100]], "float32")]
    labels = [np.array([1, 3]), np.array([2])]
    targets = [{"boxes": torch.tensor(b), "labels": torch.tensor(n)} for b, n in zip(boxes, labels)]
    net.train()
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.eval()
    with monkeypatch.context() as patched:
        patched.setattr(torch, "randperm", lambda count, device=None: torch.arange(count))
        expected = net(as_torch(photographs()), targets)
    net.zero_grad()
    sum(expected.values()).backward()
    net.eval()

    monkeypatch.setattr(training_layers.ProposalLosses, "priority", staticmethod(first_come))
    monkeypatch.setattr(training_layers.SampledRegions, "priority", staticmethod(first_come))
    network = training_network(detector, DESIGNS[name])
    batch = batch_of(photographs(), SHORTER, LONGER)
    padded_boxes, padded_labels = np.zeros((2, 3, 4), "float32"), np.full((2, 3), -1, "int32")
    for row, (own, classes) in enumerate(zip(boxes, labels)):
        padded_boxes[row, : len(own)] = own * np.tile(batch.factors[row, ::-1], 2)
        padded_labels[row, : len(own)] = classes - 1
    inputs = {"images": batch.images, "sizes": batch.sizes, "boxes": padded_boxes, "labels": padded_labels}
    with tf.GradientTape() as tape:
        losses = network(inputs, training=False)  # batch norms as in torchvision above
        total = sum(tf.reduce_mean(loss) for loss in losses.values())
    names = {"rpn_objectness": "objectness", "rpn_boxes": "rpn_box_reg", "classes": "classifier", "boxes": "box_reg"}
    for mine, theirs in names.items():
        np.testing.assert_allclose(losses[mine][0], expected[f"loss_{theirs}"].item(), rtol=1e-4)
    gradients = in_keras(
        {key: torch.zeros_like(value) if value.grad is None else value.grad for key, value in net.named_parameters()}
    )
    keys = {id(variable): key for key, variable in variables_of(detector).items()}
    found = tape.gradient(total, [variable.value for variable in network.trainable_variables])
    for variable, gradient in zip(network.trainable_variables, found, strict=True):
        theirs = gradients[keys[id(variable)]]
        difference = np.abs(tf.convert_to_tensor(gradient) - theirs).max()
        # The largest gradients are 0.2 to 2; some small ones are differences of large numbers.
        assert difference <= 2e-3 * np.abs(theirs).max() + 1e-4, keys[id(variable)]


@pytest.mark.parametrize("samples", [0, 2, 3])
@pytest.mark.parametrize("aligned", [False, True])
@pytest.mark.parametrize("of_backend", [False, True])
def test_roi_align_and_its_gradient(samples, aligned, of_backend, rng, monkeypatch):
    torch, _, torchvision = peers()
    if not of_backend:
        monkeypatch.setattr(MODULE, "_average_of_crops", average_of_points)
    features = rng.normal(size=(2, 13, 17, 5)).astype("float32")
    boxes = random_boxes(rng, (2, 6))
    weights = rng.normal(size=(2, 6, 7, 7, 5)).astype("float32")
    theirs = torch.tensor(features).permute(0, 3, 1, 2).requires_grad_()
    expected = torchvision.ops.roi_align(theirs, list(torch.tensor(boxes)), 7, 1 / 8, samples, aligned)
    expected = expected.permute(0, 2, 3, 1).reshape(2, 6, 7, 7, 5)
    (expected * torch.tensor(weights)).sum().backward()
    with tf.GradientTape() as tape:
        mine = tf.constant(features)
        tape.watch(mine)
        found = roi_align([mine], boxes, np.zeros((2, 6), "int32"), [1 / 8], 7, samples, aligned)
        total = tf.reduce_sum(found * weights)
    np.testing.assert_allclose(found, expected.detach(), atol=1e-5)
    gradient = tf.convert_to_tensor(tape.gradient(total, mine))
    np.testing.assert_allclose(gradient, theirs.grad.permute(0, 2, 3, 1), atol=1e-4)


def test_each_box_reads_the_map_that_torchvision_chooses(rng):
    torch, _, torchvision = peers()
    boxes = random_boxes(rng, (200,), side=800)
    mapper = torchvision.ops.poolers.initLevelMapper(2, 5)
    assert (np.array(level_of(boxes, 4)) == mapper([torch.tensor(boxes)]).numpy()).all()


def test_anchors():
    torch, _, torchvision = peers()
    ratios = (0.5, 1.0, 2.0)
    generator = torchvision.models.detection.anchor_utils.AnchorGenerator(((32, 48), (64, 96)), (ratios,) * 2)
    images = torchvision.models.detection.image_list.ImageList(torch.zeros(1, 3, 100, 130), [(100, 130)])
    maps = ((25, 32), (13, 17))  # sides that do not divide those of the image
    expected = generator(images, [torch.zeros(1, 8, *sides) for sides in maps])[0]
    found = [on_grid(sides, (100, 130), around_zero(s, ratios)) for sides, s in zip(maps, ((32, 48), (64, 96)))]
    np.testing.assert_array_equal(np.concatenate(found), expected)


@pytest.mark.parametrize("weights", [(1.0, 1.0, 1.0, 1.0), (10.0, 10.0, 5.0, 5.0)])
def test_codes_of_boxes(weights, rng):
    torch, _, torchvision = peers()
    coder = torchvision.models.detection._utils.BoxCoder(weights)
    boxes, references = random_boxes(rng, (50,)), random_boxes(rng, (50,))
    codes = coder.encode_single(torch.tensor(boxes), torch.tensor(references))
    np.testing.assert_allclose(encode(boxes, references, weights), codes, rtol=1e-4, atol=1e-4)
    far = rng.normal(0, 8, (50, 4)).astype("float32")  # some are beyond the largest factor
    expected = coder.decode_single(torch.tensor(far), torch.tensor(references))
    np.testing.assert_allclose(decode(far, references, weights), expected, rtol=1e-4, atol=1e-2)


@pytest.mark.parametrize("best", [False, True])
def test_matching(best, rng):
    torch, _, torchvision = peers()
    boxes, anchors = random_boxes(rng, (5,)), random_boxes(rng, (300,))
    overlap = torchvision.ops.box_iou(torch.tensor(boxes), torch.tensor(anchors))
    np.testing.assert_allclose(overlaps(boxes, anchors), overlap, atol=1e-6)
    expected = torchvision.models.detection._utils.Matcher(0.5, 0.3, allow_low_quality_matches=best)(overlap)
    filled = np.concatenate([overlap.numpy(), np.ones((2, 300), "float32")])  # two rows that fill the batch
    found = match(filled[None], np.array([[True] * 5 + [False] * 2]), 0.3, 0.5, best)
    assert (np.array(found)[0] == expected.numpy()).all()


@pytest.mark.parametrize("suppress", [non_maximum_suppression, greedy])
def test_suppression(suppress, rng):
    torch, _, torchvision = peers()
    boxes, scores = random_boxes(rng, (2, 60, 3)), rng.uniform(size=(2, 60, 3)).astype("float32")
    found = suppress(boxes, scores, 0.3, 0.2, 40)
    for row in range(2):
        flat, classes = torch.tensor(boxes[row].reshape(-1, 4)), torch.arange(180) % 3
        values = torch.tensor(scores[row].ravel())
        kept = torchvision.ops.batched_nms(flat, values, classes, 0.3)
        kept = kept[values[kept] > 0.2][:40]
        count = int(found.found[row])
        assert count == len(kept)
        np.testing.assert_allclose(np.array(found.boxes)[row, :count], flat[kept])
        np.testing.assert_allclose(np.array(found.scores)[row, :count], values[kept])
        assert (np.array(found.classes)[row, :count] == classes[kept].numpy()).all()


def test_sides_of_resized_images():
    torch, _, torchvision = peers()
    transform = torchvision.models.detection.transform.GeneralizedRCNNTransform(800, 1333, [0.0], [1.0])
    for height, width in ((480, 640), (375, 500), (333, 500), (427, 640), (100, 900), (1, 5)):
        image, _ = transform.resize(torch.zeros(1, height, width), None)
        assert resized_sides(height, width, 800, 1333) == tuple(image.shape[1:])
