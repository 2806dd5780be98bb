"""Augmentation: each op eagerly and in `Dataset.map`, on digits and, if shared/ is there, on photographs."""

import math
from functools import cache, partial

import numpy as np
import pytest
import tensorflow as tf

import keras_resnet as kr
from keras_resnet.data import augment
from keras_resnet.data.augment import color, geometry, policies
from tests import needs
from tests.conftest import photographs

AUGMENTATIONS = {
    "flip": augment.flip,
    "pad_and_crop": partial(augment.pad_and_crop, pixels=4),
    "rotate": partial(augment.rotate, degrees=30),
    "random_resized_crop": augment.random_resized_crop,
    "color_jitter": partial(augment.color_jitter, brightness=0.4, contrast=0.4),
    "random_erasing": augment.random_erasing,
    "rand_augment": augment.rand_augment,
    "trivial_augment_wide": augment.trivial_augment_wide,
    "aug_mix": augment.aug_mix,
}
COLOUR_ONLY = {
    "color_jitter": partial(augment.color_jitter, saturation=0.4, hue=0.1),
}
FILLS = {
    "fill_noise": augment.fill_noise,
    "fill_mean": augment.fill_mean,
    "fill_color": partial(augment.fill_color, color=7),
}
MIXES = {"mixup": partial(augment.mixup, alpha=1.0), "cutmix": augment.cutmix, "random_choice": augment.random_choice}
LABELS = {
    "label_smoothing": partial(augment.label_smoothing, epsilon=0.1),
    "target_threshold": partial(augment.target_threshold, threshold=0.2),
}


def test_every_public_op_has_a_row():
    rows = AUGMENTATIONS | FILLS | MIXES | LABELS
    assert set(rows) == set(augment.__all__)
    for name, op in rows.items():
        assert getattr(op, "func", op) is getattr(augment, name)


@cache
def digits():
    """Real images with one channel, uint8 (32, 24, 24, 1)."""
    images, _ = next(iter(kr.data.pipeline(kr.data.load("digits", "test"), 24, 32)))
    return images.numpy()


@cache
def photos():
    """Real images with three channels, uint8 (16, 40, 48, 3)."""
    images = photographs(16, 48)[:, 4:44]
    if not len(images):
        pytest.skip(needs.SHARED_DATA)
    return images


IMAGES = {"digits": digits, "photographs": photos}
CASES = {
    **{f"{name}-{kind}": (op, images) for name, op in AUGMENTATIONS.items() for kind, images in IMAGES.items()},
    **{f"{name}-of-colour": (op, photos) for name, op in COLOUR_ONLY.items()},
    **{name: (partial(augment.random_erasing, fill=fill), photos) for name, fill in FILLS.items()},
}
# Tracing a policy takes seconds, so one policy is traced for grey images and the other for coloured images.
MAP_CASES = {
    name: case
    for name, case in CASES.items()
    if name not in ("rand_augment-photographs", "trivial_augment_wide-digits", "aug_mix-digits")
}


def one_hot(images, classes=5):
    return np.eye(classes, dtype="float32")[np.arange(len(images)) % classes]


def eagerly(op, *tensors, seed=(1, 2)):
    return tf.nest.map_structure(np.array, op(*map(tf.constant, tensors), tf.constant(seed, tf.int64)))


def in_dataset_map(op, *tensors, seed=(1, 2)):
    """The result of an op in `Dataset.map`, which traces the op without a known batch size."""
    batches = tf.data.Dataset.from_tensor_slices((tensors, np.zeros(len(tensors[0])))).batch(len(tensors[0]))
    batches = batches.map(lambda batch, _: op(*batch, tf.constant(seed, tf.int64)))
    return next(batches.as_numpy_iterator())


# Tests of every op


def parameters(cases, quick):
    """Test parameters from a table of cases. All cases except the quick ones are marked slow."""
    return [
        pytest.param(*case, id=name, marks=() if name in quick else pytest.mark.slow) for name, case in cases.items()
    ]


POLICIES = {"rand_augment-photographs", "trivial_augment_wide-photographs", "aug_mix-photographs", "aug_mix-digits"}


@pytest.mark.parametrize(("op", "images"), parameters(CASES, CASES.keys() - POLICIES))
def test_an_augmentation_is_of_the_images_and_the_seed_alone(op, images):
    images = images()
    result = eagerly(op, images)
    assert (result.dtype, result.shape) == (np.uint8, images.shape)
    assert (result != images).any()
    np.testing.assert_array_equal(result, eagerly(op, images))
    assert (result != eagerly(op, images, seed=(3, 4))).any()


@pytest.mark.parametrize(("op", "images"), parameters(MAP_CASES, {"flip-digits"}))
def test_an_augmentation_is_the_same_in_a_map(op, images):
    np.testing.assert_array_equal(in_dataset_map(op, images()), eagerly(op, images()))


@pytest.mark.parametrize("images", IMAGES.values(), ids=IMAGES)
@pytest.mark.parametrize("op", MIXES.values(), ids=MIXES)
def test_a_mix_is_of_the_batch_and_the_seed_alone(op, images):
    images = images()
    mixed, targets = eagerly(op, images, one_hot(images))
    assert (mixed.dtype, mixed.shape) == (np.uint8, images.shape)
    assert (targets.dtype, targets.shape) == (np.float32, (len(images), 5))
    np.testing.assert_allclose(targets.sum(1), 1, rtol=1e-6)
    assert (mixed != images).any()
    mixed_again, targets_again = eagerly(op, images, one_hot(images))
    np.testing.assert_array_equal(mixed, mixed_again)
    np.testing.assert_array_equal(targets, targets_again)
    assert (mixed != eagerly(op, images, one_hot(images), seed=(3, 4))[0]).any()


MIXED = {f"{name}-{kind}": (op, images) for name, op in MIXES.items() for kind, images in IMAGES.items()}


@pytest.mark.parametrize(("op", "images"), parameters(MIXED, {"mixup-digits"}))
def test_a_mix_is_the_same_in_a_map(op, images):
    batch = images(), one_hot(images())
    for result, expected in zip(in_dataset_map(op, *batch), eagerly(op, *batch), strict=True):
        np.testing.assert_array_equal(result, expected)


@pytest.mark.parametrize("op", LABELS.values(), ids=LABELS)
def test_labels_are_changed_alike_eagerly_and_in_a_map(op):
    targets = np.array([[0.5, 0.5, 0], [0, 0.9, 0.1]], "float32")
    changed = op(targets).numpy()
    assert (changed.dtype, changed.shape) == (np.float32, targets.shape)
    assert (changed != targets).any()
    np.testing.assert_array_equal(changed, in_dataset_map(lambda batch, _: op(batch), targets))


@pytest.mark.parametrize("op", AUGMENTATIONS.values(), ids=AUGMENTATIONS)
def test_an_augmentation_gives_each_image_its_own(op):
    images = np.repeat(digits()[:1], 32, 0)
    assert len({image.tobytes() for image in eagerly(op, images)}) > 1


@pytest.mark.parametrize("op", AUGMENTATIONS.values(), ids=AUGMENTATIONS)
def test_images_that_are_no_batch_of_bytes_are_refused(op):
    for images in (np.zeros((2, 8, 8, 3), "float32"), np.zeros((8, 8, 3), "uint8")):
        with pytest.raises(ValueError, match=r"images must be uint8 \(N, H, W, C\). Received: (float32|uint8) images"):
            op(images, (0, 1))


# Geometry


def test_flip_mirrors_about_half_of_the_images_and_leaves_the_others():
    images = np.concatenate([photos()] * 4)
    flipped = eagerly(augment.flip, images)
    mirrored = [(out == image[:, ::-1]).all() for out, image in zip(flipped, images)]
    kept = [(out == image).all() for out, image in zip(flipped, images)]
    assert all(m or k for m, k in zip(mirrored, kept))
    assert 16 < sum(mirrored) < 48


def test_pad_and_crop_shifts_each_image_by_its_own_amount():
    images = np.maximum(digits(), 1)
    cropped = eagerly(partial(augment.pad_and_crop, pixels=2), images)
    padded = np.pad(images, ((0, 0), (2, 2), (2, 2), (0, 0)))
    shifts_found = [
        {(r, c) for r in range(5) for c in range(5) if (padded[n, r : r + 24, c : c + 24] == cropped[n]).all()}
        for n in range(32)
    ]
    assert all(len(shifts) == 1 for shifts in shifts_found)
    assert len(set.union(*shifts_found)) > 12
    np.testing.assert_array_equal(eagerly(partial(augment.pad_and_crop, pixels=0), images), images)


@pytest.mark.parametrize(("degrees", "quarters"), [(0, 0), (90, 1), (180, 2), (-90, 3), (360, 0)])
def test_turning_by_right_angles_is_exact(degrees, quarters):
    images = photos()[:, :, :40]
    rotated = geometry.rotate_by(tf.constant(images), tf.fill((len(images),), math.radians(degrees))).numpy()
    np.testing.assert_array_equal(rotated, np.rot90(images, quarters, axes=(1, 2)))


def test_rotation_stays_within_its_angle_and_fills_as_it_is_told():
    images = np.full((8, 33, 33, 1), 200, "uint8")
    unrotated, rotated = (eagerly(partial(augment.rotate, degrees=degrees), images) for degrees in (1e-4, 45))
    np.testing.assert_array_equal(unrotated, images)
    assert (rotated[:, 0, 0] == 0).any()
    for fill_mode in ("reflect", "nearest"):
        np.testing.assert_array_equal(eagerly(partial(augment.rotate, degrees=45, fill_mode=fill_mode), images), images)


def by_pillow(change, images):
    from PIL import Image

    return np.array([np.asarray(change(Image.fromarray(image))) for image in images])


AFFINE = {
    "turned": (lambda x: geometry.rotate_by(x, tf.fill((16,), math.radians(20))), lambda i, b: i.rotate(20, b)),
    "sheared_x": (lambda x: geometry.shear_x(x, tf.fill((16,), 0.3)), (1, 0.3, 0, 0, 1, 0)),
    "sheared_y": (lambda x: geometry.shear_y(x, tf.fill((16,), -0.2)), (1, 0, 0, -0.2, 1, 0)),
    "moved_x": (lambda x: geometry.translate_x(x, tf.fill((16,), 5.0)), (1, 0, 5, 0, 1, 0)),
    "moved_y": (lambda x: geometry.translate_y(x, tf.fill((16,), -7.5)), (1, 0, 0, 0, 1, -7.5)),
}


@pytest.mark.parametrize("name", AFFINE)
def test_affine_changes_are_those_of_pillow(name):
    from PIL import Image

    ours, theirs = AFFINE[name]
    bilinear = Image.Resampling.BILINEAR
    if isinstance(theirs, tuple):
        expected = by_pillow(lambda i: i.transform(i.size, Image.Transform.AFFINE, theirs, bilinear), photos())
    else:
        expected = by_pillow(lambda i: theirs(i, bilinear), photos())
    difference = np.abs(ours(tf.constant(photos())).numpy().astype(int) - expected)
    # At the edge Pillow takes the nearest pixel. Ours blends the edge pixel with the fill value, so edges are excluded.
    frame = np.zeros_like(photos())
    frame[:, 2:-2, 2:-2] = 255
    inside = ours(tf.constant(frame)).numpy() == 255
    assert inside.mean() > 0.6
    assert difference[inside].max() <= 1  # Pillow truncates


def test_a_resized_crop_shows_a_part_of_each_image():
    y, x = np.meshgrid(np.arange(64), np.arange(64), indexing="ij")
    images = np.repeat(np.stack((y, x), -1)[None].astype("uint8"), 200, 0)
    cropped = eagerly(partial(augment.random_resized_crop, scale=(0.2, 0.5), ratio=(0.5, 2)), images).astype(int)
    height = (cropped[:, -1, 0, 0] - cropped[:, 0, 0, 0] + 1) / 64
    width = (cropped[:, 0, -1, 1] - cropped[:, 0, 0, 1] + 1) / 64
    assert (height * width > 0.15).all()
    assert (height * width < 0.55).all()
    assert ((width / height > 0.45) & (width / height < 2.2)).all()
    assert (height * width).min() < 0.25
    assert (height * width).max() > 0.45
    uncropped = eagerly(partial(augment.random_resized_crop, scale=(1, 1), ratio=(1, 1)), images)
    np.testing.assert_array_equal(uncropped, images)
    impossible_ratio = eagerly(partial(augment.random_resized_crop, scale=(0.9, 1), ratio=(4, 4)), images)
    np.testing.assert_array_equal(impossible_ratio, images)


# Colour


def enhanced_by_pillow(name, change):
    from PIL import ImageEnhance

    return by_pillow(lambda image: getattr(ImageEnhance, name)(image).enhance(1 + change), photos())


ENHANCEMENTS = {
    "Brightness": color.adjust_brightness,
    "Contrast": color.adjust_contrast,
    "Color": color.adjust_saturation,
    "Sharpness": color.adjust_sharpness,
}


@pytest.mark.parametrize("change", [-1, -0.6, 0, 0.7])
@pytest.mark.parametrize("name", ENHANCEMENTS)
def test_enhancements_are_those_of_pillow(name, change):
    ours = ENHANCEMENTS[name](tf.constant(photos()), tf.fill((16,), float(change))).numpy()
    # Pillow truncates, and it rounds the image that it blends with to whole grey levels first.
    assert np.abs(ours.astype(int) - enhanced_by_pillow(name, change)).max() <= 2
    if change == 0:
        np.testing.assert_array_equal(ours, photos())


def test_operations_on_levels_are_those_of_pillow():
    from PIL import ImageOps

    images, zeros = tf.constant(photos()), tf.zeros(16)
    low = tf.constant(photos() // 3 + 20)
    for ours, theirs, source in (
        (color.invert, ImageOps.invert, images),
        (color.equalize, ImageOps.equalize, images),
        (color.autocontrast, ImageOps.autocontrast, low),
        (lambda x, _: color.posterize(x, zeros + 5.9), lambda image: ImageOps.posterize(image, 3), images),
        (lambda x, _: color.solarize(x, zeros + 100), lambda image: ImageOps.solarize(image, 100), images),
    ):
        difference = np.abs(ours(source, zeros).numpy().astype(int) - by_pillow(theirs, source.numpy()))
        assert difference.max() <= (1 if theirs is ImageOps.autocontrast else 0)
    added = color.solarize_add(images, zeros + 30.9).numpy()
    np.testing.assert_array_equal(added, np.where(photos() < 128, photos() + 30, photos()))


@pytest.mark.parametrize("op", [color.autocontrast, color.equalize])
def test_flat_images_stay(op):
    flat = np.full((2, 8, 8, 3), 77, "uint8")
    np.testing.assert_array_equal(op(tf.constant(flat), tf.zeros(2)), flat)


def test_jitter_of_nothing_is_nothing_and_of_brightness_is_a_factor():
    np.testing.assert_array_equal(eagerly(augment.color_jitter, photos()), photos())
    grey = np.full((64, 2, 2, 1), 100, "uint8")
    levels = eagerly(partial(augment.color_jitter, brightness=0.4), grey)[:, 0, 0, 0]
    assert 60 <= levels.min() < 70
    assert 130 < levels.max() <= 140


@pytest.mark.slow
def test_jitter_of_one_kind_is_the_change_of_that_kind():
    images = photos() // 2 + 60  # nothing is clipped
    for argument, change in (("contrast", color.adjust_contrast), ("saturation", color.adjust_saturation)):
        jittered = eagerly(partial(augment.color_jitter, **{argument: 0.3}), images)
        range_ = np.linspace(-0.3, 0.3, 301)
        for one, out in zip(images[:4], jittered):
            changed = change(tf.constant(np.repeat(one[None], 301, 0)), tf.constant(range_, tf.float32)).numpy()
            assert np.abs(changed.astype(int) - out).max((1, 2, 3)).min() <= 1


def test_turning_hues_leaves_value_and_grey():
    shifted = eagerly(partial(augment.color_jitter, hue=0.5), photos())
    np.testing.assert_allclose(shifted.max(-1), photos().max(-1), atol=1)
    np.testing.assert_allclose(shifted.min(-1), photos().min(-1), atol=1)
    grey = np.repeat(digits(), 3, -1)
    np.testing.assert_array_equal(eagerly(partial(augment.color_jitter, hue=0.5), grey), grey)


@pytest.mark.parametrize("argument", ["saturation", "hue"])
def test_changes_of_colour_need_colour(argument):
    with pytest.raises(ValueError, match=f"images must have 3 channels if {argument} is above 0. Received:.*24, 24, 1"):
        augment.color_jitter(digits(), (0, 1), **{argument: 0.1})


def test_other_channels_are_for_what_needs_no_grey():
    images = np.repeat(digits(), 4, -1)
    for op in (augment.flip, partial(augment.color_jitter, brightness=0.2), augment.random_erasing):
        assert eagerly(op, images).shape == images.shape
    with pytest.raises(
        ValueError, match="images must have 1 or 3 channels to be converted to grayscale. Received:.*24, 24, 4"
    ):
        augment.color_jitter(images, (0, 1), contrast=0.1)
    for policy in (augment.rand_augment, augment.trivial_augment_wide):
        with pytest.raises(ValueError, match="images must have 1 or 3 channels. Received: .*24, 24, 4"):
            policy(images, (0, 1))


# Erasing


def test_erasing_keeps_to_its_area_and_ratio():
    images = np.full((300, 64, 64, 1), 255, "uint8")
    op = partial(augment.random_erasing, probability=1, area=(0.1, 0.3), ratio=(0.5, 2), fill=augment.fill_color)
    erased = eagerly(op, images)[..., 0] == 0
    area = erased.mean((1, 2))
    assert (area > 0.09).all()
    assert (area < 0.31).all()
    assert area.min() < 0.12
    assert area.max() > 0.28
    height, width = erased.any(2).sum(1), erased.any(1).sum(1)
    np.testing.assert_array_equal(height * width, erased.sum((1, 2)))  # one box
    assert ((height / width > 0.47) & (height / width < 2.1)).all()


def test_erasing_leaves_the_others_alone():
    images = np.concatenate([photos()] * 16)
    op = partial(augment.random_erasing, probability=0.25)
    changed = (eagerly(op, images) != images).any((1, 2, 3)).mean()
    assert 0.17 < changed < 0.33
    np.testing.assert_array_equal(eagerly(partial(augment.random_erasing, probability=0), images), images)


def test_fills_are_what_they_say():
    images, seed = tf.constant(photos()), (0, 1)
    noise = augment.fill_noise(images, seed).numpy()
    assert noise.shape == images.shape
    assert np.bincount(noise.ravel(), minlength=256).min() > noise.size / 256 / 2
    mean = augment.fill_mean(images, seed).numpy()
    assert np.abs(mean - photos().mean((1, 2), keepdims=True)).max() <= 0.5
    assert (augment.fill_color(images, seed, (124, 116, 104)).numpy() == (124, 116, 104)).all()


# Mixes


@pytest.mark.parametrize("images", IMAGES.values(), ids=IMAGES)
def test_mixup_mixes_pixels_as_it_mixes_targets(images):
    images = images()
    labels, partners = np.eye(len(images), dtype="float32"), np.roll(images, 1, 0)
    for seed in range(5):
        mixed, targets = eagerly(partial(augment.mixup, alpha=1.0), images, labels, seed=(0, seed))
        share = targets[0, 0]
        np.testing.assert_allclose(targets, share * labels + (1 - share) * np.roll(labels, 1, 0), atol=1e-6)
        assert np.abs(mixed - (share * images + (1 - share) * partners)).max() <= 0.51


@pytest.mark.parametrize("images", [digits, pytest.param(photos, marks=pytest.mark.slow)], ids=IMAGES)
def test_the_box_of_cutmix_has_the_share_of_the_label(images):
    images = images()
    labels = np.eye(len(images), dtype="float32")
    numbers = np.broadcast_to(np.arange(len(images), dtype="uint8")[:, None, None, None], images.shape)
    shares = []
    for seed in range(10):
        mixed, targets = eagerly(augment.cutmix, images, labels, seed=(0, seed))
        mixed_numbers, _ = eagerly(augment.cutmix, numbers, labels, seed=(0, seed))
        pasted = mixed_numbers != numbers
        np.testing.assert_array_equal(mixed, np.where(pasted, np.roll(images, 1, 0), images))
        np.testing.assert_allclose(1 - pasted.mean(), targets[0, 0], atol=1e-6)
        np.testing.assert_allclose(
            targets, targets[0, 0] * labels + (1 - targets[0, 0]) * np.roll(labels, 1, 0), atol=1e-6
        )
        shares.append(targets[0, 0])
    assert max(shares) - min(shares) > 0.4


@pytest.mark.slow
def test_shares_are_from_a_beta_distribution():
    images, labels = np.zeros((2, 2, 2, 1), "uint8"), np.eye(2, dtype="float32")
    for alpha, deviation in ((0.2, 0.4226), (1.0, 0.2887)):  # sqrt(1 / (4 * (2 * alpha + 1)))
        share = lambda seed, alpha=alpha: augment.mixup(images, labels, tf.stack([0, seed]), alpha)[1][0, 0]
        shares = tf.function(tf.map_fn)(share, tf.range(400), fn_output_signature=tf.float32)
        assert abs(np.mean(shares) - 0.5) < 0.06
        assert abs(np.std(shares) - deviation) < 0.04


def test_one_of_mixes_is_now_one_and_now_the_other():
    images, labels = digits(), np.eye(32, dtype="float32")
    unchanged = lambda images, targets, seed: (images, targets)
    blackened = lambda images, targets, seed: (tf.zeros_like(images), targets)
    op = partial(augment.random_choice, mixes=(unchanged, blackened))
    is_unchanged = [(eagerly(op, images, labels, seed=(0, seed))[0] == images).all() for seed in range(40)]
    assert 10 < sum(is_unchanged) < 30
    with pytest.raises(ValueError, match=r"mixes must have at least one function. Received: mixes=\(\)"):
        augment.random_choice(images, labels, (0, 1), ())


@pytest.mark.parametrize("op", MIXES.values(), ids=MIXES)
def test_labels_that_are_not_one_hot_are_refused(op):
    for targets in (np.arange(32), np.eye(32, dtype="int64"), np.zeros(32, "float32")):
        with pytest.raises(ValueError, match=r"targets must be one-hot, float32 \(N, classes\). Received: "):
            op(digits(), targets, (0, 1))


def test_smoothing_before_or_after_mixing_is_the_same():
    images, targets = digits(), one_hot(digits())
    before = eagerly(augment.mixup, images, augment.label_smoothing(targets, 0.1))[1]
    after = augment.label_smoothing(eagerly(augment.mixup, images, targets)[1], 0.1)
    np.testing.assert_allclose(before, after, atol=1e-6)
    np.testing.assert_array_equal(augment.label_smoothing(targets, 0), targets)


def test_thresholds_make_a_mixed_image_wholly_of_both():
    mixed = augment.label_smoothing(np.array([[0.7, 0.3, 0], [0.1, 0.9, 0]], "float32"), 0.1)
    np.testing.assert_array_equal(augment.target_threshold(mixed, 0.2), [[1, 1, 0], [0, 1, 0]])


# Policies


def row_changes(table, name, images, strength):
    """Images changed by one row of a policy, with a positive amount and a strength in [0, 1]."""
    row = table[name]
    amounts = tf.fill((len(images),), row.lowest + strength * (row.greatest - row.lowest))
    return row.change(tf.constant(images), tf.cast(amounts, tf.float32), 0).numpy()


WITHOUT_STRENGTH = {"AutoContrast", "Equalize", "Invert"}
TABLES = {
    "rand_augment": policies.RAND_AUGMENT,
    "trivial_augment_wide": policies.TRIVIAL_AUGMENT_WIDE,
    "aug_mix": policies.AUG_MIX,
}


@pytest.mark.parametrize(("policy", "name"), [(policy, name) for policy, table in TABLES.items() for name in table])
def test_a_change_of_no_strength_is_none_and_of_full_strength_is_one(policy, name):
    images = photos() - (photos() == 255)  # torchvision solarises the value 255 even at strength 0
    nothing, full = (row_changes(TABLES[policy], name, images, strength) for strength in (0.0, 1.0))
    # Posterize of timm and of AugMix removes 4 bits even at strength 0.
    if name not in WITHOUT_STRENGTH and (name != "Posterize" or policy == "trivial_augment_wide"):
        np.testing.assert_array_equal(nothing, images)
    assert (full != images).any() or name == "Identity"


@pytest.mark.parametrize("policy", TABLES)
def test_every_row_of_a_policy_is_drawn(policy, monkeypatch):
    drawn, table = set(), TABLES[policy]
    for name, row in table.items():

        def recorded_change(images, amounts, fill, name=name, change=row.change):
            drawn.update({name} if len(images) else ())
            assert len(images) == len(amounts)
            return change(images, amounts, fill)

        monkeypatch.setitem(table, name, row._replace(change=recorded_change))
    eagerly(getattr(augment, policy), np.concatenate([digits()] * 10))
    assert drawn == set(table)


def test_a_policy_changes_each_image_by_its_own_row():
    images = np.repeat(photos()[:1], 300, 0)
    changed = eagerly(partial(augment.rand_augment, num_ops=1, probability=1.0, magnitude=5), images)
    expected = {
        name: row_changes(policies.RAND_AUGMENT, name, images[:1], 0.5)[0] for name in WITHOUT_STRENGTH | {"Solarize"}
    }
    for image in expected.values():
        assert 5 < sum((out == image).all() for out in changed) < 40  # 20 on average
    assert len({out.tobytes() for out in changed}) == 24  # 15 rows; 9 of them have two signs
    with_deviation = eagerly(
        partial(augment.rand_augment, num_ops=1, probability=1.0, magnitude=5, deviation=1), images
    )
    assert len({out.tobytes() for out in with_deviation}) > 100


@pytest.mark.slow
def test_a_policy_makes_no_change_without_a_chance():
    op = partial(augment.rand_augment, probability=0)
    np.testing.assert_array_equal(eagerly(op, photos()), photos())
    half_changed = eagerly(partial(augment.rand_augment, num_ops=1, probability=0.5), np.concatenate([photos()] * 16))
    assert 0.35 < (half_changed != np.concatenate([photos()] * 16)).any((1, 2, 3)).mean() < 0.6


# Arguments


@pytest.mark.parametrize(
    ("op", "message"),
    [
        (partial(augment.pad_and_crop, pixels=-1), "pixels must be an integer of at least 0. Received: pixels=-1"),
        (partial(augment.rotate, degrees=0), "degrees must be in .0, inf.. Received: degrees=0"),
        (
            partial(augment.rotate, degrees=5, fill_mode="wrap"),
            "fill_mode must be one of .* Received: fill_mode='wrap'",
        ),
        (partial(augment.random_resized_crop, scale=(0.5, 1.5)), r"scale must be .*<= 1. Received: scale=\(0.5, 1.5\)"),
        (partial(augment.random_resized_crop, ratio=(2, 1)), r"ratio must be .* Received: ratio=\(2, 1\)"),
        (partial(augment.color_jitter, brightness=2), r"brightness must be in \[0, 1\]. Received: brightness=2"),
        (partial(augment.color_jitter, hue=0.6), r"hue must be in \[0, 0.5\]. Received: hue=0.6"),
        (partial(augment.random_erasing, probability=-1), r"probability must be in \[0, 1\]. Received: probability=-1"),
        (partial(augment.random_erasing, area=(0, 1)), r"area must be .* Received: area=\(0, 1\)"),
        (partial(augment.rand_augment, magnitude=11), r"magnitude must be in \[0, 10\]. Received: magnitude=11"),
        (partial(augment.rand_augment, deviation=-1), "deviation must be in .0, inf.. Received: deviation=-1"),
        (partial(augment.rand_augment, num_ops=0), "num_ops must be an integer of at least 1. Received: num_ops=0"),
        (lambda x, s: augment.mixup(x, one_hot(x), s, alpha=0), "alpha must be in .0, inf.. Received: alpha=0"),
        (lambda x, s: augment.label_smoothing(one_hot(x), 2), r"epsilon must be in \[0, 1\]. Received: epsilon=2"),
        (lambda x, s: augment.target_threshold(one_hot(x), 2), r"threshold must be in \[0, 1\]. Received: threshold=2"),
    ],
)
def test_an_argument_out_of_range_is_named(op, message):
    with pytest.raises(ValueError, match=message):
        op(digits(), (0, 1))


@pytest.mark.parametrize(
    "op",
    [
        partial(augment.pad_and_crop, pixels=0.5),
        partial(augment.rotate, degrees="5"),
        partial(augment.color_jitter, contrast="0.4"),
        partial(augment.color_jitter, hue="0.1"),
        partial(augment.rand_augment, magnitude=None),
        partial(augment.rand_augment, deviation="0.5"),
        partial(augment.random_erasing, probability=None),
        lambda x, s: augment.cutmix(x, one_hot(x), s, alpha="1"),
    ],
)
def test_an_argument_of_another_type_is_named(op):
    with pytest.raises(TypeError, match="must be (a number|an integer).* Received: "):
        op(digits(), (0, 1))


def test_aug_mix_mixes_chains_of_operations_by_the_weights_of_the_paper(monkeypatch):
    """Each operation adds its strength, so that the result follows from lengths, strengths and weights alone."""

    def add(images, amounts, fill):
        return images + tf.cast(amounts + 0.5, tf.uint8)[:, None, None, None]

    for name in policies.AUG_MIX:
        monkeypatch.setitem(policies.AUG_MIX, name, policies.Operation(add, 0, 80))
    rng, count = np.random.default_rng(0), 40_000
    black = np.zeros((count, 1, 1, 1), "uint8")
    for severity, width, alpha in ((10, 3, 1.0), (3, 4, 1.0), (10, 2, 5.0)):
        found = eagerly(partial(augment.aug_mix, severity=severity, width=width, alpha=alpha), black)[:, 0, 0, 0]
        # The authors' `augment_and_mix`.
        lengths = rng.integers(1, 4, (count, width, 1))
        strengths = 80 * rng.uniform(0.1, severity, (count, width, 3)) / 10
        chains = np.where(np.arange(3) < lengths, strengths, 0).sum(-1)
        weights, m = rng.dirichlet([alpha] * width, count), rng.beta(alpha, alpha, count)
        expected = (1 - m) * 0 + m * (weights * chains).sum(-1)
        np.testing.assert_allclose(found.mean(), expected.mean(), rtol=0.02)
        np.testing.assert_allclose(found.std(), expected.std(), rtol=0.03)
        for share in (0.1, 0.5, 0.9):
            assert np.quantile(found, share) == pytest.approx(np.quantile(expected, share), abs=2)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"severity": 0}, "severity must be .* Received: severity=0"),
        ({"severity": 11}, "severity must be"),
        ({"width": 0}, "width must be an integer of at least 1"),
        ({"alpha": 0}, "alpha must be"),
    ],
)
def test_wrong_arguments_of_aug_mix_are_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        augment.aug_mix(np.zeros((1, 4, 4, 3), "uint8"), (0, 1), **wrong)
