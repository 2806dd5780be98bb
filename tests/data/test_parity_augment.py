"""Policies and targets compared with timm and torchvision: same amounts and, except for rounding, same pixels."""

import random

import numpy as np
import pytest
import tensorflow as tf

from keras_resnet.data import augment
from keras_resnet.data.augment import policies
from tests import needs
from tests.conftest import SHARED, photographs
from tests.torch_peers import peers

pytestmark = [pytest.mark.slow, pytest.mark.parity, needs.package("timm")]

INCREASING = ("Posterize", "Solarize", "Color", "Contrast", "Brightness", "Sharpness")
AFFINE = ("Rotate", "ShearX", "ShearY", "TranslateX", "TranslateY")


@pytest.fixture(scope="module")
def images():
    if not SHARED.is_dir():
        pytest.skip(needs.SHARED_DATA)
    return photographs(8, 96)


def ours(row, images, strength, sign, fill):
    amount = (row.lowest + strength * (row.greatest - row.lowest)) * (sign if row.signed else 1)
    return row.change(tf.constant(images), tf.fill((len(images),), float(amount)), fill).numpy()


def timms_name(name):
    """timm's name of the variant that grows with the magnitude, and that translates by a fraction of the side."""
    if name in INCREASING:
        return f"{name}Increasing"
    return f"{name}Rel" if name.startswith("Translate") else name


def assert_same(name, result, expected):
    """timm and torchvision truncate, and ours rounds. At the edge ours also blends with the fill value."""
    difference = np.abs(result.astype(int) - expected)
    if name in AFFINE:
        assert np.mean(difference > 1) < 0.02
    else:
        assert difference.max() <= 1


@pytest.mark.parametrize("magnitude", [3, 7])
@pytest.mark.parametrize("name", policies.RAND_AUGMENT)
def test_rows_of_rand_augment_are_those_of_timm(name, magnitude, images):
    peers()
    from PIL import Image
    from timm.data import auto_augment

    hparams = {"img_mean": (128, 128, 128), "interpolation": Image.Resampling.BILINEAR}
    op = auto_augment.AugmentOp(timms_name(name), prob=1, magnitude=magnitude, hparams=hparams)
    for seed, sign in ((0, -1), (1, 1)):  # timm negates the amount if `random.random()` is above 0.5
        theirs = []
        for image in images:
            random.seed(seed)
            theirs.append(np.asarray(op(Image.fromarray(image))))
        assert_same(name, ours(policies.RAND_AUGMENT[name], images, magnitude / 10, sign, 128), theirs)


def test_the_rows_are_those_of_timms_recipes():
    peers()
    from timm.data.auto_augment import rand_augment_choices

    assert [timms_name(name) for name in policies.RAND_AUGMENT] == rand_augment_choices("rand", increasing=True)


@pytest.mark.parametrize("level", [0, 10, 30])
@pytest.mark.parametrize("name", policies.TRIVIAL_AUGMENT_WIDE)
def test_rows_of_trivial_augment_wide_are_those_of_torchvision(name, level, images):
    peers()
    from PIL import Image
    from torchvision.transforms import InterpolationMode, autoaugment

    space = autoaugment.TrivialAugmentWide()._augmentation_space(policies.LEVELS + 1)
    assert list(space) == list(policies.TRIVIAL_AUGMENT_WIDE)
    amounts, signed = space[name]
    amount = float(amounts[level]) if amounts.ndim else 0.0
    row = policies.TRIVIAL_AUGMENT_WIDE[name]
    assert row.signed is signed
    # torchvision measures angles and shifts in the opposite direction, and draws both signs.
    sign = -1 if name.startswith("Translate") else 1
    apply = lambda image: autoaugment._apply_op(image, name, amount, InterpolationMode.BILINEAR, None)
    theirs = [np.asarray(apply(Image.fromarray(image))) for image in images]
    candidates = [ours(row, images, level / policies.LEVELS, s, 0) for s in (sign, -sign)]
    nearest = min(candidates, key=lambda candidate: np.abs(candidate.astype(int) - theirs).sum())
    assert_same(name, nearest, theirs)


def test_targets_are_those_of_timms_mixup_and_binary_cross_entropy():
    torch, _, _ = peers()
    from timm.data.mixup import mixup_target
    from timm.loss import BinaryCrossEntropy

    labels = np.arange(6) % 4
    one_hot = tf.one_hot(labels, 4)
    mixed = 0.7 * one_hot + 0.3 * one_hot[::-1]
    theirs = mixup_target(torch.tensor(labels), 4, lam=0.7, smoothing=0.1)
    np.testing.assert_allclose(augment.label_smoothing(mixed, 0.1), theirs.numpy(), atol=1e-6)
    logits = np.random.default_rng(0).normal(size=(6, 4)).astype("float32")
    loss = BinaryCrossEntropy(target_threshold=0.2)(torch.tensor(logits), theirs)
    targets = augment.target_threshold(augment.label_smoothing(mixed, 0.1), 0.2)
    ours = tf.reduce_mean(tf.nn.sigmoid_cross_entropy_with_logits(targets, logits))
    np.testing.assert_allclose(ours, loss.item(), rtol=1e-5)
