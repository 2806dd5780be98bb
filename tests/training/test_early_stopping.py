"""Early stopping: it ends a training where Keras' callback does, also after a resume, and the run is finished then."""

import dataclasses
import json
import signal

import keras
import numpy as np
import pytest

from keras_resnet.training import run
from keras_resnet.training.early_stopping import has_stopped_rising
from keras_resnet.training.resuming import Stopped
from tests.conftest import UNTRACED
from tests.small_training import small_and_eager
from tests.training.test_resuming import PLAIN, STEPS, AtStep, die, fit

pytestmark = UNTRACED


def epochs_of_keras(accuracies, patience):
    """After how many epochs the callback of Keras stops."""
    callback = keras.callbacks.EarlyStopping("val_accuracy", mode="max", patience=patience)
    callback.set_model(keras.Sequential())
    callback.model.stop_training = False
    callback.on_train_begin()
    for epoch, accuracy in enumerate(accuracies):
        callback.on_epoch_end(epoch, {"val_accuracy": accuracy})
        if callback.model.stop_training:
            return epoch + 1
    return None


@pytest.mark.parametrize("patience", [1, 2, 5])
def test_it_stops_after_the_epoch_after_which_keras_stops(patience, rng):
    for accuracies in rng.integers(0, 6, (40, 12)) / 6:  # with ties
        ends = [n for n in range(1, 13) if has_stopped_rising(accuracies[:n], patience)]
        assert (ends[0] if ends else None) == epochs_of_keras(accuracies, patience)


def test_zero_is_no_early_stopping_and_nan_is_no_rise():
    assert not has_stopped_rising([0.9, *[0.1] * 99], 0)
    assert has_stopped_rising([0.9, np.nan, 0.1], 2)
    assert not has_stopped_rising([0.1, np.nan, 0.9], 2)


def test_without_validation_images_it_is_refused():
    recipe = dataclasses.replace(PLAIN, early_stopping=2, validation_split=0.0)
    with pytest.raises(ValueError, match="early_stopping must be 0 without validation images.*early_stopping=2, val"):
        fit(recipe)


# With a rate of nearly zero the accuracy does not rise after the first epoch.
STUCK = dataclasses.replace(PLAIN, epochs=9, early_stopping=2, learning_rate=1e-12, warmup=0.0)


@pytest.mark.slow
def test_a_resumed_training_stops_after_the_same_epoch_with_the_same_weights(tmp_path, eager):
    weights, result = fit(STUCK)
    assert len(result.history["loss"]) == 3
    assert result.best_epoch == 1
    # The rate is that of all nine epochs.
    assert result.history["learning_rate"][-1] == pytest.approx(1e-12 * (1 + np.cos(np.pi * 3 / 9)) / 2, rel=1e-4)
    with pytest.raises(Stopped):
        fit(STUCK, tmp_path, [AtStep(2 * STEPS + 1, die(signal.SIGTERM))])
    resumed_weights, resumed = fit(STUCK, tmp_path)
    assert resumed.history == result.history
    for one, two in zip(weights, resumed_weights, strict=True):
        np.testing.assert_array_equal(one, two)
    _, again = fit(STUCK, tmp_path, [AtStep(1, lambda: pytest.fail("trained again"))])
    assert again.history == result.history
    with pytest.raises(
        ValueError, match="holds a training with epochs=9, an end after epoch 3, by early_stopping or a callback"
    ):
        fit(dataclasses.replace(STUCK, epochs=20), tmp_path)


@pytest.mark.slow
def test_a_training_whose_accuracy_stops_rising_in_its_last_epoch_can_be_longer(tmp_path, eager):
    fit(dataclasses.replace(STUCK, epochs=3), tmp_path)
    _, longer = fit(STUCK, tmp_path)
    assert len(longer.history["loss"]) == 4


@pytest.mark.slow
def test_a_run_that_stopped_early_is_finished(tmp_path):
    recipe = dataclasses.replace(STUCK, batch_size=512, early_stopping=1)
    lines = []
    with small_and_eager():
        task = run.Task("ResNet20", "digits", recipe, 8)
        found = run.train(task, tmp_path / "run", write_line=lines.append)
        assert found.epochs == json.loads((tmp_path / "run" / "run.json").read_text())["epochs"] == 2
        assert lines[-1] == "early_stopping=1 ended the training after epoch 2 of 9"
        assert run.train(task, tmp_path / "run", write_line=lines.append) == found
        assert "is finished; nothing to do" in lines[-1]
        with pytest.raises(
            ValueError, match="an end after epoch 2, by early_stopping.*; a new training can start from"
        ):
            run.train(dataclasses.replace(task, recipe=dataclasses.replace(recipe, epochs=20)), tmp_path / "run")


@pytest.mark.slow
def test_a_callback_that_ends_a_training_is_not_early_stopping(tmp_path):
    task = run.Task("ResNet20", "digits", dataclasses.replace(STUCK, batch_size=512), 8)
    lines = []
    with small_and_eager():
        end = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: setattr(end.model, "stop_training", True))
        assert run.train(task, tmp_path / "run", [end], write_line=lines.append).epochs == 1
    assert not [line for line in lines if "early_stopping" in line]
