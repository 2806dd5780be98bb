"""Batches of annotated images: each step is always the same, images of similar shape together, nothing lost."""

import dataclasses
import itertools

import keras
import numpy as np
import pytest

import keras_resnet as kr
from keras_resnet.data.corrupt import name_corrupt_files
from keras_resnet.detection import FPN, FasterRCNN, evaluation_batches, load, training_batches, training_network
from keras_resnet.detection.annotations import Objects
from keras_resnet.detection.augment_boxes import random_horizontal_flip, random_iou_crop
from keras_resnet.detection.batches import GROUPS, epoch_order
from keras_resnet.detection.resizing import batch_of
from tests.detection.annotated_files import as_png, painted, picture, write_voc, xml

DESIGN = dataclasses.replace(
    FPN, shorter=64, longer=96, pre_nms_top_n=(50, 40), post_nms_top_n=(30, 20), regions_per_image=16
)
SIDES = [(40, 60), (60, 40), (40, 64), (64, 40), (50, 50), (41, 60), (40, 61)]
BOX = (5, 6, 25, 30)


@pytest.fixture(scope="module")
def split(tmp_path_factory):
    """Seven images of different sides. Each has a red rectangle as its only object, but the third has none."""
    images = {
        f"image{number}": (
            as_png(picture(sides, None if number == 2 else BOX)),
            xml([] if number == 2 else [("cat", (6, 7, 25, 30))], sides),
        )
        for number, sides in enumerate(SIDES)
    }
    return load(
        write_voc(tmp_path_factory.mktemp("x") / "x", images, {"train": images}), "train", classes=("dog", "cat")
    )


def taken(batches, count):
    return [{name: value.numpy() for name, value in batch.items()} for batch in itertools.islice(batches, count)]


def same(first, second):
    return all(np.array_equal(first[name], second[name]) for name in first)


@pytest.mark.slow
def test_a_batch_has_the_inputs_of_the_training_network(split):
    (batch,) = taken(training_batches(split, DESIGN, 7, augmentations=(), multiple=32), 1)
    assert {name: (value.shape, value.dtype.name) for name, value in batch.items()} == {
        "images": ((7, 96, 96, 3), "float32"),
        "sizes": ((7, 2), "int32"),
        "boxes": ((7, 8, 4), "float32"),
        "labels": ((7, 8), "int32"),
    }
    assert sorted(batch["labels"][:, 0].tolist()) == [-1, *[1] * 6]
    assert (batch["labels"][:, 1:] == -1).all()
    for image, size, boxes, labels in zip(batch["images"], batch["sizes"], batch["boxes"], batch["labels"]):
        height, width = size
        assert min(size) == 64 or max(size) == 96
        assert not image[height:].any()
        assert not image[:, width:].any()
        assert image[height - 1, width - 1].any()
        if labels[0] == 1:
            np.testing.assert_allclose(boxes[0], painted(image), atol=1)


@pytest.mark.slow
def test_a_training_continues_with_the_same_batches(split):
    arguments = {"seed": 3, "augmentations": (random_iou_crop, random_horizontal_flip)}
    batches = taken(training_batches(split, DESIGN, 2, **arguments), 8)
    step = 5  # in the second epoch of three batches
    again = taken(training_batches(split, DESIGN, 2, step=step, **arguments), 3)
    assert all(map(same, again, batches[step:]))
    other = taken(training_batches(split, DESIGN, 2, **{**arguments, "seed": 4}), 8)
    assert not any(map(same, other, batches))
    assert not any(same(one, two) for one, two in itertools.combinations(batches, 2))


@pytest.mark.slow
def test_the_network_trains_on_a_batch(split):
    keras.utils.set_random_seed(0)
    backbone = kr.ResNet(depths=(1, 1, 1, 1), filters=(8, 8, 16, 16), include_top=False, input_shape=(None, None, 3))
    network = training_network(FasterRCNN(backbone, 2, DESIGN), DESIGN)
    for batch in taken(training_batches(split, DESIGN, 3), 2):
        losses = {name: float(np.mean(value)) for name, value in network(batch).items()}
        assert all(np.isfinite(value) for value in losses.values()), losses
        assert losses["rpn_boxes"] > 0


def test_an_epoch_has_each_image_at_most_once_and_similar_shapes_together(rng):
    ratios = np.concatenate([rng.uniform(0.6, 0.7, 33), rng.uniform(1.4, 1.5, 51), [4.0]])
    groups = np.digitize(ratios, GROUPS)
    orders = [epoch_order(groups, 4, np.random.default_rng(seed)) for seed in range(40)]
    for order in orders:
        assert order.shape == (21, 4)
        assert len(set(order.ravel().tolist())) == 84
        mixed = [len(set(groups[batch])) > 1 for batch in order]
        assert sum(mixed) <= 2
    assert {84 in order for order in orders} == {True, False}  # the one of a rare shape is used, and left out at times
    firsts = [len(set(groups[order[0]])) for order in orders]
    assert {1} < set(firsts), "what is left of the groups comes at any place"
    assert not np.array_equal(orders[0], orders[1])


def test_a_split_that_is_smaller_than_a_batch_is_one_batch():
    order = epoch_order(np.zeros(3, int), 3, np.random.default_rng(0))
    assert sorted(order.ravel().tolist()) == [0, 1, 2]


@pytest.mark.slow
def test_a_training_does_not_learn_from_crowds(split):
    four = Objects(
        np.array([[1, 1, 9, 9], [2, 2, 9, 9], [3, 3, 9, 9], [4, 4, 9, 9]], "float32"),
        np.array([0, 1, 0, 1], "int32"),
        np.array([True, False, False, False]),
        np.array([False, True, False, True]),
    )
    crowded = dataclasses.replace(split, objects=(four,) * split.size)
    (batch,) = taken(training_batches(crowded, DESIGN, 2, augmentations=()), 1)
    assert batch["labels"].tolist() == [[0, 0, *[-1] * 6]] * 2
    none = dataclasses.replace(split, objects=(four._replace(crowd=np.ones(4, bool)),) * split.size)
    (batch,) = taken(training_batches(none, DESIGN, 2), 1)
    assert (batch["labels"] == -1).all()
    many = dataclasses.replace(
        split, objects=(Objects(*(np.repeat(column, 5, axis=0) for column in four)),) * split.size
    )
    (batch,) = taken(training_batches(many, DESIGN, 2), 1)
    assert batch["labels"].shape == (2, 16)
    assert ((batch["labels"] >= 0).sum(axis=1) == 10).all()


@pytest.mark.slow
def test_an_evaluation_sees_each_image_once_as_find_does(split):
    seen = []
    for batch in taken(evaluation_batches(split, DESIGN, 3), 9):
        expected = batch_of([picture(SIDES[n], None if n == 2 else BOX) for n in batch["numbers"]], 64, 96)
        height, width = expected.images.shape[1:3]
        np.testing.assert_array_equal(batch["images"][:, :height, :width], expected.images)
        assert not batch["images"][:, height:].any()
        assert not batch["images"][:, :, width:].any()
        np.testing.assert_array_equal(batch["sizes"], expected.sizes)
        np.testing.assert_allclose(batch["factors"], expected.factors, rtol=1e-6)
        assert all(side % 32 == 0 for side in batch["images"].shape[1:3])
        seen.append(batch["numbers"].tolist())
    assert [len(numbers) for numbers in seen] == [3, 3, 1]
    assert sorted(itertools.chain(*seen)) == list(range(7))
    assert set(seen[0]) == {1, 3, 4}, "the narrow ones come first"


@pytest.mark.slow
def test_images_whose_pixels_are_corrupt_stop_or_are_replaced_by_name(tmp_path, caplog):
    content = as_png(picture((40, 60), BOX))
    images = {
        "good": (content, xml([("cat", (6, 7, 25, 30))])),
        "corrupt": (content[:100], xml([("cat", (6, 7, 25, 30)), ("cat", (1, 1, 9, 9))])),
    }
    source = write_voc(tmp_path / "x", images, {"train": images})
    stopping = load(source, "train")
    message = r"data: .*corrupt.png is not a readable"
    for batches in (training_batches(stopping, DESIGN, 2), evaluation_batches(stopping, DESIGN, 2)):
        with pytest.raises(ValueError, match=message), name_corrupt_files(stopping):
            next(iter(batches))
    skipping = load(source, "train", on_corrupt="skip")
    for batch in taken(training_batches(skipping, DESIGN, 2, augmentations=()), 3):
        np.testing.assert_array_equal(*batch["images"])
        assert (batch["labels"][:, :2] == [0, -1]).all()
    (batch,) = taken(evaluation_batches(skipping, DESIGN, 2), 2)
    assert batch["numbers"].tolist() == [0]
    assert [reason for reason in skipping.skipped if "corrupt.png" in reason] == list(skipping.skipped)
    assert len(skipping.skipped) == 1


@pytest.mark.parametrize(
    "arguments", [{"batch_size": 0}, {"batch_size": 1, "step": -1}, {"batch_size": 1, "seed": -1}], ids=str
)
def test_arguments_are_checked(arguments):
    name = list(arguments)[-1]
    with pytest.raises(ValueError, match=f"{name} must be an integer of at least"):
        training_batches(None, DESIGN, **arguments)
