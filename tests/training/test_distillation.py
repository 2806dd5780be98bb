"""Distillation: the loss, the teacher, and how it is opened by its name."""

import dataclasses
import os
import signal

import keras
import numpy as np
import pytest
from scipy.special import expit, log_softmax, softmax

import keras_resnet as kr
from keras_resnet.training import Recipe, Task, run
from keras_resnet.training.distillation import SOFT_LOSSES, _not_trainable, check_teacher
from keras_resnet.training.distribution import Placement
from keras_resnet.training.networks import open_teacher
from keras_resnet.training.recipe import CHOICES
from keras_resnet.training.resuming import Stopped
from keras_resnet.training.run_directory import read_task
from tests.conftest import UNTRACED
from tests.small_training import small_and_eager
from tests.training.test_resuming import AtStep

pytestmark = UNTRACED

ONE_STEP = Recipe(epochs=1, batch_size=32, pad_and_crop=0.0, label_smoothing=0.0, validation_split=0.0)
CLASSES = ("dark", "bright")


def network(seed, classes=2, activation="softmax", **options):
    keras.utils.set_random_seed(seed)
    options = {"input_shape": (8, 8, 1), "filters": (4,), "stem": kr.stems.cifar, **options}
    model = kr.ResNet((1,), kr.residual_block, classes=classes, classifier_activation=activation, **options)
    for layer in model.layers:  # networks start with means of 0 and, in each block, a factor of 0
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.gamma.assign(keras.random.uniform(layer.gamma.shape, 0.5, 1.5, seed=seed))
    return model


def images(count=32):
    rng = np.random.default_rng(0)
    labels = np.arange(count) % 2
    pixels = labels[:, None, None, None] * 90 + rng.integers(0, 160, (count, 8, 8, 1))
    return kr.data.from_arrays(pixels.astype("uint8"), labels, CLASSES)


def logits_of(model, pixels, training=False):
    """The logits of a model that ends in a softmax or a sigmoid."""
    inner = keras.Model(model.input, model.layers[-1].input)
    kernel, bias = model.layers[-1].get_weights()
    return np.asarray(inner(pixels.astype("float32"), training=training)) @ kernel + bias


def test_the_divergence_of_softmaxes_is_that_of_the_paper(rng):
    teacher, student = rng.normal(0, 3, (2, 6, 4)).astype("float32")
    p, log_p, log_q = softmax(teacher / 4, -1), log_softmax(teacher / 4, -1), log_softmax(student / 4, -1)
    expected = 16 * (p * (log_p - log_q)).sum(-1).mean()
    assert float(SOFT_LOSSES["categorical_crossentropy"](4.0)(teacher, student)) == pytest.approx(expected, rel=1e-4)


def test_the_divergence_of_sigmoids_is_the_mean_over_the_classes(rng):
    teacher, student = rng.normal(0, 3, (2, 6, 4)).astype("float32")
    p, q = expit(teacher / 4), expit(student / 4)
    expected = 16 * (p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q))).mean()
    assert float(SOFT_LOSSES["binary_crossentropy"](4.0)(teacher, student)) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("loss", CHOICES["loss"])
def test_a_student_that_answers_as_its_teacher_has_no_divergence(loss, rng):
    logits = rng.normal(0, 3, (6, 4)).astype("float32")
    assert float(SOFT_LOSSES[loss](4.0)(logits, logits)) == pytest.approx(0, abs=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("weight", [0.3, 1.0])
def test_the_loss_has_the_share_of_the_teacher(weight, eager):
    student, teacher, split = network(1), network(2), images()
    pixels, labels = split.records.contents, split.records.labels
    # The batch norms of a network in training use the mean of the batch, and moving means stay apart.
    own, theirs = logits_of(student, pixels, training=True), logits_of(teacher, pixels)
    plain = -log_softmax(own, -1)[np.arange(32), labels].mean()
    p, log_p = softmax(theirs / 2, -1), log_softmax(theirs / 2, -1)
    expected = (1 - weight) * plain + weight * 4 * (p * (log_p - log_softmax(own / 2, -1))).sum(-1).mean()

    recipe = dataclasses.replace(ONE_STEP, distillation_weight=weight, distillation_temperature=2.0)
    result = kr.training.fit(student, recipe, split, teacher=teacher)
    assert result.history["loss"][0] == pytest.approx(expected, rel=1e-4)


@pytest.mark.slow
def test_the_loss_of_validation_images_is_that_of_the_labels(eager):
    student, teacher, split = network(1), network(2), images()
    recipe = dataclasses.replace(ONE_STEP, distillation_weight=1.0)
    result = kr.training.fit(student, recipe, split, split, teacher=teacher)
    log_probabilities = log_softmax(logits_of(student, split.records.contents), -1)
    expected = -log_probabilities[np.arange(32), split.records.labels].mean()
    assert result.history["val_loss"][0] == pytest.approx(expected, rel=1e-4)


@pytest.mark.slow
def test_a_student_learns_the_answers_of_its_teacher_and_not_the_labels():
    split = images(64)
    teacher = network(2)
    kr.training.fit(teacher, dataclasses.replace(ONE_STEP, epochs=8), split)
    assert kr.training.evaluate(teacher, split) == 1
    wrong = kr.data.from_arrays(split.records.contents, 1 - split.records.labels, CLASSES)
    student = network(1)
    recipe = dataclasses.replace(ONE_STEP, epochs=8, distillation_weight=1.0)
    kr.training.fit(student, recipe, wrong, teacher=teacher)
    assert kr.training.evaluate(student, split) > 0.9


@pytest.mark.slow
def test_a_training_changes_nothing_of_its_teacher(eager):
    student, teacher = network(1), kr.freeze(network(2), until="predictions")
    weights, trainable = teacher.get_weights(), [layer.trainable for layer in teacher.layers]
    pixels = images().records.contents.astype("float32")
    answers = np.asarray(teacher(pixels))
    kr.training.fit(student, dataclasses.replace(ONE_STEP, precision="bfloat16"), images(), teacher=teacher)
    for before, after in zip(weights, teacher.get_weights(), strict=True):
        np.testing.assert_array_equal(after, before)
    assert [layer.trainable for layer in teacher.layers] == trainable
    np.testing.assert_array_equal(np.asarray(teacher(pixels)), answers)
    assert "compute_loss" not in vars(student)


def test_a_frozen_teacher_stays_frozen():
    inner = network(2)
    outer = keras.Sequential([keras.Input((8, 8, 1)), inner])
    inner.trainable = False
    inner.layers[2].trainable = True
    before = [layer.trainable for layer in (outer, inner, *inner.layers)]
    with _not_trainable(outer):
        assert not outer.trainable_variables
    assert [layer.trainable for layer in (outer, inner, *inner.layers)] == before
    inner.trainable = False
    with _not_trainable(inner):
        pass
    assert not inner.trainable


@pytest.mark.slow
@pytest.mark.parametrize(
    "shape",
    [pytest.param((16, 16, 3), id="larger and in color"), (4, 4, 1), pytest.param((None, None, 1), id="any size")],
)
def test_a_teacher_sees_the_images_in_its_own_size(shape, eager):
    student, teacher, split = network(1), network(2, input_shape=shape), images()
    pixels = split.records.contents.astype("float32")
    if shape[0]:
        pixels = np.asarray(keras.ops.image.resize(pixels, shape[:2], antialias=shape[0] < 8))
    theirs = logits_of(teacher, np.repeat(pixels, shape[-1], -1))
    own = logits_of(student, split.records.contents, training=True)
    p, log_p = softmax(theirs / 4, -1), log_softmax(theirs / 4, -1)
    expected = 16 * (p * (log_p - log_softmax(own / 4, -1))).sum(-1).mean()
    recipe = dataclasses.replace(ONE_STEP, distillation_weight=1.0)
    assert kr.training.fit(student, recipe, split, teacher=teacher).history["loss"][0] == pytest.approx(
        expected, rel=1e-3
    )


REFUSED = {
    "other classes": (lambda student: network(2, classes=3), "an output for each of the 2 classes"),
    "other channels": (lambda student: network(2, input_shape=(8, 8, 2)), "must take images with 1 channels"),
    "itself": (lambda student: student, "another model than the one that is trained"),
    "another activation": (lambda student: network(2, activation="tanh"), "must end in a layer with a softmax"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_teacher_that_does_not_fit_is_refused(case):
    student = network(1)
    create, problem = REFUSED[case]
    with pytest.raises(ValueError, match=problem):
        kr.training.fit(student, ONE_STEP, images(), teacher=create(student))


def test_a_teacher_is_refused_if_several_processes_train():
    with pytest.raises(ValueError, match="teacher must be None if several processes"):
        check_teacher(network(2), network(1), images(), Placement(2, 0, 2))


@pytest.mark.slow
def test_a_training_with_a_teacher_resumes_only_with_the_same_one(tmp_path, eager):
    recipe = dataclasses.replace(ONE_STEP, epochs=2, batch_size=8)
    expected = network(1)
    kr.training.fit(expected, recipe, images(), teacher=network(2))
    stop = AtStep(6, lambda: os.kill(os.getpid(), signal.SIGTERM))
    with pytest.raises(Stopped):
        kr.training.fit(network(1), recipe, images(), callbacks=[stop], directory=tmp_path, teacher=network(2))
    for teacher, problem in ((network(3), "with another teacher"), (None, "with another teacher")):
        with pytest.raises(ValueError, match=problem):
            kr.training.fit(network(1), recipe, images(), directory=tmp_path, teacher=teacher)
    resumed = network(1)
    kr.training.fit(resumed, recipe, images(), directory=tmp_path, teacher=network(2))
    for one, two in zip(expected.get_weights(), resumed.get_weights(), strict=True):
        np.testing.assert_array_equal(two, one)


def test_a_teacher_is_opened_by_name_with_the_classes_of_the_images():
    whole = kr.ResNet20(weights="fashion_mnist")
    names = kr.weights.find("ResNet20", "fashion_mnist")
    assert names.classes == 10
    split = kr.data.from_arrays(np.zeros((2, 28, 28, 1), "uint8"), [0, 1], ("Sandal", "Coat"))
    teacher = open_teacher("ResNet20:fashion_mnist", split)
    pixels = np.random.default_rng(0).integers(0, 256, (3, 28, 28, 1)).astype("float32")
    np.testing.assert_allclose(logits_of(teacher, pixels), logits_of(whole, pixels)[:, [5, 4]], rtol=1e-5, atol=1e-5)


def test_a_model_of_the_zoo_teaches_only_with_a_tag():
    with pytest.raises(ValueError, match="NAME:TAG; `keras-resnet models ResNet50 --weights` lists the tags. Received"):
        open_teacher("ResNet50", images())


def test_an_unknown_teacher_is_refused():
    split = kr.data.from_arrays(np.zeros((2, 28, 28, 1), "uint8"), [0, 1], ("Sandal", "Zebra"))
    with pytest.raises(ValueError, match="teacher must know the classes of the images.*'Zebra'"):
        open_teacher("ResNet20:fashion_mnist", split)
    with pytest.raises(ValueError, match="unknown weights"):
        open_teacher("ResNet20:fashion", split)
    with pytest.raises(ValueError, match="must be a run directory or a .keras file"):
        open_teacher("runs/absent", split)


@pytest.mark.slow
def test_a_run_teaches_another_one_and_both_are_written_down(tmp_path):
    recipe = dataclasses.replace(ONE_STEP, batch_size=128)
    lines = []
    with small_and_eager():
        run.train(Task("ResNet20", "digits", recipe, 8), tmp_path / "teacher")
        task = Task("ResNet20", "digits", recipe, 8, teacher=str(tmp_path / "teacher"))
        student = run.train(task, tmp_path / "student", write_line=lines.append)
        assert run.train(task, tmp_path / "student") == student  # it is finished
    assert read_task(tmp_path / "student") == task
    assert any(line.startswith(f"teacher: {tmp_path / 'teacher'}, ") for line in lines)
