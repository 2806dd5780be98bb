"""Optimizers, schedules and losses, compared with those of torch and timm."""

import dataclasses

import keras
import numpy as np
import pytest

import keras_resnet as kr
from keras_resnet.data import augment
from keras_resnet.training.losses import LOSSES
from keras_resnet.training.optimizers import OPTIMIZERS, optimizer
from keras_resnet.training.recipe import CHOICES, Recipe
from keras_resnet.training.schedules import SCHEDULES, schedule
from tests.torch_peers import peers

STEPS = 5


def keras_steps(recipe, kernel, bias, gradients):
    """A kernel and a bias after one optimizer step for each pair of gradients."""
    variables = [keras.Variable(kernel), keras.Variable(bias)]
    opt = optimizer(recipe, recipe.learning_rate)
    for pair in gradients:
        opt.apply(pair, variables)
    return [keras.ops.convert_to_numpy(variable) for variable in variables]


def torch_steps(make, decay, kernel, bias, gradients):
    """The same steps with an optimizer of torch or timm."""
    torch, _, _ = peers()
    variables = [torch.tensor(kernel, requires_grad=True), torch.tensor(bias, requires_grad=True)]
    groups = [{"params": variables[:1], "weight_decay": decay}, {"params": variables[1:], "weight_decay": 0.0}]
    opt = make(torch, groups)
    for pair in gradients:
        for variable, gradient in zip(variables, pair):
            variable.grad = torch.tensor(gradient)
        opt.step()
    return [variable.detach().numpy() for variable in variables]


def timm_lamb(torch, groups):
    peers()  # timm can be imported from here on
    from timm.optim import Lamb

    return Lamb(groups, lr=0.02, max_grad_norm=1.0)


PEERS = {
    "sgd": ({"nesterov": False}, lambda torch, groups: torch.optim.SGD(groups, lr=0.02, momentum=0.9)),
    "sgd nesterov": ({}, lambda torch, groups: torch.optim.SGD(groups, lr=0.02, momentum=0.9, nesterov=True)),
    "adam": ({}, lambda torch, groups: torch.optim.Adam(groups, lr=0.02)),
    "adamw": ({}, lambda torch, groups: torch.optim.AdamW(groups, lr=0.02)),
    "lamb": ({"clip_norm": 1.0}, timm_lamb),
}


def test_every_optimizer_has_a_peer():
    assert {name.split()[0] for name in PEERS} == set(OPTIMIZERS) == set(CHOICES["optimizer"])


@pytest.mark.slow
@pytest.mark.parity
@pytest.mark.parametrize("name", PEERS)
def test_optimizers_step_as_their_peers_do(name, rng):
    fields, make = PEERS[name]
    recipe = Recipe(optimizer=name.split()[0], learning_rate=0.02, weight_decay=0.1, **fields)
    kernel, bias = rng.normal(size=(2, 2, 4, 3)).astype("float32"), rng.normal(size=3).astype("float32")
    gradients = [[rng.normal(size=x.shape).astype("float32") for x in (kernel, bias)] for _ in range(STEPS)]
    for value, expected in zip(
        keras_steps(recipe, kernel, bias, gradients), torch_steps(make, 0.1, kernel, bias, gradients), strict=True
    ):
        np.testing.assert_allclose(value, expected, rtol=2e-5, atol=2e-6)


def test_gradients_are_averaged_over_accumulated_steps(rng):
    kernel, bias = rng.normal(size=(2, 2, 4, 3)).astype("float32"), rng.normal(size=3).astype("float32")
    halves = [[rng.normal(size=x.shape).astype("float32") for x in (kernel, bias)] for _ in range(2)]
    whole = [[(a + b) / 2 for a, b in zip(*halves)]]
    expected = keras_steps(Recipe(), kernel, bias, whole)
    accumulated = keras_steps(Recipe(gradient_accumulation_steps=2), kernel, bias, halves)
    for one_step, two_steps in zip(expected, accumulated, strict=True):
        np.testing.assert_allclose(one_step, two_steps, rtol=1e-5)


def rates(recipe, steps):
    rate = schedule(recipe, steps)
    return np.array([float(rate(step)) for step in range(steps + 1)])


def test_every_schedule_is_a_choice():
    assert set(SCHEDULES) == set(CHOICES["schedule"])


def test_the_rate_climbs_to_its_peak_and_falls_as_a_cosine_to_zero():
    found = rates(Recipe(learning_rate=0.4, warmup=0.25), 20)
    assert found[0] == 0
    assert np.argmax(found) == 5
    assert found[5] == pytest.approx(0.4)
    assert found[2] == pytest.approx(0.4 * 2 / 5)
    np.testing.assert_allclose(found[5:], 0.2 * (1 + np.cos(np.pi * np.arange(16) / 15)), atol=1e-6)


def test_the_rate_falls_to_a_tenth_at_each_milestone():
    recipe = Recipe(learning_rate=0.1, schedule="steps", milestones=(0.5, 0.75), warmup=0.1)
    found = rates(recipe, 40)
    np.testing.assert_allclose(
        found[[0, 2, 4, 20, 21, 30, 31, 40]], [0, 0.05, *[0.1] * 2, *[0.01] * 2, *[1e-3] * 2], rtol=1e-5
    )


@pytest.mark.parametrize("name", ["he2015_cifar", "goyal2017"])
def test_published_milestones_are_met(name):
    recipe = kr.training.RECIPES[name]
    steps, falls = {"he2015_cifar": (64_000, (32_000, 48_000)), "goyal2017": (900, (300, 600, 800))}[name]
    rate = schedule(recipe, steps)
    for number, fall in enumerate(falls):
        assert float(rate(fall)) == pytest.approx(recipe.learning_rate * 0.1**number)
        assert float(rate(fall + 1)) == pytest.approx(recipe.learning_rate * 0.1 ** (number + 1))


@pytest.mark.slow
@pytest.mark.parity
@pytest.mark.parametrize("threshold", [0.0, 0.2])
def test_binary_cross_entropy_is_timms(threshold, rng):
    torch, _, _ = peers()
    from timm.loss import BinaryCrossEntropy

    logits = rng.normal(size=(6, 5)).astype("float32")
    targets = rng.dirichlet(np.ones(5), 6).astype("float32")
    peer = BinaryCrossEntropy(target_threshold=threshold or None)
    binary = augment.target_threshold(targets, threshold) if threshold else targets
    assert float(LOSSES["binary_crossentropy"]()(binary, logits)) == pytest.approx(
        float(peer(torch.tensor(logits), torch.tensor(targets))), rel=1e-5
    )


@pytest.mark.slow
@pytest.mark.parity
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_cross_entropy_is_torchs(smoothing, rng):
    torch, _, _ = peers()
    logits, labels = rng.normal(size=(6, 5)).astype("float32"), np.arange(6) % 5
    targets = augment.label_smoothing(np.eye(5, dtype="float32")[labels], smoothing)
    peer = torch.nn.CrossEntropyLoss(label_smoothing=smoothing)(torch.tensor(logits), torch.tensor(labels))
    assert float(LOSSES["categorical_crossentropy"]()(targets, logits)) == pytest.approx(float(peer), rel=1e-5)


def test_every_loss_is_a_choice():
    assert set(LOSSES) == set(CHOICES["loss"])


def test_weight_decay_is_on_kernels_only_also_in_adamw(rng):
    recipe = dataclasses.replace(Recipe(), optimizer="adamw", weight_decay=0.5, learning_rate=0.1)
    kernel, bias = np.ones((2, 2), "float32"), np.ones(2, "float32")
    decayed, kept = keras_steps(recipe, kernel, bias, [[np.zeros((2, 2), "float32"), np.zeros(2, "float32")]])
    np.testing.assert_allclose(decayed, 0.95, rtol=1e-6)
    np.testing.assert_array_equal(kept, 1)
