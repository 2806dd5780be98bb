"""Searches with each of KerasTuner's tuners: they end, stay within the budget, and are taken up where they were."""

import dataclasses
import gc
import json
import signal

import keras
import keras_tuner
import pytest

import keras_resnet as kr
from keras_resnet import zoo
from keras_resnet.training import Recipe
from keras_resnet.tuning import persistence
from tests import processes
from tests.conftest import UNTRACED

# Of the regression behind BayesianOptimization, to which so few points are not enough.
pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    UNTRACED,
]
# One is quick: it is KerasTuner itself that takes its time.
TUNERS = (
    "RandomSearch",
    *(pytest.param(name, marks=pytest.mark.slow) for name in ("BayesianOptimization", "Hyperband", "GridSearch")),
)
LIMIT = 30_000  # MACs: of the points around the tiny network most are over it
TINY = dataclasses.replace(
    zoo.ROWS["ResNet20"], name="Tiny8", fields={**zoo.ROWS["ResNet20"].fields, "depths": (1, 2), "filters": (4, 8)}
)
RECIPE = Recipe(epochs=1, batch_size=32, ema_decay=0.5, pad_and_crop=0.0)


@pytest.fixture(autouse=True)
def _uncollected(monkeypatch):
    """KerasTuner collects garbage twice a trial, each time half a second of all that TensorFlow has made."""
    monkeypatch.setattr(gc, "collect", lambda *generation: 0)


class Arithmetic(kr.HyperResNet):
    """Networks are judged by their size, so that hundreds of trials take no time: what is tested is the search."""

    def build(self, hp):
        self.design(hp)
        return keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])

    def fit(self, hp, model, callbacks, epochs=1, initial_epoch=0, verbose=0):
        row = self.design(hp).row
        assert self.budget.allows((row.parameters, row.macs))
        for callback in callbacks:
            callback.set_model(model)
            callback.on_epoch_end(0, {"val_accuracy": 0.5})
        return {"val_accuracy": row.macs / LIMIT, "macs": row.macs}


def space_of(kind=Arithmetic, **options):
    options = {"base": TINY, "max_macs": LIMIT, "tune": ("depth", "width", "gate"), "recipe": RECIPE, **options}
    return kind((8, 8, 1), 10, **options)


def trained_space(**options):
    """One whose networks are trained: they are all of one block."""
    base = dataclasses.replace(TINY, fields={**TINY.fields, "depths": (1,), "filters": (4,)})
    return space_of(kr.HyperResNet, base=base, tune=("drop",), max_macs=None, **options)


def tuner_of(name, directory, trials=6, space=None, kind=kr.tuning):
    amount = {"max_epochs": 2, "factor": 2} if name == "Hyperband" else {"max_trials": trials}
    options = {"num_initial_points": 2} if name == "BayesianOptimization" else {}
    return getattr(kind, name)(
        space or space_of(), "val_accuracy", seed=1, directory=directory, project_name="digits", **amount, **options
    )


def numbers(tuner):
    return sorted(tuner.oracle.trials)


@pytest.fixture(scope="module")
def digits():
    """A few images of each digit, to learn from and to measure by."""
    train = kr.data.load("digits", "train")
    return train.hold_out(0.05, seed=1)[1], train.hold_out(0.02, seed=2)[1]


@pytest.mark.parametrize("name", TUNERS)
@pytest.mark.parametrize("kind", [kr.tuning, keras_tuner], ids=["ours", "KerasTuner's"])
def test_a_search_ends_with_every_trial_within_the_budget_and_none_failed(name, kind, tmp_path):
    # KerasTuner's default: three failures in a row end a search. That no network is over the limit `fit` asserts.
    few = {"tune": ("width",)} if name == "BayesianOptimization" else {}  # its regression takes seconds by dimension
    tuner = tuner_of(name, tmp_path, 4, space_of(**few), kind)
    tuner.search(verbose=0)
    trials = tuner.oracle.trials.values()
    assert {trial.status for trial in trials} == {"COMPLETED"}
    assert len(trials) == (5 if name == "Hyperband" else 4)  # two, the better of them again, and two


@pytest.mark.slow
def test_a_grid_visits_every_point_once_and_the_base_first(tmp_path):
    space = space_of(tune=("depth",), max_macs=None, max_params=2_500)
    tuner = tuner_of("GridSearch", tmp_path, None, space)
    tuner.search(verbose=0)
    points = [tuple(trial.hyperparameters.values.values()) for trial in tuner.oracle.trials.values()]
    assert points[0] == (1, 2)
    assert sorted(points) == [(first, second) for first in (1, 2, 3, 4) for second in (1, 2, 3, 4)]


@pytest.mark.slow
def test_networks_are_trained_by_the_recipe_and_kept_as_they_were_measured(digits, tmp_path, eager):
    # With Hyperband, whose later rounds go on with the weights of the earlier.
    tuner = tuner_of("Hyperband", tmp_path, space=trained_space())
    tuner.search(*digits, verbose=0)
    found = kr.tuning.trial_results(tuner)
    assert len(found) == 5
    assert {"loss", "val_loss", "accuracy", "latency", "seconds"} <= set(found[0].metrics)
    best = tuner.get_best_models()[0]
    assert kr.macs(best) == found[0].metrics["macs"]
    # The moving average of the weights, not the weights of the last step.
    assert kr.training.evaluate(best, digits[1]) == pytest.approx(found[0].metrics["val_accuracy"], abs=1e-6)


KILLED = """
import itertools, sys, time
from tests.tuning.test_tuners import space_of, tuner_of
space = space_of()
fit, numbers = space.fit, itertools.count()
def slow(hp, model, **options):
    print(f"trial {next(numbers)} begins", flush=True)
    time.sleep(0.3)
    return fit(hp, model, **options)
space.fit = slow
tuner_of(sys.argv[1], sys.argv[2], 8, space).search(verbose=0)
"""


@pytest.mark.processes
@pytest.mark.slow
@pytest.mark.parametrize("name", ["RandomSearch", "GridSearch"])
def test_a_killed_search_is_taken_up_with_all_its_finished_trials(name, tmp_path):
    process = processes.start("-c", KILLED, name, tmp_path)
    process.wait_for("trial 3 begins")
    process.kill(signal.SIGKILL)
    process.end()
    again = tuner_of(name, tmp_path, 8)
    before = {number: trial.status for number, trial in again.oracle.trials.items()}
    assert list(before.values()) == ["COMPLETED"] * 3 + ["RUNNING"]
    seconds = {number: (tmp_path / "digits" / f"trial_{number}" / "trial.json").stat().st_mtime for number in before}
    again.search(verbose=0)
    assert [trial.status for trial in again.oracle.trials.values()] == ["COMPLETED"] * 8
    for number, status in before.items():
        now = (tmp_path / "digits" / f"trial_{number}" / "trial.json").stat().st_mtime
        assert (now == seconds[number]) == (status == "COMPLETED")  # the one that ran was begun again, no other


@pytest.mark.slow
@pytest.mark.parametrize("name", ["RandomSearch", "Hyperband", "GridSearch"])
def test_a_torn_oracle_file_is_recovered_from_the_one_before(name, tmp_path):
    first = tuner_of(name, tmp_path, 4)
    first.search(verbose=0)
    values = {number: trial.hyperparameters.values for number, trial in first.oracle.trials.items()}
    path = tmp_path / "digits" / "oracle.json"
    whole = path.read_text()
    path.write_text(whole[: len(whole) // 2])
    (tmp_path / "digits" / "tuner0.json").write_text("{")
    again = tuner_of(name, tmp_path, 6)
    assert {number: trial.hyperparameters.values for number, trial in again.oracle.trials.items()} == values
    assert set(again.oracle.end_order) == set(values)
    again.search(verbose=0)
    assert {trial.status for trial in again.oracle.trials.values()} == {"COMPLETED"}
    assert len(again.oracle.trials) == (5 if name == "Hyperband" else 6)


@pytest.mark.slow
def test_with_both_oracle_files_torn_the_trials_are_still_there(tmp_path):
    tuner_of("RandomSearch", tmp_path, 4).search(verbose=0)
    for name in (persistence.ORACLE, persistence.PREVIOUS):
        (tmp_path / "digits" / name).write_text("{")
    torn = tmp_path / "digits" / "trial_2" / "trial.json"
    torn.write_text(torn.read_text()[:40])
    again = tuner_of("RandomSearch", tmp_path, 5)
    statuses = [trial.status for trial in again.oracle.trials.values()]
    assert statuses == ["COMPLETED", "COMPLETED", "FAILED", "COMPLETED"]
    again.search(verbose=0)  # ends
    assert len(again.oracle.trials) == 5


def test_a_trial_killed_after_its_report_is_judged_by_its_second_run(tmp_path):
    tuner_of("RandomSearch", tmp_path, 1).search(verbose=0)
    path = tmp_path / "digits" / "trial_0" / "trial.json"
    trial = json.loads(path.read_text())
    trial["metrics"]["metrics"]["val_accuracy"]["observations"] = [{"value": [99.0], "step": 0}]
    path.write_text(json.dumps({**trial, "status": "RUNNING"}))
    again = tuner_of("RandomSearch", tmp_path, 1)
    again.search(verbose=0)
    assert (again.oracle.trials["0"].status, again.oracle.trials["0"].score < 2) == ("COMPLETED", True)


def contents(directory):
    return {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in directory.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("options", "named"),
    [({"tune": ("width",)}, "space"), ({"max_macs": 29_000}, "budget"), ({"recipe": Recipe(epochs=2)}, "recipe")],
)
def test_a_directory_of_another_search_is_refused_and_untouched(options, named, tmp_path):
    tuner_of("RandomSearch", tmp_path, 1).search(verbose=0)
    before = contents(tmp_path)
    with pytest.raises(ValueError, match=f"directory must be new, or hold the same search.*{named}.* not the same"):
        tuner_of("RandomSearch", tmp_path, 1, space_of(**options))
    with pytest.raises(ValueError, match="whose tuner is not the same"):
        tuner_of("GridSearch", tmp_path, 1)
    assert contents(tmp_path) == before


def test_a_space_that_was_narrowed_by_hand_is_another(tmp_path):
    tuner_of("RandomSearch", tmp_path, 1)
    narrowed = keras_tuner.HyperParameters()
    narrowed.Fixed("depth_2", 2)
    with pytest.raises(ValueError, match="whose space is not the same"):
        kr.tuning.RandomSearch(
            space_of(), "val_accuracy", hyperparameters=narrowed, directory=tmp_path, project_name="digits"
        )


def test_a_search_of_plain_kerastuner_is_refused_and_untouched(tmp_path):
    tuner_of("RandomSearch", tmp_path, 1, kind=keras_tuner).search(verbose=0)
    before = contents(tmp_path)
    with pytest.raises(ValueError, match="holds oracle.json and no readable search.json"):
        tuner_of("RandomSearch", tmp_path, 1)
    assert contents(tmp_path) == before


def test_other_hypermodels_are_refused(tmp_path):
    with pytest.raises(TypeError, match="hypermodel must be a keras_resnet.HyperResNet"):
        kr.tuning.RandomSearch(lambda hp: None, "val_accuracy", directory=tmp_path)


@pytest.mark.slow
def test_objectives_may_be_several_or_a_reward(digits, tmp_path, eager):
    objective = keras_tuner.Objective
    several = [objective("val_accuracy", "max"), objective("latency", "min")]
    for number, aim in enumerate((several, objective("reward", "max"))):
        space = trained_space(reward=kr.tuning.mnasnet_reward("macs", 1.0))
        tuner = kr.tuning.RandomSearch(space, aim, max_trials=1, directory=tmp_path / str(number))
        tuner.search(*digits, verbose=0)
        (found,) = kr.tuning.trial_results(tuner)
        accuracy, latency, macs = (found.metrics[name] for name in ("val_accuracy", "latency", "macs"))
        assert found.score == pytest.approx(accuracy / macs if number else latency - accuracy)


@pytest.mark.slow
def test_images_that_do_not_fit_end_a_search_at_once(digits, tmp_path):
    colour = kr.HyperResNet((8, 8, 3), 10, base="ResNet20", recipe=RECIPE, tune=("drop",))
    tuner = kr.tuning.RandomSearch(colour, "val_accuracy", directory=tmp_path)
    with pytest.raises(ValueError, match="must take images with 1 channels"):
        tuner.search(*digits, verbose=0)
    with pytest.raises(ValueError, match="validation must be images if the recipe has no validation_split"):
        tuner.search(digits[0], verbose=0)


@pytest.mark.slow
def test_a_trial_that_diverges_fails_and_the_search_goes_on(digits, tmp_path, eager):
    wild = dataclasses.replace(RECIPE, learning_rate=1e30, warmup=0.0)
    tuner = kr.tuning.RandomSearch(
        trained_space(recipe=wild),
        "val_accuracy",
        max_trials=1,
        directory=tmp_path,
    )
    tuner.search(*digits, verbose=0)
    (trial,) = tuner.oracle.trials.values()
    assert trial.status == "FAILED"
    assert "is not a finite number" in trial.message


def test_a_reward_is_part_of_what_a_search_is(tmp_path):
    def tuner(**reward):
        space = trained_space(**reward)
        return kr.tuning.RandomSearch(space, keras_tuner.Objective("reward", "max"), max_trials=1, directory=tmp_path)

    with pytest.raises(ValueError, match="objective must not be reward if the hypermodel has no reward"):
        tuner()
    tuner(reward=kr.tuning.mnasnet_reward("macs", 1.0))
    with pytest.raises(ValueError, match="same search. Received: .*, whose reward is not the same"):
        tuner(reward=kr.tuning.mnasnet_reward("macs", 2.0))
    with pytest.raises(ValueError, match="metric must be one of .*latency.*Received: metric='mac'"):
        kr.tuning.mnasnet_reward("mac", 1.0)


def test_a_worker_does_not_overwrite_the_search_that_it_joins(tmp_path, monkeypatch):
    for name, value in (("TUNER_ID", "worker-1"), ("ORACLE_IP", "127.0.0.1"), ("ORACLE_PORT", "1")):
        monkeypatch.setenv(f"KERASTUNER_{name}", value)
    with pytest.raises(ValueError, match="overwrite must be False in a worker"):
        kr.tuning.RandomSearch(
            space_of(kr.HyperResNet), "val_accuracy", max_trials=1, directory=tmp_path, overwrite=True
        )
