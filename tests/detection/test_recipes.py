"""The recipes for detectors: their published values, and the range of each field."""

import dataclasses
import json

import numpy as np
import pytest

from keras_resnet.detection import FPN, RECIPES, DetectionRecipe
from keras_resnet.detection.augment_boxes import Annotated
from keras_resnet.detection.recipe import detection_recipe_of
from keras_resnet.detection.recipe_batches import augmentations, scale
from keras_resnet.detection.recipes import recipe_named
from keras_resnet.training.recipe import BaseRecipe
from keras_resnet.training.schedules import with_warm_up

# The values in papers and reference code, as fields of a recipe. recipes.py names the source of each row.
PUBLISHED = {
    "he2015_voc": {
        **{"iterations": 60_000 + 20_000, "batch_size": 1, "learning_rate": 0.001, "milestones": (60 / 80,)},
        **{"optimizer": "sgd", "momentum": 0.9, "nesterov": False, "weight_decay": 5e-4, "schedule": "steps"},
        **{"warmup_steps": 0, "flip": True, "frozen_until": "conv3", "frozen_norms": True},
    },
    "he2015_coco": {
        **{"iterations": 240_000 + 80_000, "batch_size": 8, "learning_rate": 0.001, "milestones": (240 / 320,)},
        **{"optimizer": "sgd", "momentum": 0.9, "nesterov": False, "weight_decay": 5e-4, "schedule": "steps"},
        **{"warmup_steps": 0, "flip": True, "frozen_until": "conv3", "frozen_norms": True},
    },
    "torchvision_fpn": {
        **{"epochs": 26, "batch_size": 8 * 2, "learning_rate": 0.02, "milestones": (16 / 26, 22 / 26)},
        **{"optimizer": "sgd", "momentum": 0.9, "nesterov": False, "weight_decay": 1e-4, "schedule": "steps"},
        **{"warmup_steps": 1000, "flip": True, "frozen_until": "conv3", "frozen_norms": True},
    },
    "torchvision_fpn_v2": {
        **{"epochs": 400, "batch_size": 32 * 2, "learning_rate": 0.1, "milestones": (352 / 400, 384 / 400)},
        **{"optimizer": "sgd", "momentum": 0.9, "nesterov": False, "weight_decay": 4e-5, "schedule": "steps"},
        **{"warmup_steps": 1000, "flip": True, "scale_jitter": (0.1, 2.0), "jitter_size": 1024, "frozen_norms": False},
    },
    "small_data": {"frozen_until": "conv1", "frozen_norms": False, "optimizer": "adamw", "schedule": "cosine"},
}


def test_every_recipe_is_held_to_what_was_published():
    assert set(RECIPES) == set(PUBLISHED)


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_recipe_is_what_was_published(name):
    found = dataclasses.asdict(RECIPES[name])
    for field, value in PUBLISHED[name].items():
        assert found[field] == (value if isinstance(value, str) else pytest.approx(value)), field


# Rejected values of the fields that recipes of classifiers do not have, or have with another range.
REFUSED = {
    "precision": ("float16", "auto", "float8"),
    "warmup_steps": (-1, 0.5),
    "frozen_until": (3,),
    "frozen_norms": (1,),
    "flip": ("yes",),
    "scale_jitter": ((2.0, 1.0), (0.0, 1.0), (1.0,), 2.0),
    "vertical_flip": (0,),
    "iou_crop": (0.5,),
    "shorter_sides": ((0,), (1.5,), None, 600, "600"),
    "jitter_size": (-1,),
    "color_jitter": (1.0,),
    "early_stopping": (-1,),
}


@pytest.mark.parametrize(("field", "value"), [(field, value) for field, values in REFUSED.items() for value in values])
def test_a_recipe_refuses_wrong_values(field, value):
    with pytest.raises((ValueError, TypeError), match=f"{field}.*Received"):
        DetectionRecipe(**{field: value})


def test_every_field_is_explained():
    assert all(field.metadata["help"].endswith(".") for field in dataclasses.fields(DetectionRecipe))


def test_a_field_without_refused_values_is_one_of_classifiers():
    assert set(REFUSED) == {field.name for field in dataclasses.fields(DetectionRecipe)} - {
        field.name for field in dataclasses.fields(BaseRecipe) if field.name != "precision"
    }


def test_two_fields_that_choose_the_size_of_an_image_are_refused():
    with pytest.raises(ValueError, match="shorter_sides must be empty with scale_jitter"):
        DetectionRecipe(shorter_sides=(600, 800), scale_jitter=(0.5, 2.0))


def names(functions):
    return [getattr(function, "func", function).__name__ for function in functions]


def test_augmentations_are_those_of_the_fields():
    assert augmentations(DetectionRecipe(flip=False)) == ()
    found = augmentations(DetectionRecipe(color_jitter=0.2, iou_crop=True, vertical_flip=True))
    assert names(found)[1:] == ["random_iou_crop", "random_horizontal_flip", "random_vertical_flip"]
    grey = Annotated(np.full((4, 4, 3), 100, "uint8"), np.zeros((0, 4), "float32"), np.zeros(0, "int32"))
    assert not np.array_equal(found[0](grey, (0, 1)).image, grey.image)


def test_sizes_are_those_of_the_fields():
    design = dataclasses.replace(FPN, shorter=300, longer=400)
    assert scale(DetectionRecipe(), design) is None
    several = scale(DetectionRecipe(shorter_sides=(200, 300)), design)
    assert names([several]) == ["random_shortest_side"]
    assert several.keywords == {"shorter": (200, 300), "longer": 400}
    jitter = scale(DetectionRecipe(scale_jitter=(0.8, 1.2)), design)
    assert names([jitter]) == ["large_scale_jitter"]
    assert jitter.keywords == {"target": (400, 400), "scale": (0.8, 1.2)}
    assert scale(RECIPES["torchvision_fpn_v2"], design).keywords["target"] == (1024, 1024)


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_goes_through_json(name):
    assert detection_recipe_of(json.loads(json.dumps(dataclasses.asdict(RECIPES[name])))) == RECIPES[name]


def test_a_recipe_of_unknown_fields_is_refused():
    with pytest.raises(ValueError, match="Received: also .'mixup'."):
        detection_recipe_of({"epochs": 3, "mixup": 0.2})
    with pytest.raises(TypeError, match="Received: None"):
        detection_recipe_of(None)


def test_an_unknown_recipe_is_answered_with_the_nearest():
    with pytest.raises(ValueError, match="Did you mean .*torchvision_fpn.*Received: 'torchvision_fnp'"):
        recipe_named("torchvision_fnp")


def test_the_rate_of_the_paper_falls_to_a_tenth_after_60_000_steps():
    rate = with_warm_up(RECIPES["he2015_voc"], 80_000, 0)
    assert [float(rate(step)) for step in (0, 59_999, 60_001, 79_999)] == pytest.approx([1e-3, 1e-3, 1e-4, 1e-4])


def test_the_rate_of_torchvision_rises_in_1000_steps_and_falls_after_16_and_22_epochs():
    recipe, steps = RECIPES["torchvision_fpn"], 7330
    rate = with_warm_up(recipe, 26 * steps, recipe.warmup_steps)
    found = [float(rate(step)) for step in (0, 500, 1000, 16 * steps - 1, 16 * steps + 1, 22 * steps + 1)]
    assert found == pytest.approx([0, 0.01, 0.02, 0.02, 0.002, 0.0002])
