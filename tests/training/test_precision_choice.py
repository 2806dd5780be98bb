"""`precision="auto"` takes the type that trains the quickest, leaves no trace, and is stored as that type."""

import dataclasses
import json
import logging

import numpy as np
import pytest

import keras_resnet as kr
from keras_resnet.cli.options import recipe_from
from keras_resnet.data.constructors import from_arrays
from keras_resnet.runtime.quickest import quickest
from keras_resnet.training import Recipe, precision_choice, run
from keras_resnet.training.fitting import settle_precision
from keras_resnet.training.precision_choice import Speed, check_speed, choose
from keras_resnet.training.resuming import Stopped
from tests import needs, processes
from tests.conftest import UNTRACED
from tests.small_training import small_and_eager
from tests.training.test_resuming import PLAIN, STEPS, AtStep, die, fit, images, network

pytestmark = UNTRACED
NAMES = ("float32", "bfloat16", "float16")
FAST, SLOW = Speed(80.0, 2.3), Speed(12.0, 2.3)
REFERENCE = Speed(41.0, 2.3)


def measured(speeds, slowdown=1.0):
    """The choice among these speeds, and the precisions that were timed with the best rate until then."""
    asked = []

    def measure(name, best):
        asked.append((name, best))
        return speeds[name]

    return choose(tuple(speeds), measure, lambda name: slowdown), asked


# speeds, precision that is taken, words
CHOSEN = {
    "slower": (
        (REFERENCE, SLOW),
        "float32",
        "precision float32: 41 images/s; bfloat16 reaches 12 images/s",
    ),
    "quicker": (
        (REFERENCE, FAST),
        "bfloat16",
        "precision bfloat16: 80 images/s; float32 reaches 41 images/s",
    ),
    "quicker by less than measurements differ": (
        (REFERENCE, Speed(42.9, 2.3)),
        "float32",
        "precision float32: 41 images/s; bfloat16 reaches 42.9 images/s",
    ),
    "the third is the quickest": (
        (REFERENCE, FAST, Speed(1234.5, 2.35)),
        "float16",
        "precision float16: 1,234 images/s; float32 reaches 41 images/s; bfloat16 reaches 80 images/s",
    ),
    "another loss": (
        (REFERENCE, Speed(80.0, 2.6)),
        "float32",
        "precision float32: 41 images/s; bfloat16 reaches 80 images/s and is not taken, because the loss of its first "
        "step is 2.6 instead of 2.3",
    ),
    "no loss": (
        (REFERENCE, FAST, Speed(90.0, float("nan"))),
        "bfloat16",
        "precision bfloat16: 80 images/s; float32 reaches 41 images/s; float16 reaches 90 images/s and is not taken, "
        "because the loss of its first step is nan instead of 2.3",
    ),
    "a small loss that rounding moves": (
        (Speed(41.0, 0.01), Speed(80.0, 0.03)),
        "bfloat16",
        "precision bfloat16: 80 images/s; float32 reaches 41 images/s",
    ),
}


@pytest.mark.parametrize("case", CHOSEN)
def test_the_quickest_precision_with_the_same_loss_is_taken(case):
    speeds, precision, words = CHOSEN[case]
    choice, asked = measured(dict(zip(NAMES, speeds)))
    assert choice == (precision, words)
    assert [name for name, _ in asked] == list(NAMES[: len(speeds)])
    assert asked[0][1] == 0
    assert all(best >= 41 for _, best in asked[1:])  # the measurement stops early if it is far below


def test_a_precision_whose_convolutions_are_emulated_is_not_tried():
    choice, asked = measured({"float32": REFERENCE, "bfloat16": FAST}, slowdown=15.2)
    words = "bfloat16 not tried, because a convolution takes 15 times as long as in float32"
    assert choice == ("float32", f"precision float32: 41 images/s; {words}")
    assert asked == [("float32", 0.0)]


# speed of bfloat16, slowdown, whether steps are compared -> warning
WARNED = (
    (SLOW, 1.0, True, "bfloat16 is slower than float32 on this machine: 12 images/s instead of 41 images/s; "),
    (SLOW, 9.0, False, "bfloat16 is slower than float32 on this machine: a convolution takes 9 times as long"),
    (SLOW, 1.0, False, ""),
    (FAST, 1.0, True, ""),
    (Speed(40.0, 2.3), 1.0, True, ""),
)


@pytest.mark.parametrize(("speed", "slowdown", "compare", "warning"), WARNED)
def test_a_typed_precision_that_is_slower_is_warned_of(speed, slowdown, compare, warning, caplog):
    speeds = {"float32": REFERENCE, "bfloat16": speed}
    check_speed("bfloat16", lambda name, best: speeds[name], lambda name: slowdown, compare)
    assert len(caplog.messages) == bool(warning)
    assert warning in caplog.text


@pytest.mark.slow
@pytest.mark.parametrize(("epochs", "asked"), [(24, []), (25, ["slowdown"]), (250, ["slowdown", "speed", "speed"])])
def test_what_is_timed_of_a_typed_precision_is_a_small_part_of_the_training(epochs, asked, monkeypatch, caplog):
    timed = []
    monkeypatch.setattr(precision_choice, "slowdown", lambda name: timed.append("slowdown") or 1.0)
    monkeypatch.setattr(precision_choice, "_speed", lambda *_: timed.append("speed") or Speed(30.0 / len(timed), 1.0))
    recipe = dataclasses.replace(PLAIN, precision="bfloat16", epochs=epochs)
    choice = settle_precision(network(recipe), recipe, images().hold_out(0.2, 0)[0], None)
    assert choice == ("bfloat16", None)
    assert timed == asked
    assert ("10 images/s instead of 15 images/s" in caplog.text) == (epochs == 250)
    settle_precision(network(recipe), recipe, images().hold_out(0.2, 0)[0], "bfloat16")  # a training that continues
    assert timed == asked


@pytest.mark.slow
def test_the_slowdown_of_a_type_is_that_of_its_convolutions():
    assert 0.2 < precision_choice.slowdown("float32") < 5
    assert 0 < precision_choice.slowdown("bfloat16") < float("inf")


def test_the_quickest_of_equals_is_the_first():
    assert quickest({"a": 1.0, "b": 1.04}) == "a"
    assert quickest({"a": 1.0, "b": 1.06, "c": 1.1}) == "b"
    assert quickest({"a": 1.0}) == "a"


def test_a_search_refuses_to_choose_the_precision():
    with pytest.raises(ValueError, match="precision must be float32, bfloat16 or float16 in a search.*Received"):
        kr.HyperResNet((32, 32, 3), 10, base="ResNet20", recipe=Recipe(precision="auto"))


@pytest.fixture
def taken(monkeypatch):
    """A function that makes every measurement, which is made, choose this precision; returns what was measured."""
    measurements = []

    def take(precision):
        monkeypatch.setattr(precision_choice, "SECONDS", 0.0)  # no step is timed after the second
        monkeypatch.setattr(precision_choice, "slowdown", lambda name: 1.0)

        def choose(rates):
            measurements.append(rates)
            return precision

        monkeypatch.setattr(precision_choice, "quickest", choose)
        return measurements

    return take


# The network has dropout and stochastic depth, whose random states must not move.
AUTO = dataclasses.replace(PLAIN, ema_decay=0.8, precision="auto", epochs=1)


@pytest.mark.slow
def test_the_measurement_leaves_no_trace_in_the_training(taken, eager):
    measurements = taken("float32")
    auto = dataclasses.replace(AUTO, gradient_accumulation_steps=2, optimizer="adamw")
    found, result = fit(auto)
    ((float32, bfloat16),) = (rates.values() for rates in measurements)
    assert float32 > 0
    assert bfloat16 > 0
    expected, expected_result = fit(dataclasses.replace(auto, precision="float32"))
    for value, expected_value in zip(found, expected, strict=True):
        np.testing.assert_array_equal(value, expected_value)
    assert result.history == expected_result.history


@pytest.mark.slow
def test_the_network_is_measured_as_it_is_trained(monkeypatch, eager):
    seen = []

    def speed(model, batches, batch_size, best, where):
        pixels, targets = batches.element_spec
        policies = {layer.compute_dtype for layer in model.layers}
        seen.append((pixels.shape.as_list(), targets.shape.as_list(), batch_size, max(policies) == "float32"))
        return Speed(1.0, 1.0)

    monkeypatch.setattr(precision_choice, "_speed", speed)
    monkeypatch.setattr(precision_choice, "slowdown", lambda name: 1.0)
    recipe = Recipe(epochs=1, batch_size=24, train_sizes=(8, 12), eval_size=8, precision="auto", validation_split=0.0)
    kr.training.fit(network(recipe), recipe, images())
    assert seen == [([24, 12, 12, 1], [24, 2], 24, True), ([24, 12, 12, 1], [24, 2], 24, True)]


@pytest.mark.slow
def test_a_training_that_continues_keeps_the_precision_without_measuring_again(tmp_path, taken, monkeypatch, eager):
    measurements = taken("bfloat16")
    with pytest.raises(Stopped):
        fit(AUTO, tmp_path, [AtStep(STEPS - 1, die(15))])
    assert len(measurements) == 1
    taken("float32")  # what another machine would choose
    found, _ = fit(AUTO, tmp_path)
    finished, _ = fit(AUTO, tmp_path)
    assert len(measurements) == 1
    expected, _ = fit(dataclasses.replace(AUTO, precision="bfloat16"))
    for value, again, expected_value in zip(found, finished, expected, strict=True):
        np.testing.assert_array_equal(value, expected_value)
        np.testing.assert_array_equal(again, expected_value)


@pytest.mark.slow
def test_a_run_is_stored_with_the_precision_and_repeats_with_it(tmp_path, taken, caplog):
    pixels = np.random.default_rng(0).integers(0, 256, (40, 8, 8, 3), "uint8")
    split = from_arrays(pixels, np.arange(40) % 2, ("a", "b"))
    recipe = Recipe(epochs=1, batch_size=16, precision="auto", validation_split=0.2)
    task, out, lines = run.Task("ResNet20", "memory", recipe, 8), tmp_path / "run", []

    def train(task, **options):
        return run.train(task, out, write_line=lines.append, **options)

    with small_and_eager(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(run, "load_splits", lambda *_, **__: {"train": split, "test": split})
        measurements = taken("bfloat16")
        with caplog.at_level(logging.INFO, "keras_resnet.training"):
            assert train(task).recipe.precision == "bfloat16"
        (words,) = (line for line in lines if line.startswith("precision bfloat16: "))
        assert words in caplog.messages
        assert any("in bfloat16, by" in line for line in lines)
        for name in ("recipe.json", "run.json"):
            assert json.loads((out / name).read_text())["recipe"]["precision"] == "bfloat16"
        (state,) = (out / "checkpoints").glob("*/state.json")
        assert json.loads(state.read_text())["settings"]["precision"] == "bfloat16"

        taken("float32")  # what another machine would choose
        lines.clear()
        assert train(task).recipe.precision == "bfloat16"
        assert "is finished; nothing to do" in lines[0]
        longer = dataclasses.replace(recipe, epochs=2)
        assert train(dataclasses.replace(task, recipe=longer)).recipe.precision == "bfloat16"
        assert recipe_from(str(out / "recipe.json"), {}).precision == "bfloat16"
        assert len(measurements) == 1
        assert train(task, overwrite=True).recipe.precision == "float32"  # trained anew, and so measured anew
        assert len(measurements) == 2


@pytest.mark.slow
def test_a_real_measurement_takes_a_precision_of_this_machine(eager, caplog):
    with caplog.at_level(logging.INFO, "keras_resnet.training"):
        model = network(AUTO)
        result = kr.training.fit(model, AUTO, images())
    (line,) = caplog.messages
    assert line.startswith("precision ")
    assert "float32" in line
    assert "bfloat16" in line
    assert np.isfinite(result.history["loss"]).all()


ON_BACKEND = """
import numpy as np, keras, keras_resnet as kr
from keras_resnet.training import precision_choice
from tests.training.test_resuming import images, network
precision_choice.SECONDS, precision_choice.slowdown = 0.0, lambda name: 1.0
precision_choice.quickest = lambda rates: min(rates, key=lambda name: name != "float32")
ends = []
for precision in ("auto", "float32"):
    recipe = kr.training.Recipe(epochs=1, batch_size=16, precision=precision, validation_split=0.0, remat=True)
    model = network(recipe)
    kr.training.fit(model, recipe, images())
    ends.append(model.get_weights())
print(keras.backend.backend(), all((a == b).all() for a, b in zip(*ends)))
"""


@pytest.mark.slow
@pytest.mark.processes
@pytest.mark.parametrize("backend", [pytest.param(name, marks=needs.package(name)) for name in ("jax", "torch")])
def test_other_backends_measure_without_a_trace_too(backend):
    ended = processes.python("-c", ON_BACKEND, environment={"KERAS_BACKEND": backend, **processes.UNOPTIMIZED})
    assert processes.printed(ended).split()[-2:] == [backend, "True"]
