"""Searches with each of KerasTuner's tuners: they end, stay within the budget, and are taken up where they were."""

import json

import keras_tuner
import numpy as np
import pytest

import keras_resnet as kr
from keras_resnet.training import Recipe

pytestmark = [
    # KerasTuner 1.4.8 asks for the current thread in a way that Python deprecates, and scikit-learn fits few points.
    pytest.mark.filterwarnings("ignore:(currentThread|getName)\\(\\) is deprecated:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
]
RECIPE = Recipe(epochs=1, batch_size=16, ema=0.5)
TUNERS = ("RandomSearch", "BayesianOptimization", "GridSearch")


@pytest.fixture(scope="module")
def digits():
    """A few images of each digit, to learn from and to measure by."""
    train = kr.data.load("digits", "train")
    return tuple(train.hold_out(0.05, seed=seed)[1] for seed in (1, 2))


def space(**options):
    options = {"base": "ResNet20", "max_macs": 3e5, "tune": ("depth", "width", "drop"), "recipe": RECIPE, **options}
    return kr.HyperResNet((8, 8, 1), 10, **options)


def tuner_of(name, directory, trials=3, **options):
    return getattr(kr.tuning, name)(
        space(**options), "val_accuracy", max_trials=trials, seed=1, directory=directory, project_name="digits"
    )


@pytest.mark.parametrize("name", TUNERS)
def test_a_search_ends_with_all_its_trials_within_the_budget(name, digits, tmp_path):
    # The tightest budget: nearly every point that is drawn is over it.
    tuner = tuner_of(name, tmp_path)
    if name == "BayesianOptimization":
        tuner.oracle.num_initial_points = 2
    tuner.search(*digits, verbose=0)
    found = kr.tuning.finished(tuner)
    assert len(found) == 3
    for trial in found:
        assert {"val_accuracy", "parameters", "macs", "latency", "seconds"} <= set(trial.metrics)
        assert trial.metrics["macs"] <= 3e5
    best = tuner.get_best_models()[0]
    assert kr.macs(best) == found[0].metrics["macs"]
    # What is kept is what was measured: the moving average of the weights.
    assert kr.training.evaluate(best, digits[1]) == pytest.approx(found[0].metrics["val_accuracy"])
