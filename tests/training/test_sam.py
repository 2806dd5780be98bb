"""SAM: steps equal the formula of the paper; statistics and metrics are those of one pass; a resume is exact."""

import dataclasses
import signal

import keras
import numpy as np
import pytest

from keras_resnet.training import Recipe
from keras_resnet.training.distribution import Placement
from keras_resnet.training.optimizers import optimizer
from keras_resnet.training.resuming import Stopped
from keras_resnet.training.sam import sharpness_aware
from tests.conftest import UNTRACED
from tests.torch_peers import peers
from tests.training.test_resuming import PLAIN, STEPS, AtStep, die, fit

pytestmark = UNTRACED
RHO, RATE = 0.3, 0.5


def layered():
    image = keras.Input((4,))
    hidden = keras.layers.Dense(5, "tanh")(image)
    return keras.Model(image, keras.layers.Dense(3)(hidden))


def losses_after_steps(model, recipe, batches, rho):
    """Trains a model by Keras' own steps; returns the loss of each step."""
    model.compile(
        optimizer(recipe, RATE), keras.losses.CategoricalCrossentropy(from_logits=True), auto_scale_loss=False
    )
    with sharpness_aware(model, rho, Placement()):
        losses = []
        for x, y in batches:
            model.reset_metrics()
            losses.append(float(model.train_on_batch(x, y)))
    assert "train_step" not in vars(model)
    assert "apply" not in vars(model.optimizer)
    return losses


def torch_steps(weights, batches):
    """The same steps: equations 2 and 3 of arXiv:2010.01412 with SGD of torch."""
    torch, _, _ = peers()
    first, bias, second, other_bias = parameters = [torch.tensor(value, requires_grad=True) for value in weights]
    sgd = torch.optim.SGD(
        [{"params": [first, second], "weight_decay": 0.1}, {"params": [bias, other_bias]}], lr=RATE, momentum=0.9
    )

    def gradient(x, y, at):
        logits = torch.tanh(torch.tensor(x) @ at[0] + at[1]) @ at[2] + at[3]
        loss = torch.nn.functional.cross_entropy(logits, torch.tensor(y))
        return loss.item(), torch.autograd.grad(loss, at)

    losses = []
    for x, y in batches:
        loss, at_weights = gradient(x, y, parameters)
        norm = torch.sqrt(sum((each**2).sum() for each in at_weights))
        neighbors = [
            (parameter + RHO * each / norm).detach().requires_grad_()
            for parameter, each in zip(parameters, at_weights, strict=True)
        ]
        for parameter, each in zip(parameters, gradient(x, y, neighbors)[1], strict=True):
            parameter.grad = each
        sgd.step()
        losses.append(loss)
    return losses, [parameter.detach().numpy() for parameter in parameters]


@pytest.mark.slow
@pytest.mark.parity
@pytest.mark.parametrize("precision", ["float32", "float16"])  # float16 scales the loss; the layers compute in float32
@pytest.mark.parametrize("steps", [1, 6])
def test_steps_are_those_of_the_paper(steps, precision, rng, eager):
    batches = [
        (rng.normal(size=(8, 4)).astype("float32"), np.eye(3, dtype="float32")[rng.integers(0, 3, 8)])
        for _ in range(steps)
    ]
    model = layered()
    start = model.get_weights()
    expected_losses, expected = torch_steps(start, batches)
    recipe = Recipe(weight_decay=0.1, nesterov=False, precision=precision)
    losses = losses_after_steps(model, recipe, batches, RHO)
    np.testing.assert_allclose(losses, expected_losses, rtol=1e-5)
    for found, value in zip(model.get_weights(), expected, strict=True):
        np.testing.assert_allclose(found, value, rtol=2e-5, atol=2e-6)
    model.set_weights(start)
    losses_after_steps(model, recipe, batches, 0.0)
    assert np.abs(model.get_weights()[0] - expected[0]).max() > 1e-3  # the second gradient is another one


@pytest.mark.slow
def test_statistics_and_random_numbers_move_once_in_a_step(rng, eager):
    def states(rho):
        keras.utils.set_random_seed(3)
        image = keras.Input((4,))
        x = keras.layers.Dropout(0.5, seed=1)(keras.layers.BatchNormalization()(image))
        model = keras.Model(image, keras.layers.Dense(3)(x))
        losses_after_steps(model, Recipe(), [batch], rho)
        return [np.array(variable) for variable in model.non_trainable_variables]

    batch = rng.normal(size=(8, 4)).astype("float32"), np.eye(3, dtype="float32")[rng.integers(0, 3, 8)]
    for one, two in zip(states(0.0), states(RHO), strict=True):
        np.testing.assert_array_equal(one, two)


@pytest.mark.slow
def test_accumulated_steps_average_the_second_gradients(rng, eager):
    x, y = rng.normal(size=(8, 4)).astype("float32"), np.eye(3, dtype="float32")[rng.integers(0, 3, 8)]
    ends = []
    model = layered()
    start = model.get_weights()
    for accumulate in (1, 2):  # the same batch twice has the same mean gradient
        model.set_weights(start)
        recipe = Recipe(gradient_accumulation_steps=accumulate)
        losses_after_steps(model, recipe, [(x, y)] * accumulate, RHO)
        ends.append(model.get_weights())
    for one, two in zip(*ends, strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_a_resumed_training_ends_with_the_same_weights(tmp_path, eager):
    recipe = dataclasses.replace(PLAIN, epochs=2, sam=0.05, clip_norm=1.0, unfreeze_epochs=1)
    weights, result = fit(recipe)
    with pytest.raises(Stopped):
        fit(recipe, tmp_path, [AtStep(STEPS + 2, die(signal.SIGTERM))])
    resumed_weights, resumed = fit(recipe, tmp_path)
    assert resumed.history == result.history
    for one, two in zip(weights, resumed_weights, strict=True):
        np.testing.assert_array_equal(one, two)
