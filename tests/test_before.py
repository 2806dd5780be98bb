"""Files of an older version, with older names, still load. tests/before/README.md describes them."""

import dataclasses
import json
import shutil

import keras
import numpy as np
import pytest

import keras_resnet as kr
from keras_resnet.training.recipe import recipe_of
from keras_resnet.tuning import persistence
from keras_resnet.weights.metadata import read_metadata
from tests.conftest import ROOT

BEFORE = ROOT / "tests" / "before"
RECIPE = kr.training.Recipe(
    epochs=3,
    batch_size=8,
    ema_decay=0.5,
    gradient_accumulation_steps=2,
    random_erase=0.2,
    auto_augment="rand_augment",
    pad_and_crop=0.1,
    validation_split=0.25,
    train_sizes=(8,),
    eval_size=8,
    loss="binary_crossentropy",
    optimizer="adamw",
    learning_rate=1e-3,
)


@pytest.fixture
def images():
    pixels = np.random.default_rng(0).integers(0, 256, (48, 8, 8, 1)).astype("uint8")
    return kr.data.from_arrays(pixels, np.arange(48) % 3, ("a", "b", "c"))


def test_a_saved_network_gives_its_answers():
    model = keras.saving.load_model(BEFORE / "model.keras")
    with np.load(BEFORE / "answers.npz") as saved:
        np.testing.assert_allclose(model(saved["images"], training=False), saved["answers"], atol=1e-5)


def test_a_recipe_has_its_values_under_the_new_names():
    assert recipe_of(json.loads((BEFORE / "recipe.json").read_text())["recipe"]) == RECIPE


def test_the_metadata_of_weights_names_their_form():
    checkpoint = read_metadata(BEFORE / "card.safetensors")
    assert (checkpoint.model, checkpoint.tag, checkpoint.form) == ("ResNet20", "akamaster", "akamaster")


@pytest.mark.slow
def test_a_stopped_training_goes_on_to_the_same_end(images, tmp_path):
    shutil.copytree(BEFORE / "run", tmp_path / "run")
    model = kr.ResNet((1, 1), kr.residual_block, filters=(4, 8), stem=kr.stems.cifar, input_shape=(8, 8, 1), classes=3)
    result = kr.training.fit(model, RECIPE, images, directory=tmp_path / "run")
    assert len(result.history["loss"]) == 3
    with np.load(BEFORE / "end.npz") as end:
        for weight, expected in zip(model.get_weights(), end.values(), strict=True):
            np.testing.assert_allclose(weight, expected, atol=1e-3)  # processors round differently


@pytest.mark.slow
def test_a_search_is_found_finished(tmp_path):
    shutil.copytree(BEFORE / "search", tmp_path / "search")
    row = kr.zoo.ROWS["ResNet20"]
    row = dataclasses.replace(row, fields={**row.fields, "depths": (1,), "filters": (4,)})
    recipe = kr.training.Recipe(epochs=1, batch_size=16, validation_split=0.25, pad_and_crop=0.0)
    space = kr.HyperResNet((8, 8, 1), 3, base=row, max_macs=1e6, tune=("depth", "optimizer"), recipe=recipe)
    tuner = kr.tuning.RandomSearch(
        space, "val_accuracy", max_trials=2, seed=1, directory=tmp_path, project_name="search"
    )
    assert tuner.remaining_trials == 0
    assert len(kr.tuning.trial_results(tuner)) == 2


def test_a_search_with_a_reward_is_the_same_under_new_names(tmp_path):
    reward = kr.tuning.mnasnet_reward("latency", 5.0)
    before = {"reward": repr(reward).replace("MnasNetReward", "Limited"), "base": "kr.ResNet(strided=1)"}
    (tmp_path / "search.json").write_text(json.dumps(before))
    persistence.check(tmp_path, {"reward": repr(reward), "base": "kr.ResNet(stride_in='1x1')"})
    with pytest.raises(ValueError, match="whose reward is not the same"):
        persistence.check(tmp_path, {"reward": "another", "base": "kr.ResNet(stride_in='1x1')"})
