"""The search for a learning rate: its steps are those of the recipe at a rising rate, and the model stays as it is."""

import csv
import dataclasses
import types

import keras
import numpy as np
import pytest

import keras_resnet as kr
from keras_resnet.training import Recipe, batches, find_rate
from keras_resnet.training.distribution import Placement
from keras_resnet.training.optimizers import optimizer
from keras_resnet.training.rate_curve import write_rates
from keras_resnet.training.rate_finder import RANGES, RateCurve, _RisingRate
from keras_resnet.training.recipe import CHOICES
from tests.conftest import UNTRACED
from tests.training.test_resuming import images, network

pytestmark = UNTRACED

RECIPE = Recipe(batch_size=16, pad_and_crop=0.0, validation_split=0.2, learning_rate=0.05, flip=True)


def smoothed(losses):
    """The exponential moving average of arXiv:1412.6980, with decay 0.9."""
    average, found = 0, []
    for number, loss in enumerate(losses, 1):
        average = 0.9 * average + 0.1 * loss
        found.append(average / (1 - 0.9**number))
    return found


def test_each_optimizer_has_a_range():
    assert set(CHOICES["optimizer"]) <= set(RANGES)
    assert all(highest / lowest == pytest.approx(1e5) for lowest, highest in RANGES.values())


@pytest.mark.slow
def test_the_steps_are_those_of_the_recipe_at_a_rate_that_rises(eager):
    recipe, steps = dataclasses.replace(RECIPE, optimizer="adamw"), 24
    model = network(recipe)
    before = [variable.numpy() for variable in model.variables]
    # These fields are those of a whole training.
    whole = dataclasses.replace(recipe, early_stopping=1, unfreeze_epochs=1)
    found = find_rate(model, whole, images(), steps=steps)
    for variable, value in zip(model.variables, before, strict=True):
        np.testing.assert_array_equal(variable.numpy(), value)

    lowest, highest = RANGES["adamw"]
    rates = [lowest * (highest / lowest) ** (step / (steps - 1)) for step in range(steps)]
    keras.utils.set_random_seed(recipe.seed)
    model.compile(optimizer(recipe, lowest), keras.losses.CategoricalCrossentropy())
    train, _ = images().hold_out(0.2)
    losses = []
    pipeline = batches.training_batches(train, recipe, batches.ImageSizes((8,), 8), Placement(), 0, steps)
    for rate, (x, y) in zip(rates, pipeline):
        model.optimizer.learning_rate = rate
        model.reset_metrics()
        losses.append(float(model.train_on_batch(x, y, return_dict=True)["loss"]))
    count = len(found.losses)  # the loss may diverge
    assert count > 10
    np.testing.assert_allclose(found.rates, rates[:count], rtol=1e-5)
    np.testing.assert_allclose(found.losses, losses[:count], rtol=1e-3)
    np.testing.assert_allclose(found.smoothed, smoothed(found.losses))
    best = 2 + np.argmin(found.smoothed[2:])
    assert found.proposal == pytest.approx(found.rates[best] / 10, rel=0.05)


@pytest.mark.slow
def test_what_only_long_trainings_have_changes_nothing(eager):
    found = find_rate(network(RECIPE), RECIPE, images(), steps=20)
    recipe = dataclasses.replace(RECIPE, early_stopping=1, unfreeze_epochs=1, schedule="steps", warmup=0.5)
    assert find_rate(network(recipe), recipe, images(), steps=20) == found


@pytest.mark.slow
def test_a_teacher_is_part_of_the_loss(eager):
    teacher = network(RECIPE)
    found = find_rate(network(RECIPE), RECIPE, images(), steps=20)
    taught = find_rate(network(RECIPE), RECIPE, images(), steps=20, teacher=teacher)
    assert taught.losses[0] < 0.5 * found.losses[0]  # both networks begin with the same answers


def rise(losses, updates, repeats=1):
    """The callback after a training of one epoch with these losses, which it may end before."""
    rising = _RisingRate(0.001, 1.0, updates, repeats)
    rising.set_model(types.SimpleNamespace(stop_training=False))
    rising.on_epoch_begin(0)
    for batch in range(len(losses)):
        rising.on_train_batch_end(batch, {"loss": np.mean(losses[: batch + 1])})
        if rising.model.stop_training:
            break
    return rising


def test_the_proposal_is_a_tenth_of_the_rate_of_the_lowest_smoothed_loss():
    losses = [*np.linspace(2, 1, 15), *np.linspace(1, 2, 16)]
    rising = rise(losses, 31)
    curve = rising.curve()
    np.testing.assert_allclose(curve.rates, np.geomspace(0.001, 1, 31), rtol=1e-5)
    np.testing.assert_allclose(curve.losses, losses)
    lowest = np.argmin(smoothed(losses))
    assert lowest > 15  # the average comes later
    assert curve.proposal == float(f"{curve.rates[lowest] / 10:.2g}")


@pytest.mark.parametrize("end", [9.0, float("nan"), float("inf")])
def test_the_training_ends_when_the_loss_diverges(end):
    rising = rise([2.0, 1.5, *[1.0] * 10, *[end] * 88], 100)
    assert rising.model.stop_training
    average = smoothed([2.0, 1.5, *[1.0] * 10, *[9.0] * 10])
    over = next(number for number, value in enumerate(average) if value > 4 * min(average[: number + 1]))
    assert len(rising.losses) == (over + 1 if end == 9 else 12)
    rates = rising.curve().rates
    assert rates == pytest.approx(np.geomspace(0.001, 1, 100)[: len(rates)].tolist())


def test_accumulated_steps_are_one_update():
    curve = rise([3, 1, 2, 1, 1, 1, 4, 4], 4, repeats=2).curve()
    assert curve.losses == pytest.approx([2, 1.5, 1, 4])
    assert curve.rates == pytest.approx(np.geomspace(0.001, 1, 8)[1::2].tolist(), rel=1e-5)


def test_a_loss_that_does_not_fall_gives_no_proposal():
    for losses in ([1.0] * 30, [2.0, 1.0, *[float("nan")] * 28], [float("nan")] * 30):
        with pytest.raises(ValueError, match="the loss must fall at some learning rate, .* Received: "):
            rise(losses, 30).curve()


def test_too_few_steps_are_refused():
    with pytest.raises(ValueError, match="steps must be an integer of at least 20. Received: steps=19"):
        find_rate(network(RECIPE), RECIPE, images(), steps=19)


def test_the_curve_is_a_table_and_a_picture(tmp_path):
    found = RateCurve([0.01, 0.1, 1.0], [2.0, 1.0, 9.0], [2.0, 1.5, 4.0], 0.01)
    table, picture = write_rates(found, "a $net$", tmp_path)
    with table.open(newline="") as file:
        rows = [[float(value) for value in row] for row in list(csv.reader(file))[1:]]
    assert rows == [[0.01, 2.0, 2.0], [0.1, 1.0, 1.5], [1.0, 9.0, 4.0]]
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["rates.csv", "rates.png"]
    assert kr.training.find_rate is find_rate
