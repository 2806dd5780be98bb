"""Searches with each tuner of KerasTuner: they end, stay within the budget, and can be resumed."""

import dataclasses
import gc
import json
import shutil
import signal

import keras
import keras_tuner
import pytest

import keras_resnet as kr
from keras_resnet import zoo
from keras_resnet._internal.exclusive import exclusive
from keras_resnet.training import Recipe
from keras_resnet.training.resuming import DivergedError
from keras_resnet.tuning import hypermodel, persistence
from tests import processes
from tests.conftest import UNTRACED

# The regression of BayesianOptimization warns, because these tests give it few points.
pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    UNTRACED,
]
# Only one tuner is quick: most of the time is spent in KerasTuner itself.
TUNERS = (
    "RandomSearch",
    *(pytest.param(name, marks=pytest.mark.slow) for name in ("BayesianOptimization", "Hyperband", "GridSearch")),
)
LIMIT = 30_000  # MACs: most points around the tiny network exceed it
TINY = dataclasses.replace(
    zoo.ROWS["ResNet20"], name="Tiny8", fields={**zoo.ROWS["ResNet20"].fields, "depths": (1, 2), "filters": (4, 8)}
)
RECIPE = Recipe(epochs=1, batch_size=32, ema_decay=0.5, pad_and_crop=0.0)


@pytest.fixture(autouse=True)
def _no_garbage_collection(monkeypatch):
    """Turns garbage collection off. KerasTuner collects twice per trial, and each collection takes half a second."""
    monkeypatch.setattr(gc, "collect", lambda *generation: 0)


class Arithmetic(kr.HyperResNet):
    """Scores networks by their size instead of training them, so that a test of the search has quick trials."""

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
    """A space whose networks are trained. They all have one block."""
    base = dataclasses.replace(TINY, fields={**TINY.fields, "depths": (1,), "filters": (4,)})
    return space_of(kr.HyperResNet, base=base, tune=("drop",), max_macs=None, **options)


def tuner_of(name, directory, trials=6, space=None, kind=kr.tuning):
    limits = {"max_epochs": 2, "factor": 2} if name == "Hyperband" else {"max_trials": trials}
    options = {"num_initial_points": 2} if name == "BayesianOptimization" else {}
    return getattr(kind, name)(
        space or space_of(), "val_accuracy", seed=1, directory=directory, project_name="digits", **limits, **options
    )


def numbers(tuner):
    return sorted(tuner.oracle.trials)


@pytest.fixture(scope="module")
def digits():
    """A few images of each digit, for training and validation."""
    train = kr.data.load("digits", "train")
    return train.hold_out(0.05, seed=1)[1], train.hold_out(0.02, seed=2)[1]


@pytest.mark.parametrize("name", TUNERS)
@pytest.mark.parametrize("kind", [kr.tuning, keras_tuner], ids=["ours", "KerasTuner's"])
def test_a_search_ends_with_every_trial_within_the_budget_and_none_failed(name, kind, tmp_path):
    # `fit` asserts that no network exceeds the limit. By KerasTuner's default, three failures in a row end a search.
    # The regression of BayesianOptimization takes seconds per dimension.
    options = {"tune": ("width",)} if name == "BayesianOptimization" else {}
    tuner = tuner_of(name, tmp_path, 4, space_of(**options), kind)
    tuner.search(verbose=0)
    trials = tuner.oracle.trials.values()
    assert {trial.status for trial in trials} == {"COMPLETED"}
    assert len(trials) == (5 if name == "Hyperband" else 4)  # two trials, the better one again, and two more


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
    # Hyperband's later rounds continue with the weights of earlier rounds.
    tuner = tuner_of("Hyperband", tmp_path, space=trained_space())
    tuner.search(*digits, verbose=0)
    results = kr.tuning.trial_results(tuner)
    assert len(results) == 5
    assert {"loss", "val_loss", "accuracy", "latency", "seconds"} <= set(results[0].metrics)
    best = tuner.get_best_models()[0]
    assert kr.macs(best) == results[0].metrics["macs"]
    # The best model has the moving average of the weights, not the weights of the last step.
    assert kr.training.evaluate(best, digits[1]) == pytest.approx(results[0].metrics["val_accuracy"], abs=1e-6)


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
    resumed = tuner_of(name, tmp_path, 8)
    before = {number: trial.status for number, trial in resumed.oracle.trials.items()}
    assert list(before.values()) == ["COMPLETED"] * 3 + ["RUNNING"]
    written = {number: (tmp_path / "digits" / f"trial_{number}" / "trial.json").stat().st_mtime for number in before}
    resumed.search(verbose=0)
    assert [trial.status for trial in resumed.oracle.trials.values()] == ["COMPLETED"] * 8
    for number, status in before.items():
        now = (tmp_path / "digits" / f"trial_{number}" / "trial.json").stat().st_mtime
        assert (now == written[number]) == (status == "COMPLETED")  # only the interrupted trial was run again


@pytest.mark.slow
@pytest.mark.parametrize("name", ["RandomSearch", "Hyperband", "GridSearch"])
def test_a_torn_oracle_file_is_recovered_from_the_one_before(name, tmp_path):
    first = tuner_of(name, tmp_path, 4)
    first.search(verbose=0)
    values = {number: trial.hyperparameters.values for number, trial in first.oracle.trials.items()}
    path = tmp_path / "digits" / "oracle.json"
    text = path.read_text()
    path.write_text(text[: len(text) // 2])
    (tmp_path / "digits" / "tuner0.json").write_text("{")
    resumed = tuner_of(name, tmp_path, 6)
    assert {number: trial.hyperparameters.values for number, trial in resumed.oracle.trials.items()} == values
    assert set(resumed.oracle.end_order) == set(values)
    resumed.search(verbose=0)
    assert {trial.status for trial in resumed.oracle.trials.values()} == {"COMPLETED"}
    assert len(resumed.oracle.trials) == (5 if name == "Hyperband" else 6)


@pytest.mark.slow
def test_with_both_oracle_files_torn_the_trials_are_still_there(tmp_path):
    tuner_of("RandomSearch", tmp_path, 4).search(verbose=0)
    for name in (persistence.ORACLE, persistence.PREVIOUS):
        (tmp_path / "digits" / name).write_text("{")
    torn = tmp_path / "digits" / "trial_2" / "trial.json"
    torn.write_text(torn.read_text()[:40])
    resumed = tuner_of("RandomSearch", tmp_path, 5)
    statuses = [trial.status for trial in resumed.oracle.trials.values()]
    assert statuses == ["COMPLETED", "COMPLETED", "FAILED", "COMPLETED"]
    resumed.search(verbose=0)  # it ends
    assert len(resumed.oracle.trials) == 5


def finished(directory, trials=4, name="RandomSearch"):
    """The directory of a finished search, and the scores of its trials."""
    tuner = tuner_of(name, directory, trials)
    tuner.search(verbose=0)
    return directory / "digits", {number: trial.score for number, trial in tuner.oracle.trials.items()}


@pytest.mark.parametrize("lost", [["1"], ["0", "1", "2"], ["3"]], ids=["one", "three in a row", "the last"])
def test_the_number_of_a_trial_whose_directory_is_gone_is_not_given_again(lost, tmp_path, caplog):
    directory, scores = finished(tmp_path)
    for number in lost:
        shutil.rmtree(directory / f"trial_{number}")
    for trials in (5, 6):  # the search is taken up twice
        tuner = tuner_of("RandomSearch", tmp_path, trials)
        tuner.search(verbose=0)
    assert numbers(tuner) == list("012345")
    for number, trial in tuner.oracle.trials.items():
        assert trial.status == ("FAILED" if number in lost else "COMPLETED")
        assert number not in scores or trial.score == (None if number in lost else scores[number])
    assert f"trial {lost[0]} counts as failed: {directory}/trial_{lost[0]}/trial.json cannot be read" in caplog.messages


@pytest.mark.slow
@pytest.mark.parametrize("name", ["Hyperband", "GridSearch"])
def test_other_tuners_keep_the_numbers_of_lost_trials_too(name, tmp_path):
    directory, scores = finished(tmp_path, 3, name)
    shutil.rmtree(directory / "trial_1" if (directory / "trial_1").exists() else directory / "trial_0001")
    tuner = tuner_of(name, tmp_path, 5)
    tuner.search(verbose=0)
    after = {number: trial.score for number, trial in tuner.oracle.trials.items()}
    assert {number: score for number, score in after.items() if number in scores and int(number) != 1} == {
        number: score for number, score in scores.items() if int(number) != 1
    }


def edit(path, **values):
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def test_a_trial_with_a_score_of_nan_has_failed(tmp_path):
    directory, scores = finished(tmp_path)
    edit(directory / "trial_1" / "trial.json", score=float("nan"))
    tuner = tuner_of("RandomSearch", tmp_path, 4)
    assert tuner.oracle.trials["1"].status == "FAILED"
    best = max(("0", "2", "3"), key=scores.get)
    assert tuner.oracle.get_best_trials()[0].trial_id == best
    assert kr.tuning.trial_results(tuner)[0].trial == best


def test_results_of_kerastuners_tuners_have_no_nan(tmp_path):
    tuner = tuner_of("RandomSearch", tmp_path, 3, kind=keras_tuner)
    tuner.search(verbose=0)
    tuner.oracle.trials["1"].score = float("nan")
    assert sorted(result.trial for result in kr.tuning.trial_results(tuner)) == ["0", "2"]


EDITED = {
    "a list": ("oracle.json", lambda path: path.write_text("[]"), "TypeError"),
    "no order": ("oracle.json", lambda path: path.write_text("{}"), "KeyError: 'start_order'; remove this file"),
    "another order": ("oracle.json", lambda path: edit(path, start_order=3), "TypeError: .* not int"),
    "another seed": ("oracle.json", lambda path: edit(path, hyperparameters=7), "TypeError"),
    "no metrics": ("trial_1/trial.json", lambda path: path.write_text("{}"), "KeyError: 'trial_id'; remove the direct"),
    "another number": ("trial_1/trial.json", lambda path: edit(path, trial_id="0"), "trial_id must be one of '1'"),
    "another status": ("trial_1/trial.json", lambda path: edit(path, status="DONE"), "status must be one of 'RUNNING'"),
    "another value": (
        "trial_1/trial.json",
        lambda path: edit(path, hyperparameters={"space": [], "values": {"depth_2": 99}}),
        "depth_2 must be one of 1, 2, 3, 4. Received: depth_2=99",
    ),
    "a far number": (
        "oracle.json",
        lambda path: edit(path, start_order=["0", "1", "999999999999"]),
        "number of a trial must be at most 1,000,000. Received: 999999999999",
    ),
    "no search": ("search.json", lambda path: path.write_text("[]"), "no readable search.json"),
}


@pytest.mark.parametrize("name", EDITED)
def test_a_file_with_another_content_than_the_search_wrote_is_named(name, tmp_path):
    directory, _ = finished(tmp_path, 2)
    file, change, message = EDITED[name]
    change(directory / file)
    before = contents(tmp_path)
    with pytest.raises(ValueError, match=f"directory must .* Received: {directory}.*{message}"):
        tuner_of("RandomSearch", tmp_path, 2)
    assert contents(tmp_path) == before


def test_any_value_of_a_range_is_one_that_a_search_wrote(tmp_path):
    """Of a `Float` without a step, KerasTuner lists ten examples of values."""
    directory, _ = finished(tmp_path, 1)
    tuner = tuner_of("RandomSearch", tmp_path, 1)
    rate = tuner.oracle.hyperparameters.Float("rate", 1e-4, 1e-1, sampling="log")
    file = directory / "trial_0" / "trial.json"
    content = json.loads(file.read_text())
    content["hyperparameters"]["values"]["rate"] = 0.0123
    file.write_text(json.dumps(content))
    assert 0.0123 not in tuner.oracle.hyperparameters.get_config()["space"][-1]["config"].get("values", [])
    assert rate == 1e-4
    (directory / "oracle.json").write_text("{}")  # otherwise nothing has changed
    (directory / "oracle.json").unlink()
    persistence.refresh(tuner.oracle, directory)
    assert tuner.oracle.trials["0"].hyperparameters.values["rate"] == 0.0123


@pytest.mark.slow
def test_images_are_forgotten_after_a_search(tmp_path, digits):
    tuner = tuner_of("RandomSearch", tmp_path, 1, trained_space())
    tuner.search(*digits, verbose=0)
    assert tuner.oracle.trials["0"].status == "COMPLETED"
    assert tuner.hypermodel._splits is None


def test_the_remedy_for_an_edited_file_works(tmp_path):
    directory, scores = finished(tmp_path)
    for name in ("oracle.json", "oracle.previous.json"):
        (directory / name).unlink()
    tuner = tuner_of("RandomSearch", tmp_path, 5)
    tuner.search(verbose=0)
    assert {number: tuner.oracle.trials[number].score for number in scores} == scores
    assert len(tuner.oracle.trials) == 5


@pytest.mark.parametrize("options", [{}, {"overwrite": True}], ids=["search", "overwrite"])
def test_a_second_search_in_a_directory_is_refused(options, tmp_path):
    directory, _ = finished(tmp_path, 1)
    before = {path: content for path, content in contents(tmp_path).items() if path.name != "lock"}
    with (
        exclusive(directory, "search"),
        pytest.raises(ValueError, match="by one search at a time; .*, which a search of another process uses"),
    ):
        kr.tuning.RandomSearch(
            space_of(), "val_accuracy", seed=1, max_trials=3, directory=tmp_path, project_name="digits", **options
        ).search(verbose=0)
    assert {path: content for path, content in contents(tmp_path).items() if path.name != "lock"} == before


def test_a_search_goes_on_from_what_another_process_did_after_its_tuner_was_made(tmp_path):
    early = tuner_of("RandomSearch", tmp_path, 4)
    _, scores = finished(tmp_path, 3)
    early.search(verbose=0)
    assert numbers(early) == list("0123")
    assert {number: early.oracle.trials[number].score for number in scores} == scores


def test_a_trial_killed_after_its_report_is_judged_by_its_second_run(tmp_path):
    tuner_of("RandomSearch", tmp_path, 1).search(verbose=0)
    path = tmp_path / "digits" / "trial_0" / "trial.json"
    trial = json.loads(path.read_text())
    trial["metrics"]["metrics"]["val_accuracy"]["observations"] = [{"value": [99.0], "step": 0}]
    path.write_text(json.dumps({**trial, "status": "RUNNING"}))
    resumed = tuner_of("RandomSearch", tmp_path, 1)
    resumed.search(verbose=0)
    assert (resumed.oracle.trials["0"].status, resumed.oracle.trials["0"].score < 2) == ("COMPLETED", True)


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
    for number, goal in enumerate((several, objective("reward", "max"))):
        space = trained_space(reward=kr.tuning.mnasnet_reward("macs", 1.0))
        tuner = kr.tuning.RandomSearch(space, goal, max_trials=1, directory=tmp_path / str(number))
        tuner.search(*digits, verbose=0)
        (result,) = kr.tuning.trial_results(tuner)
        accuracy, latency, macs = (result.metrics[name] for name in ("val_accuracy", "latency", "macs"))
        assert result.score == pytest.approx(accuracy / macs if number else latency - accuracy)


@pytest.mark.slow
def test_images_that_do_not_fit_end_a_search_at_once(digits, tmp_path):
    colour = kr.HyperResNet((8, 8, 3), 10, base="ResNet20", recipe=RECIPE, tune=("drop",))
    tuner = kr.tuning.RandomSearch(colour, "val_accuracy", directory=tmp_path)
    with pytest.raises(ValueError, match="must take images with 1 channels"):
        tuner.search(*digits, verbose=0)
    recipe = dataclasses.replace(RECIPE, validation_split=0.0)
    gray = kr.HyperResNet((8, 8, 1), 10, base="ResNet20", recipe=recipe, tune=("drop",))
    with pytest.raises(ValueError, match="validation must be images if the recipe has no validation_split"):
        kr.tuning.RandomSearch(gray, "val_accuracy", directory=tmp_path / "gray").search(digits[0], verbose=0)


def test_each_execution_of_a_trial_holds_out_other_images(digits, monkeypatch):
    held = []

    def record(model, recipe, train, validation, callbacks):
        held.append(validation.records.contents)
        raise DivergedError("the test ends here")

    monkeypatch.setattr(hypermodel, "fit_prepared", record)
    space, hp = trained_space(), keras_tuner.HyperParameters()
    model = space.build(hp)
    for _ in range(2):
        with pytest.raises(keras_tuner.errors.FailedTrialError, match="the test ends here"):
            space.fit(hp, model, digits[0])
    assert held[0].shape == held[1].shape
    assert (held[0] != held[1]).any()


@pytest.mark.slow
def test_a_trial_that_diverges_fails_and_the_search_goes_on(digits, tmp_path, eager):
    diverging = dataclasses.replace(RECIPE, learning_rate=1e30, warmup=0.0)
    tuner = kr.tuning.RandomSearch(
        trained_space(recipe=diverging),
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
