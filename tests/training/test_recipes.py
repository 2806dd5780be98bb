"""The recipes: their published values, the range of each field, and the effect of each field on a training."""

import dataclasses
import functools
import json

import numpy as np
import pytest
import tensorflow as tf

import keras_resnet as kr
from keras_resnet.data import augment, crops, from_arrays
from keras_resnet.data.decode import to_square
from keras_resnet.training import RECIPES, Recipe, batches
from keras_resnet.training.distribution import Placement
from keras_resnet.training.recipe import CHOICES, recipe_of
from tests.conftest import UNTRACED

# The values in papers and reference code, as fields of a recipe. recipes.py names the source of each row.
PUBLISHED = {
    "one_cycle": {"epochs": 15, "schedule": "cosine", "optimizer": "sgd"},
    "fine_tune": {"epochs": 10, "flip": True, "crop": "random_resized"},
    "cifar_half_hour": {"epochs": 20, "batch_size": 128, "schedule": "cosine", "optimizer": "sgd", "flip": True},
    "he2015_cifar": {
        **{"iterations": 64_000, "batch_size": 128, "learning_rate": 0.1, "milestones": (0.5, 0.75)},
        **{"momentum": 0.9, "nesterov": False, "weight_decay": 1e-4, "pad_and_crop": 4 / 32, "flip": True},
        **{"warmup": 0.0, "schedule": "steps", "label_smoothing": 0.0, "loss": "categorical_crossentropy"},
    },
    "he2015_imagenet": {
        **{"iterations": 600_000, "batch_size": 256, "learning_rate": 0.1, "weight_decay": 1e-4, "momentum": 0.9},
        **{"crop": "scale_jitter", "flip": True, "schedule": "steps", "nesterov": False},
    },
    "goyal2017": {
        **{"epochs": 90, "batch_size": 8192, "learning_rate": 0.1 * 8192 / 256, "warmup": 5 / 90},
        **{"milestones": (1 / 3, 2 / 3, 8 / 9), "weight_decay": 1e-4, "momentum": 0.9, "nesterov": True},
    },
    "torchvision_v2": {
        **{"epochs": 600, "batch_size": 1024, "learning_rate": 0.5, "warmup": 5 / 600, "weight_decay": 2e-5},
        **{
            "label_smoothing": 0.1,
            "mixup": 0.2,
            "cutmix": 1.0,
            "random_erase": 0.1,
            "auto_augment": "trivial_augment_wide",
            "repeated_augmentation": 4,
        },
        **{"train_sizes": (176,), "eval_size": 224, "crop_pct": 224 / 232, "schedule": "cosine"},
        "ema_decay": 0.9999659,  # 0.998908 every 32 steps
    },
    "timm_a1": {
        **{"epochs": 600, "batch_size": 2048, "optimizer": "lamb", "learning_rate": 5e-3, "weight_decay": 0.01},
        **{"warmup": 5 / 600, "label_smoothing": 0.1, "stochastic_depth": 0.05, "magnitude": 7, "mixup": 0.2},
        **{
            "cutmix": 1.0,
            "loss": "binary_crossentropy",
            "train_sizes": (),
            "crop_pct": 0.95,
            "auto_augment": "rand_augment",
            "repeated_augmentation": 3,
        },
    },
    "timm_a2": {
        **{"epochs": 300, "batch_size": 2048, "optimizer": "lamb", "learning_rate": 5e-3, "weight_decay": 0.02},
        **{"warmup": 5 / 300, "label_smoothing": 0.0, "stochastic_depth": 0.05, "magnitude": 7, "mixup": 0.1},
        **{"cutmix": 1.0, "loss": "binary_crossentropy", "train_sizes": (), "crop_pct": 0.95},
        "repeated_augmentation": 3,
    },
    "timm_a3": {
        **{"epochs": 100, "batch_size": 2048, "optimizer": "lamb", "learning_rate": 8e-3, "weight_decay": 0.02},
        **{"warmup": 5 / 100, "label_smoothing": 0.0, "stochastic_depth": 0.0, "magnitude": 6, "mixup": 0.1},
        **{"cutmix": 1.0, "loss": "binary_crossentropy", "train_sizes": (160,), "eval_size": 224, "crop_pct": 0.95},
        "repeated_augmentation": 1,
    },
}


def test_every_recipe_is_held_to_what_was_published():
    assert set(RECIPES) == set(PUBLISHED)


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_recipe_is_what_was_published(name):
    found = dataclasses.asdict(RECIPES[name])
    for field, value in PUBLISHED[name].items():
        assert found[field] == (pytest.approx(value) if not isinstance(value, str) else value), field


# Rejected values of each field. A field without an entry fails the test below.
REFUSED = {
    "epochs": (0, 1.5),
    "iterations": (-1,),
    "batch_size": (0,),
    "seed": (-1,),
    "optimizer": ("rmsprop",),
    "learning_rate": (0, float("nan"), float("inf"), "fast"),
    "layer_decay": (0, 1.1, -0.5),
    "schedule": ("linear",),
    "warmup": (1.0, -0.1),
    "milestones": ((0.5, 0.5), (0.0,), (1.0,)),
    "momentum": (1.0, -0.1),
    "nesterov": ("yes",),
    "weight_decay": (-1, float("inf")),
    "clip_norm": (-1,),
    "gradient_accumulation_steps": (0,),
    "ema_decay": (1.0,),
    "sam": (-0.05, float("inf")),
    "precision": ("float8",),
    "loss": ("hinge",),
    "class_weights": ("equal", None),
    "balanced_sampling": (1, "yes"),
    "label_smoothing": (1, -0.1),
    "target_threshold": (1.0,),
    "distillation_weight": (0.0, 1.1),
    "distillation_temperature": (0.0,),
    "repeated_augmentation": (0, 1.5),
    "crop": ("left",),
    "crop_scale": (0, 1.1),
    "flip": (1,),
    "pad_and_crop": (2,),
    "rotate": (-1,),
    "color_jitter": (1.0,),
    "auto_augment": ("auto",),
    "magnitude": (11, -1),
    "random_erase": (1.0,),
    "mixup": (-0.2,),
    "cutmix": (-1,),
    "stochastic_depth": (1.0,),
    "drop_rate": (1.0,),
    "remat": (None,),
    "train_sizes": ((0,), None, 176),
    "eval_size": (-1,),
    "crop_pct": (0, 1.01),
    "validation_split": (1.0,),
    "unfreeze_epochs": (-1, 0.5),
    "early_stopping": (-1, 2.5),
}


def test_every_field_is_held_to_its_range_and_explained():
    fields = dataclasses.fields(Recipe)
    assert {field.name for field in fields} == set(REFUSED)
    assert all(field.metadata["help"].endswith(".") for field in fields)


@pytest.mark.parametrize(("field", "value"), [(field, value) for field, values in REFUSED.items() for value in values])
def test_a_recipe_refuses_wrong_values(field, value):
    with pytest.raises((ValueError, TypeError), match=f"{field}.*Received"):
        Recipe(**{field: value})


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_goes_through_json(name):
    assert recipe_of(json.loads(json.dumps(dataclasses.asdict(RECIPES[name])))) == RECIPES[name]


def test_a_recipe_of_unknown_fields_is_refused():
    with pytest.raises(ValueError, match="Received: also .'epoch', 'lr'."):
        recipe_of({"epoch": 3, "lr": 1, "flip": True})


def test_iterations_are_whole_epochs():
    assert RECIPES["he2015_cifar"].epochs_of(390) == 164
    assert Recipe(iterations=1).epochs_of(390) == 1
    assert Recipe(epochs=3).epochs_of(390) == 3


def names(functions):
    return [getattr(function, "func", function).__name__ for function in functions]


def test_augmentations_are_those_of_the_fields():
    recipe = Recipe(
        flip=True,
        pad_and_crop=0.25,
        rotate=10,
        color_jitter=0.4,
        auto_augment="rand_augment",
        magnitude=5,
        random_erase=0.3,
    )
    found = batches.augmentations(recipe, 32)
    assert names(found) == ["pad_and_crop", "flip", "rotate", "color_jitter", "rand_augment", "random_erasing"]
    assert [getattr(function, "keywords", {}) for function in found] == [
        {"pixels": 8},
        {},
        {"degrees": 10},
        {"brightness": 0.4, "contrast": 0.4, "saturation": 0.4},
        {"magnitude": 5, "deviation": 0.5},
        {"probability": 0.3},
    ]
    assert batches.augmentations(Recipe(pad_and_crop=0.0), 32) == ()
    assert names(batches.augmentations(Recipe(pad_and_crop=0.0, auto_augment="trivial_augment_wide"), 32)) == [
        "trivial_augment_wide"
    ]
    assert set(batches.POLICIES) == set(CHOICES["auto_augment"])


def test_crops_are_those_of_the_fields():
    assert set(batches.CROPS) == set(CHOICES["crop"])
    assert batches.crop(Recipe()) is None
    assert batches.crop(Recipe(crop="scale_jitter")) is crops.scale_jitter
    crop = batches.crop(Recipe(crop="random_resized", crop_scale=0.3))
    assert (crop.func, crop.keywords) == (crops.random_resized_crop, {"scale": (0.3, 1.0)})


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"label_smoothing": 0.0}, []),
        ({"label_smoothing": 0.0, "mixup": 0.2}, ["mixup"]),
        ({"label_smoothing": 0.0, "cutmix": 1.0}, ["cutmix"]),
        ({"mixup": 0.2, "cutmix": 1.0, "target_threshold": 0.2}, ["<lambda>", "random_choice", "<lambda>"]),
    ],
)
def test_mixes_are_those_of_the_fields(fields, expected):
    assert names(batches.mixes(Recipe(**fields))) == expected


def test_targets_are_smoothed_before_they_are_mixed_and_thresholded_after():
    images, targets = np.zeros((4, 8, 8, 3), "uint8"), tf.one_hot([0, 1, 2, 3], 4)
    for mix in batches.mixes(Recipe(label_smoothing=0.4)):
        _, smooth = mix(images, targets, (0, 1))
    np.testing.assert_allclose(smooth, augment.label_smoothing(targets, 0.4))
    mixed = targets
    for mix in batches.mixes(Recipe(label_smoothing=0.1, mixup=5.0, target_threshold=0.2)):
        _, mixed = mix(images, mixed, (0, 7))
    assert set(mixed.numpy().ravel()) == {0, 1}
    assert mixed.numpy().sum() > 4


def test_a_recipe_measures_as_it_says():
    assert batches.resize(Recipe()) is to_square
    resize = batches.resize(Recipe(crop_pct=0.9))
    assert isinstance(resize, functools.partial)
    assert resize.keywords == {"crop_pct": 0.9, "interpolation": "bilinear"}


def net(side):
    return kr.ResNet((1,), kr.residual_block, filters=(8,), stem=kr.stems.cifar, input_shape=(side, side, 1), classes=2)


@pytest.mark.parametrize(
    ("side", "fields", "expected"),
    [
        (8, {}, ((8,), 8)),
        (8, {"eval_size": 8}, ((8,), 8)),
        (None, {"train_sizes": (6, 8)}, ((6, 8), 8)),
        (None, {"train_sizes": (6,), "eval_size": 10}, ((6,), 10)),
    ],
)
def test_sides_are_the_recipes_or_the_models(side, fields, expected):
    assert batches.ImageSizes.for_model(net(side), Recipe(**fields)) == expected


@pytest.mark.parametrize(("side", "fields"), [(8, {"train_sizes": (6,)}), (8, {"eval_size": 10}), (None, {})])
def test_sides_that_the_model_does_not_take_are_refused(side, fields):
    with pytest.raises(ValueError, match="model must take (images of any size|square images).*Received"):
        batches.ImageSizes.for_model(net(side), Recipe(**fields))


@pytest.mark.parametrize(
    ("fields", "expected"),
    [({}, ((5,), 5)), ({"eval_size": 8}, ((5,), 8)), ({"train_sizes": (6, 7)}, ((6, 7), 7))],
)
def test_sides_that_the_recipe_does_not_say_are_the_callers(fields, expected):
    assert batches.ImageSizes.from_recipe(Recipe(**fields), 5) == expected


@pytest.mark.slow
def test_images_grow_in_equal_parts_of_the_training_also_after_a_resume():
    split = from_arrays(np.zeros((40, 8, 8, 1), "uint8"), np.arange(40) % 2, ("a", "b"))
    recipe = Recipe(batch_size=4, train_sizes=(4, 6, 8))
    sides = batches.ImageSizes((4, 6, 8), 8)
    for start in (0, 3, 7):  # at the beginning, among small images, and at a change of the size
        remaining = batches.training_batches(split, recipe, sides, Placement(), start, 10).take(10 - start)
        sizes = [images.shape[1] for images, _ in remaining.as_numpy_iterator()]
        assert sizes == [4, 4, 4, 4, 6, 6, 6, 8, 8, 8][start:]


@pytest.mark.slow
@UNTRACED
def test_a_training_of_growing_images_learns(rng, eager):
    labels = np.arange(64) % 2
    pixels = (labels[:, None, None, None] * 150 + rng.integers(0, 100, (64, 8, 8, 1))).astype("uint8")
    split = from_arrays(pixels, labels, ("dark", "bright"))
    model = net(None)
    history = kr.training.fit(
        model, Recipe(epochs=4, batch_size=16, train_sizes=(4, 8), eval_size=12), split, split
    ).history
    assert history["val_accuracy"][-1] > 0.9


def test_a_recipe_of_an_earlier_version_gets_the_defaults_of_newer_fields():
    old_fields = {name: value for name, value in dataclasses.asdict(Recipe()).items() if name != "remat"}
    assert recipe_of(old_fields) == Recipe()


def test_a_run_of_a_recipe_that_repeats_images_only_now_keeps_its_own_value():
    before = json.loads(json.dumps(dataclasses.asdict(RECIPES["timm_a1"])))
    del before["repeated_augmentation"]
    assert recipe_of(before) == dataclasses.replace(RECIPES["timm_a1"], repeated_augmentation=1)


def test_images_are_repeated_as_the_recipe_says():
    pixels = np.arange(32, dtype="uint8")[:, None, None, None] * np.ones((1, 4, 4, 1), "uint8")
    split = from_arrays(pixels, np.arange(32) % 2, ("a", "b"))
    for repeats in (1, 4):
        recipe = Recipe(batch_size=8, pad_and_crop=0.0, repeated_augmentation=repeats)
        found = next(iter(batches.training_batches(split, recipe, batches.ImageSizes((4,), 4), Placement(), 0, 4)))[0]
        _, counts = np.unique(found[:, 0, 0, 0], return_counts=True)
        assert counts.tolist() == [repeats] * (8 // repeats)
    with pytest.raises(ValueError, match="repeated_augmentation must be at most batch_size, 8"):
        kr.training.fit(net(8), dataclasses.replace(recipe, repeated_augmentation=9), split)


@pytest.mark.parametrize(
    ("fields", "error", "message"),
    [
        (None, TypeError, "a recipe must be an object with fields. Received: None"),
        ({"ema": 0.5, "ema_decay": 0.5}, ValueError, "each field once. Received: ema and ema_decay"),
        ({"loss": ["a"]}, ValueError, "loss must be one of"),
    ],
)
def test_what_is_no_recipe_is_refused(fields, error, message):
    with pytest.raises(error, match=message):
        recipe_of(fields)


def test_a_recipe_of_before_without_a_validation_split_holds_out_nothing():
    assert recipe_of({"epochs": 3}).validation_split == 0.0
    assert recipe_of({"epochs": 3, "validation_split": 0.2}).validation_split == 0.2
