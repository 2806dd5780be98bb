"""Figures of an evaluation, against scikit-learn and against values worked out by hand."""

import copy
import json

import keras
import numpy as np
import pytest
from sklearn import metrics as sklearn_metrics

import keras_resnet as kr
from keras_resnet.evaluation.metrics import (
    Answers,
    calibration_error,
    classes_of_baseline,
    flips,
    reliability,
    top,
    wilson,
)
from keras_resnet.evaluation.result import Evaluation


def answers(labels, probabilities, classes=("cat", "dog", "owl"), names=None):
    probabilities = np.asarray(probabilities, "float32")
    best = np.argsort(-probabilities, axis=-1, kind="stable")[:, :5]
    labels = np.asarray(labels)
    rows = np.arange(len(labels))
    return Answers(
        classes,
        tuple(map(str, rows)) if names is None else names,
        labels,
        best,
        probabilities[rows[:, None], best],
        -np.log(probabilities[rows, labels]),
    )


@pytest.fixture(scope="module")
def random():
    rng = np.random.default_rng(0)
    labels = rng.choice(7, 400, p=[0.5, 0.2, 0.1, 0.1, 0.05, 0.05, 0])  # the last class has no images
    probabilities = rng.dirichlet(np.ones(7), 400)
    probabilities[np.arange(400), labels] += 0.3
    return labels, probabilities / probabilities.sum(-1, keepdims=True)


def test_the_figures_are_those_of_scikit_learn(random):
    labels, probabilities = random
    found = Evaluation(answers(labels, probabilities, tuple("abcdefg")))
    predicted = probabilities.argmax(-1)
    assert found == sklearn_metrics.accuracy_score(labels, predicted) == found.top1
    assert found.top5 == pytest.approx(
        sklearn_metrics.top_k_accuracy_score(labels, probabilities, k=5, labels=range(7))
    )
    assert found.loss == pytest.approx(sklearn_metrics.log_loss(labels, probabilities, labels=range(7)), rel=1e-6)
    assert found.balanced_accuracy == pytest.approx(
        sklearn_metrics.recall_score(labels, predicted, average="macro", labels=range(6))
    )
    np.testing.assert_array_equal(found.confusion, sklearn_metrics.confusion_matrix(labels, predicted, labels=range(7)))
    report = sklearn_metrics.classification_report(
        labels, predicted, labels=range(7), output_dict=True, zero_division=0
    )
    for row, number in zip(found.per_class, range(7), strict=True):
        expected = report[str(number)]
        assert row.support == expected["support"]
        assert np.nan_to_num([row.precision, row.recall, row.f1]) == pytest.approx(
            [expected["precision"], expected["recall"], expected["f1-score"]]
        )
    assert np.isnan(found.per_class[-1].recall)


def test_intervals_are_those_of_wilson():
    """Values of the formula with z = 1.959964, worked out by hand."""
    assert wilson(9, 10) == pytest.approx((0.59585, 0.98212), abs=1e-5)
    assert wilson(0, 5) == pytest.approx((0, 0.43448), abs=1e-5)
    assert wilson(0, 0) == (0, 1)


def test_calibration_is_the_mean_distance_of_confidence_and_accuracy():
    sure = [[0.9, 0.1], [0.9, 0.1], [0.9, 0.1], [0.9, 0.1], [0.6, 0.4]]
    bins = reliability(answers([0, 0, 0, 1, 0], sure, ("a", "b")))
    assert [(row.images, row.accuracy) for row in bins] == [(1, 1), (4, 0.75)]
    assert [row.confidence for row in bins] == pytest.approx([0.6, 0.9])
    assert calibration_error(bins) == pytest.approx((1 * 0.4 + 4 * 0.15) / 5)


@pytest.mark.parametrize("probability", [0.5, 1.0])
def test_the_highest_probability_is_in_the_bin_that_ends_with_it(probability):
    (row,) = reliability(answers([0], [[probability, 1 - probability + 1e-9]], ("a", "b")), bins=2)
    assert (row.low, row.high) == ((0, 0.5) if probability == 0.5 else (0.5, 1))


def test_top_5_of_three_classes_is_everything(random):
    assert top(answers([0, 1, 2], np.eye(3)[[1, 2, 0]] * 0.8 + 0.1), 5) == 1


def test_networks_are_compared_image_by_image():
    labels = [0] * 12
    new = answers(labels, [[0.9, 0.1]] * 11 + [[0.1, 0.9]], ("a", "b"))
    old = answers(labels, [[0.1, 0.9]] * 9 + [[0.9, 0.1]] * 3, ("a", "b"))
    found = flips(new, old)
    assert (found.fixed.tolist(), found.broken.tolist()) == (list(range(9)), [11])
    assert found.p_value == pytest.approx(2 * (1 + 10) / 2**10)  # at most one of ten flips, on either side
    assert flips(new, new).p_value == 1


def test_networks_with_their_classes_in_another_order_are_compared():
    new = answers([0, 1, 2], np.eye(3)[[0, 1, 0]] * 0.8 + 0.1)  # wrong for the owl
    old = answers([3, 2, 0], np.eye(4)[[3, 0, 0]] * 0.8 + 0.05, ("owl", "emu", "dog", "cat"))  # wrong for the dog
    found = flips(new, old)
    assert (found.fixed.tolist(), found.broken.tolist()) == ([1], [2])
    assert classes_of_baseline(new, old) == {0: 3, 1: 2, 2: 0}


@pytest.mark.parametrize(
    ("names", "labels", "classes", "message"),
    [
        (("0", "2"), [0, 1], ("a", "b"), "the same images. Received: 2 images, and 2 images, of which .* differs is 2"),
        (("0", "1"), [1, 0], ("a", "b"), "images of the same classes. Received: an image of 'b' that is 'a' now"),
        (("0", "1"), [0, 0], ("a", "b"), "images of the same classes. Received: an image of 'a' that is 'a' now"),
        (("0", "1"), [0, 1], ("b", "c"), "images of the same classes. Received: an image of 'c' that is 'b' now"),
    ],
)
def test_answers_for_other_images_are_not_compared(names, labels, classes, message):
    sure = [[0.9, 0.1], [0.1, 0.9]]
    with pytest.raises(ValueError, match=f"baseline must be answers for {message}"):
        flips(answers([0, 1], sure, ("a", "b")), answers(labels, sure, classes, names))


def test_an_evaluation_is_a_number(random):
    found = Evaluation(answers(*random, tuple("abcdefg")))
    assert json.loads(json.dumps(found)) == found
    assert f"{found:.1%}" == f"{float(found):.1%}"
    copied = copy.deepcopy(found)
    assert copied == found
    assert copied.confusion.sum() == 400


# `evaluate`


@pytest.fixture(scope="module")
def first_pixel():
    """A network whose scores are the first three pixels of an image."""
    inputs = keras.Input((3, 3, 1))
    scores = keras.layers.Flatten()(inputs)
    model = keras.Model(inputs, keras.layers.Dense(3, use_bias=False)(scores))
    model.set_weights([np.eye(9, 3) / 10])
    return model


def pixels(*scores):
    images = np.zeros((len(scores), 3, 3, 1), "uint8")
    images[:, 0, :, 0] = scores
    return images


def test_logits_become_probabilities(first_pixel):
    images = pixels((10, 0, 0), (0, 20, 0), (0, 0, 0))
    found = kr.evaluation.evaluate(first_pixel, kr.data.from_arrays(images, np.array([0, 1, 2]), ("a", "b", "c")))
    assert found == pytest.approx(2 / 3)  # of equal scores the first class is the answer
    assert found.answers.best[:, 0].tolist() == [0, 1, 0]
    e = np.e
    assert found.answers.probabilities[:, 0] == pytest.approx([e / (e + 2), e**2 / (e**2 + 2), 1 / 3])
    assert found.loss == pytest.approx(-np.log([e / (e + 2), e**2 / (e**2 + 2), 1 / 3]).mean(), rel=1e-6)


def test_outputs_that_are_no_probabilities_are_logits(first_pixel):
    """The last layer of this network has no activation that says so."""
    scores = keras.layers.Rescaling(1.0)(first_pixel.outputs[0])
    images = pixels((10, 0, 0), (0, 20, 0), (0, 0, 0))
    found = kr.evaluation.evaluate(keras.Model(first_pixel.inputs, scores), (images, np.array([0, 1, 2])))
    assert found.answers.probabilities[1, 0] == pytest.approx(np.e**2 / (np.e**2 + 2))
    assert found.answers.losses.min() >= 0
    assert found.answers.probabilities[0, 0] == 1  # a single image whose scores may be probabilities


def test_an_image_whose_outputs_are_not_finite_counts_as_wrong(caplog):
    inputs = keras.Input((3, 3, 1))
    model = keras.Model(inputs, keras.layers.Dense(3, use_bias=False)(keras.layers.Flatten()(inputs)))
    model.set_weights([np.eye(9, 3) * 1e38])
    images = pixels((9, 0, 0), (2, 0, 0), (0, 2, 0), (9, 9, 9))  # 9e38 is no float32
    found = kr.evaluation.evaluate(model, (images, np.array([0, 0, 1, 2])))
    assert found.answers.right.tolist() == [False, True, True, False]
    assert found.answers.not_finite.tolist() == [True, False, False, True]
    assert found.loss == pytest.approx(-np.log(1e-7) / 2, rel=1e-5)
    assert found.calibration_error == 0  # of the others
    assert "2 of 4 images, the first is 0: the outputs of the network are not finite" in caplog.text
    assert found.confusion.tolist() == [[1, 0, 0], [0, 1, 0], [0, 0, 0]]  # the others have no answer
    assert [row.precision for row in found.per_class[:2]] == [1, 1]


@pytest.mark.parametrize("classes", [1, 3])
def test_of_few_classes_no_answer_is_right_either(classes):
    inputs = keras.Input((3, 3, 1))
    dense = keras.layers.Dense(classes, bias_initializer=keras.initializers.Constant(np.nan))
    model = keras.Model(inputs, dense(keras.layers.Flatten()(inputs)))
    found = kr.evaluation.evaluate(model, (pixels((9, 0, 0), (2, 0, 0)), np.zeros(2, int)))
    assert (found.top1, found.top5, found.confusion.sum()) == (0, 0, 0)


def test_logits_of_minus_infinity_are_probabilities_of_zero():
    inputs = keras.Input((3, 3, 1))
    masked = keras.layers.Dense(3, bias_initializer=lambda shape, dtype: np.array([0, -np.inf, 0], dtype))
    model = keras.Model(inputs, masked(keras.layers.Flatten()(inputs)))
    model.layers[-1].kernel.assign(np.eye(9, 3))
    found = kr.evaluation.evaluate(model, (pixels((9, 0, 0), (0, 0, 9)), np.array([0, 2])))
    assert found == 1
    assert found.answers.probabilities[0, 2] == 0


def test_an_answer_without_loss_that_is_wrong_is_a_mistake():
    inputs = keras.Input((3, 3, 1))
    model = keras.Model(inputs, keras.layers.Dense(3, "sigmoid")(keras.layers.Flatten()(inputs)))
    model.set_weights([np.ones((9, 3)), np.zeros(3)])
    found = kr.evaluation.evaluate(model, (pixels((200, 0, 0)), np.array([2])))
    assert (float(found), found.loss, len(found.mistakes)) == (0, 0, 1)


def test_outputs_with_names_are_evaluated():
    inputs = {"image": keras.Input((3, 3, 1), name="image")}
    scores = keras.layers.Dense(3, use_bias=False)(keras.layers.Flatten()(inputs["image"]))
    model = keras.Model(inputs, {"scores": scores})
    model.set_weights([np.eye(9, 3)])
    assert kr.evaluation.evaluate(model, (pixels((9, 0, 0), (0, 0, 9)), np.array([0, 2]))) == 1


def test_a_network_with_two_inputs_is_refused():
    images = [keras.Input((3, 3, 1)) for _ in range(2)]
    model = keras.Model(images, keras.layers.Dense(3)(keras.layers.Flatten()(keras.layers.Add()(images))))
    with pytest.raises(ValueError, match="model must take square images .* Received: 2 inputs"):
        kr.evaluation.evaluate(model, (pixels((0, 0, 0)), np.array([0])))


def test_some_classes_of_the_network_in_another_order(first_pixel):
    split = kr.data.from_arrays(pixels((9, 0, 0), (0, 0, 9)), np.array([1, 0]), ("c", "a"))
    found = kr.evaluation.evaluate(first_pixel, split, labels=[2, 0])
    assert found == 1
    assert found.answers.classes == ("a", "1", "c")
    assert found.answers.labels.tolist() == [0, 2]
    named = kr.evaluation.evaluate(first_pixel, split, labels=[2, 0], class_names=["a", "b", "c"])
    assert [row.name for row in named.per_class] == ["a", "b", "c"]
    with pytest.raises(ValueError, match="class_names must have a name for each of the model's 3 outputs. Received: 2"):
        kr.evaluation.evaluate(first_pixel, split, labels=[2, 0], class_names=["a", "b"])


@pytest.mark.slow
def test_answers_have_the_names_of_their_files_where_some_are_skipped(first_pixel, tmp_path, caplog):
    from PIL import Image

    for name, value in (("a/1", 200), ("a/2", 100), ("b/3", 50), ("c/4", 0)):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.fromarray(np.full((3, 3), value, "uint8")).save(tmp_path / f"{name}.png")
    (tmp_path / "a" / "1.png").write_bytes(b"no image")
    split = kr.data.load(f"folder:{tmp_path}", "all", on_corrupt="skip")
    found = kr.evaluation.evaluate(first_pixel, split)
    assert [name.rpartition("/")[2] for name in found.answers.names] == ["2.png", "3.png", "4.png"]
    assert found.answers.labels.tolist() == [0, 1, 2]
    assert found.count == 3
