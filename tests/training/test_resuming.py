"""A training that was killed or stopped, and resumed, has the same final weights and history as one without a stop."""

import csv
import dataclasses
import functools
import json
import os
import signal
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_resnet as kr
from keras_resnet.data import from_arrays
from keras_resnet.training import checkpoints, resuming
from keras_resnet.training.optimizers import optimizer
from tests import processes
from tests.conftest import UNTRACED

pytestmark = UNTRACED

EPOCHS, STEPS = 3, 4
PLAIN = kr.training.Recipe(
    epochs=EPOCHS, batch_size=16, pad_and_crop=0.0, validation_split=0.2, warmup=0.2, learning_rate=0.05
)
# With all features that have a state: momentum, weight average, dropout, loss scale, augmentation, mixing.
BUSY = dataclasses.replace(PLAIN, ema_decay=0.8, pad_and_crop=0.1, flip=True, random_erase=0.3, mixup=0.2, cutmix=1.0)
SGD, LAMB, ADAMW = "sgd bfloat16", "lamb float16", "adamw accumulated, growing images"
RECIPES = {
    SGD: dataclasses.replace(BUSY, precision="bfloat16"),
    LAMB: dataclasses.replace(
        PLAIN, optimizer="lamb", learning_rate=0.01, precision="float16", loss="binary_crossentropy", ema_decay=0.8
    ),
    ADAMW: dataclasses.replace(
        PLAIN,
        optimizer="adamw",
        learning_rate=0.01,
        gradient_accumulation_steps=2,
        train_sizes=(8, 12),
        eval_size=12,
        flip=True,
    ),
}
# Tracing takes most of the time of a short training, so only one recipe is traced: the one with the most states.
TRACED = SGD


def images():
    rng = np.random.default_rng(0)
    labels = np.arange(80) % 2
    pixels = labels[:, None, None, None] * 60 + rng.integers(0, 190, (80, 8, 8, 1))
    return from_arrays(pixels.astype("uint8"), labels, ("dark", "bright"))


def network(recipe):
    keras.utils.set_random_seed(1)
    side = None if recipe.train_sizes else 8
    return kr.ResNet(
        (1,),
        kr.residual_block,
        filters=(8,),
        stem=kr.stems.cifar,
        input_shape=(side, side, 1),
        classes=2,
        stochastic_depth=0.3,
        drop_rate=0.2,
    )


class AtStep(keras.callbacks.Callback):
    """Runs an action after a number of steps of this process."""

    def __init__(self, step, action):
        super().__init__()
        self.left, self.action = step, action

    def on_train_batch_end(self, batch, logs=None):
        self.left -= 1
        if self.left == 0:
            self.action()


def fit(recipe, directory=None, callbacks=()):
    model = network(recipe)
    result = kr.training.fit(model, recipe, images(), callbacks=callbacks, directory=directory)
    return model.get_weights(), result


def die(number):
    return lambda: os.kill(os.getpid(), number)


def train_until_killed(directory, steps):
    """Trains several recipes, and kills the process. One kill stops all trainings, because each runs inside another.

    At its last step a training starts the next one; the last training kills the process.

    Args:
        directory: the parent of the directories of the trainings.
        steps: the last step of each recipe, by its name.
    """
    (name, step), *others = steps.items()
    tf.config.run_functions_eagerly(name != TRACED)
    action = functools.partial(train_until_killed, directory, dict(others)) if others else die(signal.SIGKILL)
    fit(RECIPES[name], Path(directory, name), [AtStep(step, action)])


KILLED = """
import json, sys
from tests.training.test_resuming import train_until_killed
train_until_killed(sys.argv[1], json.loads(sys.argv[2]))
"""


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    """A directory with a training of each recipe. Each training was killed once or twice."""
    directory = tmp_path_factory.mktemp("killed")
    # SGD is killed in its first and last epoch, LAMB in its second epoch, ADAMW in its second and last epoch.
    for steps in ({SGD: 2, ADAMW: STEPS + 3}, {SGD: 2 * STEPS + 1, LAMB: STEPS + 3, ADAMW: STEPS + 1}):
        ended = processes.python("-c", KILLED, directory, json.dumps(steps))
        assert ended.returncode == -signal.SIGKILL, ended.stderr
    return directory


@pytest.mark.slow
@pytest.mark.processes
@pytest.mark.parametrize(("name", "epochs"), [(SGD, 2), (LAMB, 1), (ADAMW, 2)])
def test_a_training_that_is_killed_in_any_epoch_ends_as_if_it_had_not_been(name, epochs, killed, tmp_path, request):
    if name != TRACED:
        request.getfixturevalue("eager")
    weights, result = fit(RECIPES[name], tmp_path)
    assert checkpoints.newest(killed / name / "checkpoints").state["epoch"] == epochs
    resumed_weights, resumed = fit(RECIPES[name], killed / name)
    assert (resumed.history, resumed.best_epoch) == (result.history, result.best_epoch)
    assert len(result.history["loss"]) == EPOCHS
    for one, two in zip([*weights, *result.last_weights], [*resumed_weights, *resumed.last_weights], strict=True):
        np.testing.assert_array_equal(one, two)
    assert (killed / name / "history.csv").read_text() == (tmp_path / "history.csv").read_text()


@pytest.mark.slow
def test_signals_save_in_mid_epoch_and_the_rest_follows(tmp_path, eager):
    recipe = dataclasses.replace(PLAIN, ema_decay=0.8, flip=True, epochs=2)
    weights, result = fit(recipe)
    assert result.seconds > 0
    # Stops in the first epoch, at its end, and in the second epoch.
    for number, steps, saved in (
        (signal.SIGTERM, 1, 1),
        (signal.SIGINT, STEPS - 1, STEPS),
        (signal.SIGTERM, 2, STEPS + 2),
    ):
        before = signal.getsignal(number)
        with pytest.raises(resuming.Stopped, match=f"stopped by {number.name} in epoch .* the same call continues"):
            fit(recipe, tmp_path, [AtStep(steps, die(number))])
        assert signal.getsignal(number) is before
        assert checkpoints.newest(tmp_path / "checkpoints").path.name == str(saved)
    resumed_weights, resumed = fit(recipe, tmp_path)
    assert resumed.history == result.history
    for one, two in zip(weights, resumed_weights, strict=True):
        np.testing.assert_array_equal(one, two)


@pytest.mark.slow
def test_a_signal_without_a_directory_just_stops(eager):
    with pytest.raises(KeyboardInterrupt, match="stopped by SIGINT in epoch 1, step 1 of 5$"):
        fit(dataclasses.replace(PLAIN, validation_split=0.0), None, [AtStep(1, die(signal.SIGINT))])


class InfiniteWeightAfterStep(keras.callbacks.Callback):
    """Makes a weight infinite after a step."""

    def __init__(self, step):
        super().__init__()
        self.left = step

    def on_train_batch_end(self, batch, logs=None):
        self.left -= 1
        if self.left == 0:
            self.model.trainable_variables[0].assign(np.full(self.model.trainable_variables[0].shape, np.inf))


@pytest.mark.slow
def test_a_weight_that_is_no_number_is_not_saved(tmp_path, eager):
    recipe = dataclasses.replace(PLAIN, validation_split=0.0)
    steps = 80 // recipe.batch_size
    assert steps == STEPS + 1
    with pytest.raises(ValueError, match=r"a weight is not a finite .*last good checkpoint is .*checkpoints/5"):
        fit(recipe, tmp_path, [InfiniteWeightAfterStep(2 * steps)])
    assert checkpoints.newest(tmp_path / "checkpoints").state["epoch"] == 1


class InfiniteWeightAtEpoch(keras.callbacks.Callback):
    """Makes a weight infinite at the beginning of an epoch."""

    def __init__(self, epoch):
        super().__init__()
        self.epoch = epoch

    def on_epoch_begin(self, epoch, logs=None):
        if epoch == self.epoch:
            self.model.trainable_variables[0].assign(np.full(self.model.trainable_variables[0].shape, np.inf))


@pytest.mark.slow
def test_a_loss_that_is_no_number_ends_the_training_and_the_last_good_checkpoint_stays(tmp_path, eager):
    with pytest.raises(
        ValueError, match=r"the loss, nan, is not a finite .* epoch 2, step 4.*last good checkpoint is .*checkpoints/4"
    ):
        fit(PLAIN, tmp_path, [InfiniteWeightAtEpoch(1)])
    kept = checkpoints.newest(tmp_path / "checkpoints")
    assert kept.state["epoch"] == 1
    assert all(np.isfinite(array).all() for array in kept.arrays.values())
    assert len((tmp_path / "history.csv").read_text().splitlines()) == 2


@pytest.mark.slow
def test_a_training_that_learns_too_fast_says_so(eager):
    recipe = dataclasses.replace(PLAIN, validation_split=0.0, learning_rate=1e30, epochs=9, warmup=0.0)
    with pytest.raises(
        ValueError, match=r"the loss, (nan|inf), is not .* epoch \d.*a lower learning_rate.*No checkpoint"
    ):
        fit(recipe)


@pytest.mark.slow
def test_a_directory_of_another_training_is_refused(tmp_path, eager):
    recipe = PLAIN
    with pytest.raises(resuming.Stopped):
        fit(recipe, tmp_path, [AtStep(1, die(signal.SIGTERM))])
    with pytest.raises(ValueError, match="same settings. Received: .* with learning_rate=0.05, weight_decay=0.0005"):
        fit(dataclasses.replace(recipe, learning_rate=0.5, weight_decay=0.1), tmp_path)


@pytest.mark.slow
def test_a_finished_training_is_not_done_again(tmp_path, eager):
    recipe = dataclasses.replace(PLAIN, epochs=2)
    weights, result = fit(recipe, tmp_path)
    assert result.seconds > 0
    resumed_weights, resumed = fit(recipe, tmp_path, [AtStep(1, lambda: pytest.fail("trained again"))])
    assert (resumed.history, resumed.seconds) == (result.history, result.seconds)
    for one, two in zip([*weights, *result.last_weights], [*resumed_weights, *resumed.last_weights], strict=True):
        np.testing.assert_array_equal(one, two)


@pytest.mark.slow
def test_the_best_epoch_on_held_out_images_is_the_result(eager):
    recipe = dataclasses.replace(PLAIN, epochs=4)
    weights, result = fit(recipe)
    accuracies = result.history["val_accuracy"]
    assert result.best_epoch == 1 + int(np.argmax(accuracies))
    model = network(recipe)
    model.set_weights(weights)
    _, held_out = images().hold_out(recipe.validation_split, recipe.seed)
    assert kr.training.evaluate(model, held_out) == pytest.approx(max(accuracies), abs=1e-6)
    model.set_weights(result.last_weights)
    assert kr.training.evaluate(model, held_out) == pytest.approx(accuracies[-1], abs=1e-6)


@pytest.mark.slow
def test_the_average_of_the_weights_is_what_is_measured_and_what_results(eager):
    recipe = dataclasses.replace(PLAIN, ema_decay=0.5, validation_split=0.0, epochs=1)
    model, split = network(recipe), images()
    result = kr.training.fit(model, recipe, split, split)
    assert kr.training.evaluate(model, split) == pytest.approx(result.history["val_accuracy"][-1], abs=1e-6)


@pytest.mark.slow
def test_what_is_averaged_trains_as_what_is_not(eager):
    recipe = dataclasses.replace(PLAIN, ema_decay=0.5, epochs=2)
    weights, result = fit(recipe)
    plain_weights, plain = fit(dataclasses.replace(recipe, ema_decay=0.0))
    np.testing.assert_allclose(result.history["loss"], plain.history["loss"], rtol=1e-5)
    assert any(not np.array_equal(one, two) for one, two in zip(weights, plain_weights, strict=True))


class RecordStatistics(keras.callbacks.Callback):
    """Records the statistics of the batch norms after the last step of each epoch."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def on_train_batch_end(self, batch, logs=None):
        if batch == self.params["steps"] - 1:
            self.seen.append([np.array(variable) for variable in statistics(self.model)])


def statistics(model):
    return [variable for variable in model.variables if variable.name in ("moving_mean", "moving_variance")]


@pytest.mark.slow
@pytest.mark.parametrize("accumulate", [1, 2])
def test_statistics_of_batch_norm_are_averaged_as_the_weights_are(accumulate, eager):
    recipe = dataclasses.replace(PLAIN, ema_decay=0.5, validation_split=0.0, gradient_accumulation_steps=accumulate)
    model, split, latest = network(recipe), images(), RecordStatistics()
    kr.training.fit(model, recipe, split, callbacks=[latest])
    steps = kr.data.steps_per_epoch(split, recipe.batch_size)
    expected = latest.seen[0]
    for values in latest.seen[1:]:
        kept = 0.5 ** (steps / accumulate)
        expected = [kept * mean + (1 - kept) * value for mean, value in zip(expected, values, strict=True)]
    for variable, value in zip(statistics(model), expected, strict=True):
        np.testing.assert_allclose(variable, value, rtol=1e-5, atol=1e-6)


def test_the_average_moves_by_updates_where_steps_are_accumulated():
    ends = []
    for accumulate in (1, 4):
        recipe = dataclasses.replace(
            PLAIN, ema_decay=0.9, gradient_accumulation_steps=accumulate, optimizer="sgd", weight_decay=0.0
        )
        weight = keras.Variable([10.0])
        opt = optimizer(dataclasses.replace(recipe, momentum=0.0, nesterov=False), 1.0)
        opt.build([weight])
        for _ in range(10 * accumulate):
            opt.apply([keras.ops.ones(1)], [weight])
        ends.append((float(weight[0]), float(opt._model_variables_moving_average[0][0])))
    assert ends[0][0] == ends[1][0] == 0.0
    # Computed by hand. Keras starts the average with the weights after the first update. With accumulation the average
    # changes at each step, but the weight changes only at the last step of an update.
    average = accumulated = 9.0
    for value in range(8, -1, -1):
        average = 0.9 * average + 0.1 * value
        accumulated = 0.9**0.75 * accumulated + (1 - 0.9**0.75) * (value + 1)
        accumulated = 0.9**0.25 * accumulated + (1 - 0.9**0.25) * value
    assert [end[1] for end in ends] == pytest.approx([average, accumulated], abs=1e-4)


def test_more_accumulated_than_there_are_steps_is_refused():
    with pytest.raises(
        ValueError, match="gradient_accumulation_steps must be at most 12, .* Received: gradient_accumulation_steps=13"
    ):
        fit(dataclasses.replace(PLAIN, gradient_accumulation_steps=13))


@pytest.mark.slow
def test_a_callback_can_end_the_training_for_good(tmp_path, eager):
    def stop():
        callback.model.stop_training = True

    callback = AtStep(STEPS + 1, stop)
    _, result = fit(PLAIN, tmp_path, [callback])
    assert len(result.history["loss"]) == 2 < EPOCHS
    _, resumed = fit(PLAIN, tmp_path, [AtStep(1, lambda: pytest.fail("trained again"))])
    assert resumed.history == result.history


class LogEverySecondEpoch(keras.callbacks.Callback):
    """Logs a value in every second epoch."""

    def on_epoch_end(self, epoch, logs=None):
        if epoch % 2:
            logs["odd"] = 1.0


@pytest.mark.slow
def test_what_is_not_logged_in_every_epoch_has_gaps_in_the_history(tmp_path, eager):
    _, result = fit(dataclasses.replace(PLAIN, validation_split=0.0, batch_size=80), tmp_path, [LogEverySecondEpoch()])
    np.testing.assert_equal(result.history["odd"], [np.nan, 1.0, np.nan])
    with (tmp_path / "history.csv").open(newline="") as file:
        assert [row["odd"] for row in csv.DictReader(file)] == ["", "1.0", ""]


@pytest.mark.slow
def test_two_trainings_do_not_share_a_directory(tmp_path, eager):
    recipe = dataclasses.replace(PLAIN, validation_split=0.0, epochs=1)

    def train_in_same_directory():
        with pytest.raises(
            ValueError, match="one training at a time; .* Received: .*, which a training of another process uses"
        ):
            fit(recipe, tmp_path)

    _, result = fit(recipe, tmp_path, [AtStep(1, train_in_same_directory)])
    assert len(result.history["loss"]) == recipe.epochs


PLAIN_KERAS = """
import sys, keras
for path in sys.argv[1:]:
    model = keras.saving.load_model(path)
    assert {layer.dtype_policy.name for layer in model.layers} == {"float32"}, path
assert "keras_resnet" not in sys.modules
"""


@pytest.mark.slow
@pytest.mark.processes
def test_what_is_saved_in_and_after_a_training_is_plain_keras(tmp_path, eager):
    recipe = dataclasses.replace(PLAIN, precision="bfloat16", ema_decay=0.8, epochs=1)
    model = network(recipe)
    save = keras.callbacks.ModelCheckpoint(tmp_path / "inside.keras")
    kr.training.fit(model, recipe, images(), callbacks=[save])
    model.save(tmp_path / "after.keras")
    processes.printed(processes.python("-c", PLAIN_KERAS, tmp_path / "inside.keras", tmp_path / "after.keras"))
