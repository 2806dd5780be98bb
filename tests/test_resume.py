"""A training that is killed or stopped ends as one that was not: the same weights, the same history."""

import csv
import dataclasses
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

import keras_resnet as kr
from keras_resnet.data import from_arrays
from keras_resnet.training import checkpoints, keeping
from keras_resnet.training.optimizers import optimizer
from tests.conftest import ROOT

EPOCHS, STEPS = 3, 4
# With everything that has a state of its own: momentum, average, dropping, loss scale, augmentation, mixing.
BUSY = kr.training.Recipe(
    epochs=EPOCHS,
    batch_size=16,
    ema=0.8,
    accumulate=1,
    flip=True,
    erase=0.3,
    mixup=0.2,
    cutmix=1.0,
    held_out=0.2,
    warmup=0.2,
    learning_rate=0.05,
)
RECIPES = {
    "sgd bfloat16": dataclasses.replace(BUSY, precision="bfloat16"),
    "lamb float16": dataclasses.replace(BUSY, optimizer="lamb", learning_rate=0.01, precision="float16", loss="binary"),
    "adamw accumulated, growing images": dataclasses.replace(
        BUSY, optimizer="adamw", learning_rate=0.01, accumulate=2, ema=0.0, sizes=(8, 12), test_size=12
    ),
}


def images():
    rng = np.random.default_rng(0)
    labels = np.arange(80) % 2
    pixels = labels[:, None, None, None] * 60 + rng.integers(0, 190, (80, 8, 8, 1))
    return from_arrays(pixels.astype("uint8"), labels, ("dark", "bright"))


def network(recipe):
    keras.utils.set_random_seed(1)
    side = None if recipe.sizes else 8
    return kr.ResNet(
        (1, 2),
        kr.residual_block,
        filters=(8, 8),
        stem=kr.stems.cifar,
        input_shape=(side, side, 1),
        classes=2,
        stochastic_depth=0.3,
        drop_rate=0.2,
    )


class At(keras.callbacks.Callback):
    """Does something at a step, counted over all epochs of this process."""

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


def main(name, directory, step):
    """In a process of its own: trains, is killed at a step if that is not 0, or leaves the result."""
    callbacks = [At(int(step), die(signal.SIGKILL))] if int(step) else []
    weights, result = fit(RECIPES[name], directory, callbacks)
    np.savez(f"{directory}/weights.npz", *weights)
    said = {"history": result.history, "best_epoch": result.best_epoch}
    Path(directory, "result.json").write_text(json.dumps(said))


def process(name, directory, step):
    directory.mkdir(exist_ok=True)
    command = [sys.executable, "-m", "tests.test_resume", name, str(directory), str(step)]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)


def outcome(directory):
    with np.load(directory / "weights.npz") as weights:
        return [weights[name] for name in weights.files], json.loads((directory / "result.json").read_text())


@pytest.mark.parametrize("name", RECIPES)
def test_a_training_that_is_killed_in_any_epoch_ends_as_if_it_had_not_been(name, tmp_path):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert process(name, whole, 0).returncode == 0
    for step in (
        2,
        STEPS + 3,
        STEPS + 1,
    ):  # in the first epoch; in the second, after its first was done again; in the last
        assert process(name, killed, step).returncode == -signal.SIGKILL
    last = process(name, killed, 0)
    assert last.returncode == 0, last.stderr
    (weights, result), (again, other) = outcome(whole), outcome(killed)
    assert other == result
    assert len(result["history"]["loss"]) == EPOCHS
    for one, two in zip(weights, again, strict=True):
        np.testing.assert_array_equal(one, two)
    assert (killed / "history.csv").read_text() == (whole / "history.csv").read_text()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("step", [1, STEPS, STEPS + 2])
def test_a_signal_saves_in_mid_epoch_and_the_rest_follows(number, step, tmp_path):
    recipe = RECIPES["sgd bfloat16"]
    weights, result = fit(recipe)
    before = signal.getsignal(number)
    with pytest.raises(keeping.Stopped, match=f"stopped by {number.name} in epoch .* the same call goes on"):
        fit(recipe, tmp_path, [At(step, die(number))])
    assert signal.getsignal(number) is before
    assert checkpoints.newest(tmp_path / "checkpoints").path.name == str(step)
    again, resumed = fit(recipe, tmp_path)
    assert resumed.history == result.history
    for one, two in zip(weights, again, strict=True):
        np.testing.assert_array_equal(one, two)


def test_a_signal_without_a_directory_just_stops():
    with pytest.raises(KeyboardInterrupt, match="stopped by SIGINT in epoch 1, step 2 of 4$"):
        fit(RECIPES["sgd bfloat16"], None, [At(2, die(signal.SIGINT))])


class SpoiltAt(keras.callbacks.Callback):
    """Makes a weight infinite after a step."""

    def __init__(self, step):
        super().__init__()
        self.left = step

    def on_train_batch_end(self, batch, logs=None):
        self.left -= 1
        if self.left == 0:
            self.model.trainable_variables[0].assign(np.full(self.model.trainable_variables[0].shape, np.inf))


def test_a_weight_that_is_no_number_is_not_saved(tmp_path):
    recipe = dataclasses.replace(RECIPES["sgd bfloat16"], held_out=0.0)
    steps = 80 // recipe.batch_size
    assert steps == STEPS + 1
    with pytest.raises(ValueError, match=r"a weight is no finite .*last good checkpoint is .*checkpoints/5"):
        fit(recipe, tmp_path, [SpoiltAt(2 * steps)])
    assert checkpoints.newest(tmp_path / "checkpoints").state["epoch"] == 1


class Poison(keras.callbacks.Callback):
    """Makes a weight infinite at the beginning of an epoch."""

    def __init__(self, epoch):
        super().__init__()
        self.epoch = epoch

    def on_epoch_begin(self, epoch, logs=None):
        if epoch == self.epoch:
            self.model.trainable_variables[0].assign(np.full(self.model.trainable_variables[0].shape, np.inf))


def test_a_loss_that_is_no_number_ends_the_training_and_the_last_good_checkpoint_stays(tmp_path):
    recipe = dataclasses.replace(RECIPES["sgd bfloat16"], epochs=4)
    with pytest.raises(
        ValueError, match=r"the loss, nan, is no finite .* epoch 3, step 4.*last good checkpoint is .*checkpoints/8"
    ):
        fit(recipe, tmp_path, [Poison(2)])
    kept = checkpoints.newest(tmp_path / "checkpoints")
    assert kept.state["epoch"] == 2
    assert all(np.isfinite(array).all() for array in kept.arrays.values())
    assert len((tmp_path / "history.csv").read_text().splitlines()) == 3


def test_a_training_that_learns_too_fast_says_so():
    recipe = dataclasses.replace(RECIPES["sgd bfloat16"], learning_rate=1e30, epochs=9, warmup=0.0)
    with pytest.raises(
        ValueError, match=r"the loss, (nan|inf), is no .* epoch \d.*a lower learning_rate.*No checkpoint"
    ):
        fit(recipe)


def test_a_directory_of_another_training_is_refused(tmp_path):
    recipe = RECIPES["sgd bfloat16"]
    with pytest.raises(keeping.Stopped):
        fit(recipe, tmp_path, [At(1, die(signal.SIGTERM))])
    with pytest.raises(ValueError, match="same settings. Received: .*, where learning_rate, weight_decay is another"):
        fit(dataclasses.replace(recipe, learning_rate=0.5, weight_decay=0.1), tmp_path)


def test_a_finished_training_is_not_done_again(tmp_path):
    recipe = RECIPES["sgd bfloat16"]
    weights, result = fit(recipe, tmp_path)
    again, resumed = fit(recipe, tmp_path, [At(1, lambda: pytest.fail("trained again"))])
    assert resumed.history == result.history
    for one, two in zip([*weights, *result.last_weights], [*again, *resumed.last_weights], strict=True):
        np.testing.assert_array_equal(one, two)


def test_the_best_epoch_on_held_out_images_is_the_result():
    recipe = dataclasses.replace(BUSY, epochs=6, ema=0.0, mixup=0.0, cutmix=0.0)
    weights, result = fit(recipe)
    accuracies = result.history["val_accuracy"]
    assert result.best_epoch == 1 + int(np.argmax(accuracies))
    model = network(recipe)
    model.set_weights(weights)
    _, held_out = images().hold_out(recipe.held_out, recipe.seed)
    assert kr.training.evaluate(model, held_out) == pytest.approx(max(accuracies), abs=1e-6)
    model.set_weights(result.last_weights)
    assert kr.training.evaluate(model, held_out) == pytest.approx(accuracies[-1], abs=1e-6)


def test_the_average_of_the_weights_is_what_is_measured_and_what_results():
    recipe = dataclasses.replace(BUSY, ema=0.5, held_out=0.0, mixup=0.0, cutmix=0.0)
    model, split = network(recipe), images()
    result = kr.training.fit(model, recipe, split, split)
    assert kr.training.evaluate(model, split) == pytest.approx(result.history["val_accuracy"][-1], abs=1e-6)
    plain = network(recipe)
    kr.training.fit(plain, dataclasses.replace(recipe, ema=0.0), split, split)
    assert any(not np.array_equal(a, b) for a, b in zip(model.get_weights(), plain.get_weights(), strict=True))


class Statistics(keras.callbacks.Callback):
    """What the batch norms' statistics are at the end of each epoch's last step."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def on_train_batch_end(self, batch, logs=None):
        if batch == self.params["steps"] - 1:
            self.seen.append([np.array(variable) for variable in statistics(self.model)])


def statistics(model):
    return [variable for variable in model.variables if variable.name in ("moving_mean", "moving_variance")]


@pytest.mark.parametrize("accumulate", [1, 2])
def test_statistics_of_batch_norm_are_averaged_as_the_weights_are(accumulate):
    recipe = dataclasses.replace(BUSY, ema=0.5, held_out=0.0, accumulate=accumulate)
    model, split, latest = network(recipe), images(), Statistics()
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
        recipe = dataclasses.replace(BUSY, ema=0.9, accumulate=accumulate, optimizer="sgd", weight_decay=0.0)
        weight = keras.Variable([10.0])
        made = optimizer(dataclasses.replace(recipe, momentum=0.0, nesterov=False), 1.0)
        made.build([weight])
        for _ in range(10 * accumulate):
            made.apply([keras.ops.ones(1)], [weight])
        ends.append((float(weight[0]), float(made._model_variables_moving_average[0][0])))
    assert ends[0][0] == ends[1][0] == 0.0
    # By hand: Keras begins with the weights of the first update; accumulated, an update shows in its last step alone.
    average = slowly = 9.0
    for value in range(8, -1, -1):
        average = 0.9 * average + 0.1 * value
        slowly = 0.9**0.75 * slowly + (1 - 0.9**0.75) * (value + 1)
        slowly = 0.9**0.25 * slowly + (1 - 0.9**0.25) * value
    assert [end[1] for end in ends] == pytest.approx([average, slowly], abs=1e-4)


def test_more_accumulated_than_there_are_steps_is_refused():
    with pytest.raises(ValueError, match="accumulate must be at most the 12 steps there are. Received: 13"):
        fit(dataclasses.replace(BUSY, accumulate=13))


def test_a_callback_can_end_the_training_for_good(tmp_path):
    def stop():
        callback.model.stop_training = True

    callback = At(STEPS + 1, stop)
    _, result = fit(BUSY, tmp_path, [callback])
    assert len(result.history["loss"]) == 2 < EPOCHS
    _, again = fit(BUSY, tmp_path, [At(1, lambda: pytest.fail("trained again"))])
    assert again.history == result.history


@pytest.mark.parametrize("directory", [None, "run"])
def test_seconds_are_counted_with_and_without_a_directory(directory, tmp_path):
    _, result = fit(BUSY, directory and tmp_path / directory)
    assert result.seconds > 0


class Sometimes(keras.callbacks.Callback):
    """Logs something of every second epoch."""

    def on_epoch_end(self, epoch, logs=None):
        if epoch % 2:
            logs["odd"] = 1.0


def test_what_is_not_logged_in_every_epoch_has_gaps_in_the_history(tmp_path):
    _, result = fit(BUSY, tmp_path, [Sometimes()])
    np.testing.assert_equal(result.history["odd"], [np.nan, 1.0, np.nan])
    with (tmp_path / "history.csv").open(newline="") as file:
        assert [row["odd"] for row in csv.DictReader(file)] == ["", "1.0", ""]


def test_two_trainings_do_not_share_a_directory(tmp_path):
    def again():
        with pytest.raises(ValueError, match="one training at a time. Received: .*, where another process trains"):
            fit(BUSY, tmp_path)

    _, result = fit(BUSY, tmp_path, [At(1, again)])
    assert len(result.history["loss"]) == EPOCHS


PLAIN = """
import sys, keras
for path in sys.argv[1:]:
    model = keras.saving.load_model(path)
    assert {layer.dtype_policy.name for layer in model.layers} == {"float32"}, path
assert "keras_resnet" not in sys.modules
"""


def test_what_is_saved_in_and_after_a_training_is_plain_keras(tmp_path):
    recipe = dataclasses.replace(RECIPES["sgd bfloat16"], epochs=1)
    model = network(recipe)
    save = keras.callbacks.ModelCheckpoint(tmp_path / "inside.keras")
    kr.training.fit(model, recipe, images(), callbacks=[save])
    model.save(tmp_path / "after.keras")
    files = [str(tmp_path / "inside.keras"), str(tmp_path / "after.keras")]
    # A block with stochastic depth is a layer of ours; the rest are Keras'.
    subprocess.run([sys.executable, "-c", PLAIN, *files], check=True, cwd=tmp_path)


if __name__ == "__main__":
    main(*sys.argv[1:])
