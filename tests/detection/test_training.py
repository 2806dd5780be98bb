"""`fit` of detectors: what it learns and returns, that it survives kills, and what it refuses."""

import csv
import dataclasses
import json
import os
import signal

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_resnet.detection import DetectionRecipe, fit, training_network
from keras_resnet.runtime.train_mode import quick_training
from keras_resnet.training import Recipe, checkpoints
from keras_resnet.training.resuming import DivergedError, Stopped
from tests import needs, processes
from tests.conftest import UNTRACED
from tests.detection.small_detector import DESIGN, batches_from, detector, example

EPOCHS, STEPS = 2, 3
SCRATCH = {"frozen_until": "conv1", "frozen_norms": False}
PLAIN = DetectionRecipe(epochs=EPOCHS, batch_size=4, learning_rate=0.01, warmup_steps=1, **SCRATCH)
# With all features that have a state, or change the gradients.
BUSY = dataclasses.replace(
    PLAIN, optimizer="adamw", schedule="cosine", milestones=(), clip_norm=1.0, ema_decay=0.8, precision="bfloat16"
)


def mean_of_weights(model):
    """A value in place of the mAP that depends on the weights and costs nothing."""
    return float(np.clip(np.abs(model.get_layer("box_head").get_weights()[-2]).mean(), 0, 1))


class AtStep(keras.callbacks.Callback):
    """Sends a signal to this process after a number of its steps."""

    def __init__(self, step, number):
        super().__init__()
        self.left, self.number = step, number

    def on_train_batch_end(self, batch, logs=None):
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), self.number)


def train(directory=None, callbacks=(), recipe=BUSY, design=DESIGN):
    model = detector(design)
    result = fit(model, design, recipe, batches_from, STEPS, directory, mean_of_weights, callbacks)
    return model.get_weights(), result


KILLED = """
import sys, signal, tensorflow as tf
from tests.detection import test_training
tf.config.run_functions_eagerly(True)
test_training.train(sys.argv[1], [test_training.AtStep(int(sys.argv[2]), signal.SIGKILL)])
"""


@pytest.mark.slow
@pytest.mark.processes
@UNTRACED
def test_a_training_that_is_stopped_and_killed_ends_as_if_it_had_not_been(tmp_path, eager):
    with pytest.raises(Stopped, match=f"stopped by SIGTERM in epoch 1, step 2 of {STEPS}; saved in"):
        train(tmp_path / "killed", [AtStep(2, signal.SIGTERM)])
    ended = processes.python("-c", KILLED, tmp_path / "killed", 2)  # in the second epoch
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    assert checkpoints.newest(tmp_path / "killed" / "checkpoints").state["epoch"] == 1
    resumed_weights, resumed = train(tmp_path / "killed")
    weights, result = train(tmp_path / "whole")
    assert (resumed.history, resumed.best_epoch) == (result.history, result.best_epoch)
    for one, two in zip(weights, resumed_weights, strict=True):
        np.testing.assert_array_equal(one, two)
    rows = list(csv.DictReader((tmp_path / "whole" / "history.csv").read_text().splitlines()))
    losses = ["rpn_objectness_loss", "rpn_boxes_loss", "classes_loss", "boxes_loss"]
    for row in rows:
        assert float(row["loss"]) == pytest.approx(sum(float(row[name]) for name in losses), rel=1e-5)
    state = checkpoints.newest(tmp_path / "whole" / "checkpoints").path / "state.json"
    saved = json.loads(state.read_text())
    del saved["settings"]["vertical_flip"]  # as a version would have written it that did not have this field yet
    state.write_text(json.dumps(saved))
    again, _ = train(tmp_path / "whole")
    np.testing.assert_array_equal(again[-1], weights[-1])
    with pytest.raises(ValueError, match=r"directory must be new, .* a training with clip_norm=1.0"):
        train(tmp_path / "whole", recipe=dataclasses.replace(BUSY, clip_norm=2.0))
    with pytest.raises(ValueError, match=r"directory must be new, .* a training with design="):
        train(tmp_path / "whole", design=dataclasses.replace(DESIGN, least_background_overlap=0.2))


@pytest.mark.slow
@UNTRACED
def test_the_result_is_the_epoch_with_the_best_value(eager):
    seen = []

    def worse_each_time(model):
        seen.append(model.get_weights())
        return 1 / len(seen)

    model = detector(DESIGN)
    result = fit(model, DESIGN, PLAIN, batches_from, 1, validate=worse_each_time, callbacks=())
    assert (result.best_epoch, result.history["val_map"]) == (1, [1.0, 0.5])
    for found, first in zip(model.get_weights(), seen[0], strict=True):
        np.testing.assert_array_equal(found, first)
    assert any((first != last).any() for first, last in zip(*seen, strict=True))


@pytest.mark.slow
def test_bfloat16_gives_about_the_losses_of_float32():
    model = detector(DESIGN)
    network = training_network(model, DESIGN)
    inputs = {name: np.stack([example(number)[name] for number in range(4)]) for name in example(0)}
    exact = {name: float(np.mean(loss)) for name, loss in network(inputs).items()}
    with quick_training(network, "bfloat16"):
        outputs = network(inputs)
        assert network.get_layer("neck").output[0].dtype == "float32"  # as it was built
        assert {loss.dtype for loss in outputs.values()} == {tf.float32}
        regions = network.get_layer("sampled").compute_dtype
    assert regions == "bfloat16"  # of the layer; it computes boxes in float32 nevertheless
    rounded = {name: float(np.mean(loss)) for name, loss in outputs.items()}
    assert rounded != exact
    assert rounded == pytest.approx(exact, rel=0.1, abs=0.02)


@pytest.mark.slow
@UNTRACED
def test_a_loss_that_is_no_number_stops_the_training_and_says_what_may_help(eager):
    recipe = dataclasses.replace(PLAIN, learning_rate=1e30, warmup_steps=0, clip_norm=0.0)
    with pytest.raises(
        DivergedError, match=r"is not a finite number .* a lower learning_rate, a longer warmup or clip"
    ):
        fit(detector(DESIGN), DESIGN, recipe, batches_from, 2)


STEPS_OF_A_BACKEND = """
import json, sys, numpy as np
from tests.detection.small_detector import DESIGN, batches_from, detector
from keras_resnet.detection import DetectionRecipe, Found, Objects, evaluate, find, fit
model = detector(DESIGN)
options = {"learning_rate": 0.01, "warmup_steps": 1, "ema_decay": 0.5, "frozen_until": "conv1", "frozen_norms": False}
recipe = DetectionRecipe(epochs=1, batch_size=4, **options)
result = fit(model, DESIGN, recipe, batches_from, 2, validate=lambda detector: 0.5)
(found,) = find(model, [np.zeros((64, 96, 3), "uint8")], DESIGN)
box, no = np.array([[10.0, 10, 50, 40]]), np.array([False])
cat, half = Objects(box, np.array([0]), no, no), Found(box + [0, 0, 0, 10], np.array([0]), np.array([0.9]))
evaluation = evaluate([found, half], [cat, cat], ["cat", "dog"])
overlap = evaluation.coverages[1].item()
print(json.dumps([result.history, len(found.boxes), overlap, evaluation.map50]))
"""


@pytest.mark.slow
@pytest.mark.processes
@pytest.mark.parametrize("backend", [pytest.param(name, marks=needs.package(name)) for name in ("jax", "torch")])
def test_other_backends_train_find_and_evaluate_too(backend):
    ended = processes.fresh("-c", STEPS_OF_A_BACKEND, environment={"KERAS_BACKEND": backend})
    history, count, overlap, value = json.loads(processes.printed(ended).splitlines()[-1])
    assert history["val_map"] == [0.5]
    assert 0.5 < history["loss"][0] < 5
    assert 0 <= count <= 100
    assert overlap == pytest.approx(0.75)
    assert 0 <= value <= 1


@pytest.mark.slow
@pytest.mark.processes
@pytest.mark.parametrize("backend", ["tensorflow", pytest.param("jax", marks=needs.package("jax"))])
def test_two_devices_learn_what_one_learns(backend):
    ended = processes.fresh("-m", "tests.detection.two_devices", environment={"KERAS_BACKEND": backend})
    one, two = json.loads(processes.printed(ended).splitlines()[-1])
    # On TensorFlow each device chooses its own anchors and proposals.
    assert two == pytest.approx(one, rel=1e-4 if backend == "jax" else 0.1)


class AtStart(keras.callbacks.Callback):
    """Keeps the network that is trained."""

    def on_train_begin(self, logs=None):
        self.network = self.model


@pytest.mark.slow
@UNTRACED
def test_the_seed_of_the_recipe_chooses_what_a_step_learns_from(eager):
    start = AtStart()
    fit(
        detector(DESIGN),
        DESIGN,
        dataclasses.replace(PLAIN, epochs=1, warmup_steps=0, seed=5),
        batches_from,
        1,
        callbacks=[start],
    )
    assert [start.network.get_layer(name).settings["seed"] for name in ("rpn_losses", "sampled")] == [5, 5]


def no_batches(step):
    return [example(0)]


def pairs(step):
    return batches_from(step).map(lambda batch: (batch["images"], batch["labels"]))


def changed(**functions):
    """The batches, with some of their parts changed."""
    return lambda step: batches_from(step).map(
        lambda batch: {**batch, **{name: change(batch[name]) for name, change in functions.items()}}
    )


def as_width_and_height(boxes):
    return tf.concat([boxes[..., :2], boxes[..., 2:] - boxes[..., :2]], axis=-1)


@pytest.mark.parametrize(
    ("fields", "batches", "error", "message"),
    [
        (
            {"warmup_steps": 6},
            batches_from,
            ValueError,
            "warmup_steps must be below 6, .*: take fewer, or more epochs",
        ),
        ({"early_stopping": 2}, batches_from, ValueError, "early_stopping must be 0 without validate"),
        ({}, no_batches, TypeError, "batches_from must return a tf.data.Dataset. Received: list"),
        ({}, pairs, ValueError, "dicts with boxes, images, labels, sizes. Received: tuple"),
        ({}, None, TypeError, "batches_from must be a function .*, as of batches_of. Received: NoneType"),
        ({}, changed(images=lambda x: x / 255), ValueError, "images must be raw pixels from 0 to 255"),
        ({}, changed(labels=lambda x: x + 1), ValueError, "labels must be from 0 to 1, and -1 fills the batch"),
        ({}, changed(boxes=as_width_and_height), ValueError, "boxes must be left, top, right and bottom in pixels"),
        ({}, changed(boxes=lambda x: x / 96), ValueError, "boxes must be in pixels of their images"),
        ({"frozen_until": "conv3"}, batches_from, ValueError, "pass frozen_until='conv3' and frozen_norms=False to"),
        ({"frozen_norms": True}, batches_from, ValueError, "first trained stage is conv1, with trained batch norms"),
    ],
)
def test_what_cannot_be_trained_is_refused(fields, batches, error, message, small):
    with pytest.raises(error, match=message):
        fit(small, DESIGN, dataclasses.replace(PLAIN, **fields), batches, STEPS)


@pytest.mark.parametrize(
    ("recipe", "message"),
    [(None, "Received: recipe=None"), (Recipe(), "must be a keras_resnet.detection.DetectionRecipe, or a name in")],
)
def test_recipes_of_another_kind_are_refused(recipe, message, small):
    with pytest.raises(TypeError, match=message):
        fit(small, DESIGN, recipe, batches_from, STEPS)


def test_another_design_than_that_of_the_detector_is_refused(small):
    other = dataclasses.replace(DESIGN, anchors=DESIGN.anchors._replace(sizes=((8, 32),)))
    with pytest.raises(ValueError, match=r"design must be the one .*: anchors.sizes is \[\[16, 32\]\] there"):
        fit(small, other, PLAIN, batches_from, STEPS)
    with pytest.raises(TypeError, match="design must be a keras_resnet.detection.Design. Received: design='FPN'"):
        training_network(small, "FPN")
    with pytest.raises(ValueError, match="detector must be a model of keras_resnet.detection.FasterRCNN"):
        fit(small.get_layer("neck"), DESIGN, PLAIN, batches_from, STEPS)


@pytest.fixture(scope="module")
def small():
    return detector(DESIGN)


@pytest.mark.slow
@UNTRACED
def test_a_value_of_the_validation_that_is_no_map_is_refused(eager):
    with pytest.raises(ValueError, match=r"the value of validate must be in \[0, 1\]. Received: .*=76.4"):
        fit(detector(DESIGN), DESIGN, PLAIN, batches_from, 1, validate=lambda model: 76.4)
