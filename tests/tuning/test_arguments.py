"""`tuner.search` as people call it in KerasTuner, and mistakes that are the same in each trial."""

import dataclasses

import keras
import keras_tuner
import numpy as np
import pytest
import tensorflow as tf

import keras_resnet as kr
from keras_resnet.data import from_arrays
from keras_resnet.training.fitting import Result
from keras_resnet.tuning import hypermodel
from tests.conftest import UNTRACED, quick_among
from tests.data.test_sources import pairs
from tests.tuning.test_tuners import RECIPE, trained_space, tuner_of

pytestmark = UNTRACED
IMAGES = (np.arange(40 * 8 * 8) % 251).astype("uint8").reshape(40, 8, 8, 1)
LABELS = np.arange(40) % 10
ONE_HOT = np.eye(10)[LABELS]
KINDS = pytest.mark.parametrize("kind", [kr.tuning, keras_tuner], ids=["ours", "KerasTuner's"])


def split():
    return from_arrays(IMAGES, LABELS, tuple("0123456789"))


def batches():
    return tf.data.Dataset.from_tensor_slices((IMAGES.astype("float32"), ONE_HOT)).batch(16)


@pytest.fixture
def trainings(monkeypatch):
    """The arguments of each training. Nothing is trained."""
    calls = []

    def record(model, recipe, train, validation, callbacks):
        calls.append((recipe, train, validation))
        history = {"loss": [1.0], "accuracy": [0.5], "val_loss": [1.0], "val_accuracy": [0.5], "learning_rate": [0.1]}
        return Result(history, 1, 0.1, [])

    monkeypatch.setattr(hypermodel, "fit_prepared", record)
    monkeypatch.setattr(hypermodel, "latency", lambda model: 0.001)
    return calls


CALLS = {
    "arrays": lambda search: search(IMAGES, LABELS, validation_data=(IMAGES, LABELS)),
    "arrays by name": lambda search: search(x=IMAGES, y=ONE_HOT, validation_data=(IMAGES, LABELS[:, None])),
    "datasets": lambda search: search(batches(), validation_data=batches()),
    "a pair": lambda search: search((IMAGES, LABELS), validation_data=split()),
    "splits": lambda search: search(split(), split()),
    "splits by name": lambda search: search(train=split(), validation=split()),
}


@KINDS
@pytest.mark.parametrize("call", quick_among(CALLS, "arrays"))
def test_a_search_is_called_as_in_kerastuner(call, kind, tmp_path, trainings):
    tuner = tuner_of("RandomSearch", tmp_path, 2, trained_space(), kind)
    callbacks = [keras.callbacks.EarlyStopping()]
    CALLS[call](
        lambda *data, **named: tuner.search(*data, **named, epochs=5, batch_size=8, callbacks=callbacks, verbose=0)
    )
    assert [trial.status for trial in tuner.oracle.trials.values()] == ["COMPLETED"] * 2
    for recipe, train, validation in trainings:
        assert (recipe.epochs, recipe.batch_size) == (5, 8)
        assert train.classes == validation.classes == tuple("0123456789")
        for part in (train, validation):
            shown = pairs(part) if call == "datasets" else list(zip(part.records.contents, part.records.labels))
            np.testing.assert_array_equal([image for image, _ in shown], IMAGES)
            assert [label for _, label in shown] == LABELS.tolist()


@KINDS
def test_images_are_held_out_of_arrays(kind, tmp_path, trainings):
    space = trained_space(recipe=dataclasses.replace(RECIPE, validation_split=0.0))
    tuner_of("RandomSearch", tmp_path, 1, space, kind).search(IMAGES, LABELS, validation_split=0.25, verbose=0)
    ((recipe, train, validation),) = trainings
    assert (recipe.epochs, recipe.batch_size) == (RECIPE.epochs, RECIPE.batch_size)
    assert (train.size, validation.size) == (30, 10)


@pytest.mark.slow
def test_a_dataset_of_unknown_size_is_counted_once(tmp_path, trainings):
    reads = []

    def generate():
        reads.append(1)
        yield from zip(IMAGES, LABELS)

    spec = tf.TensorSpec((8, 8, 1), tf.uint8), tf.TensorSpec((), tf.int64)
    data = tf.data.Dataset.from_generator(generate, output_signature=spec)
    tuner_of("RandomSearch", tmp_path, 3, trained_space()).search(data, validation_data=split(), verbose=0)
    assert [train.size for _, train, _ in trainings] == [40] * 3
    assert len(reads) == 2  # it is counted, and can be read again


def reader(**options):
    return lambda tuner: tuner.search(**{"x": IMAGES, "y": LABELS, "verbose": 0, **options})


MISTAKES = {
    "unknown argument": (
        reader(class_weight={0: 1.0}),
        TypeError,
        "search must be called with x, y, validation_data, .*; the recipe of .* Received: class_weight={0: 1.0}",
    ),
    "misspelled": (reader(epoch=3), TypeError, "Did you mean epochs.* Received: epoch=3"),
    "no images": (reader(x=None, y=None), TypeError, "x must be images, as in search.x, y. or search.dataset."),
    "no labels": (
        reader(y=None),
        TypeError,
        "train must be a Split.* Received: ndarray; put images and labels in a pair",
    ),
    "twice": (reader(validation=split(), validation_data=split()), TypeError, "must not be given together"),
    "scaled": (reader(x=IMAGES / 255), ValueError, "train: images must be uint8, from 0 to 255: raw pixels"),
    "classes": (reader(y=LABELS + 1), ValueError, "labels must be indices into classes, in .0, 10.. Received: 1 to 10"),
    "validation": (reader(validation_data=(IMAGES, ONE_HOT[:, :9])), ValueError, "validation: labels must be integers"),
    "channels": (reader(x=IMAGES.repeat(3, -1)), ValueError, "model must take images with 3 channels"),
    "epochs": (reader(epochs="5"), TypeError, "epochs must be an integer of at least 1. Received: epochs='5'"),
    "batch size": (reader(batch_size=0), ValueError, "batch_size must be an integer of at least 1"),
    "share": (reader(validation_split=1.5), ValueError, r"validation_split must be in \[0, 1\). Received: .*1.5"),
    "order": (
        reader(x=batches().unbatch().shuffle(64).batch(16), y=None),
        ValueError,
        "the same order in each iteration",
    ),
}


@KINDS
@pytest.mark.parametrize("mistake", quick_among(MISTAKES, "unknown argument", "scaled"))
def test_a_mistake_that_is_the_same_in_each_trial_ends_a_search_before_the_first(mistake, kind, tmp_path, trainings):
    call, error, message = MISTAKES[mistake]
    tuner = tuner_of("RandomSearch", tmp_path, 3, trained_space(), kind)
    with pytest.raises(error, match=message):
        call(tuner)
    assert trainings == []
    # KerasTuner's tuner had begun its first trial when it asked for the training.
    assert len(list((tmp_path / "digits").glob("trial_*"))) == (kind is keras_tuner)


@KINDS
@pytest.mark.parametrize(
    ("objective", "message"),
    [
        ("val_acc", "objective must be a metric of a trial: val_accuracy, .* Did you mean .* objective='val_acc'"),
        (None, "objective must be a metric of a trial: .* Received: objective=None"),
        ([keras_tuner.Objective("macs", "min"), keras_tuner.Objective("f1", "max")], "objective='f1'"),
    ],
    ids=["misspelled", "none", "one of two"],
)
def test_an_objective_that_no_trial_reports_ends_a_search(objective, message, kind, tmp_path, trainings):
    tuner = kind.RandomSearch(trained_space(), objective, max_trials=3, directory=tmp_path)
    with pytest.raises(ValueError, match=message):
        tuner.search(split(), split(), callbacks=[keras.callbacks.EarlyStopping()], verbose=0)
    assert trainings == []


class Logs(keras.callbacks.Callback):
    """A callback of the user's own: it may log metrics."""


@KINDS
def test_a_callback_of_ones_own_may_report_an_objective(kind, tmp_path, trainings):
    objective = keras_tuner.Objective("f1", "max")
    tuner = kind.RandomSearch(trained_space(), objective, max_trials=3, directory=tmp_path)
    with pytest.raises(ValueError, match="objective must be a metric of a trial: .* Received: objective='f1'"):
        tuner.search(split(), split(), callbacks=[Logs()], verbose=0)
    assert len(trainings) == 1  # the first trial shows that no callback logs it


@pytest.mark.parametrize(("reward", "error"), [(lambda metrics: metrics["f1"], "KeyError: 'f1'"), (print, "TypeError")])
def test_a_reward_that_is_no_number_ends_a_search(reward, error, tmp_path, trainings):
    tuner = tuner_of("RandomSearch", tmp_path, 3, trained_space(reward=reward))
    with pytest.raises(ValueError, match=f"reward must be a function of the metrics .* Received: {error}"):
        tuner.search(split(), split(), verbose=0)


def test_a_reward_that_is_not_finite_fails_its_trial(tmp_path, trainings):
    tuner = tuner_of("RandomSearch", tmp_path, 1, trained_space(reward=lambda metrics: float("inf")))
    tuner.search(split(), split(), verbose=0)
    (trial,) = tuner.oracle.trials.values()
    assert trial.status == "FAILED"
    assert "reward must return a finite number. Received: inf" in trial.message


@pytest.mark.parametrize("callbacks", [keras.callbacks.EarlyStopping(), [keras.callbacks.EarlyStopping], "csv"])
def test_callbacks_are_a_list(callbacks, tmp_path):
    tuner = tuner_of("RandomSearch", tmp_path, 1, trained_space())
    with pytest.raises(TypeError, match="callbacks must be a list of Keras callbacks, or None. Received: callbacks="):
        tuner.search(split(), callbacks=callbacks)
