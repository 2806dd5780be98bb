"""Features at work: neighbors, probes, duplicates, label errors, on features whose answers are known."""

import keras
import numpy as np
import pytest

import keras_resnet as kr
from keras_resnet.evaluation.embeddings import (
    Embeddings,
    duplicates,
    embed,
    held_out_probabilities,
    knn_accuracy,
    label_errors,
    neighbors,
    probe_accuracy,
    project,
    without_classifier,
)
from tests import needs

ANGLES = np.array([0, 5, 12, 90, 96, 190])


def on_a_circle(angles, labels=None):
    radians = np.deg2rad(angles)
    count = len(radians)
    labels = np.zeros(count, int) if labels is None else np.asarray(labels)
    values = np.stack([np.cos(radians), np.sin(radians)], 1).astype("float32") * np.arange(1, count + 1)[:, None]
    return Embeddings(values, labels, tuple(map(str, range(count))), ("a", "b"))


def clusters(count=30, spread=8, seed=0):
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % 2
    return on_a_circle(90 * labels + rng.normal(0, spread, count), labels)


def test_neighbors_are_those_with_the_smallest_angle():
    circle = on_a_circle(ANGLES)
    numbers, similarities = neighbors(circle, circle, 2)
    assert numbers.tolist() == [[1, 2], [0, 2], [1, 0], [4, 2], [3, 2], [4, 3]]
    np.testing.assert_allclose(similarities[0], np.cos(np.deg2rad([5, 12])), atol=1e-6)
    numbers, _ = neighbors(circle, on_a_circle([89]), 1)
    assert numbers.tolist() == [[3]]


def test_a_single_image_has_no_neighbors():
    one = on_a_circle([3])
    numbers, similarities = neighbors(one, one, 5)
    assert numbers.shape == similarities.shape == (1, 0)
    assert duplicates(one) == []
    with pytest.raises(ValueError, match="embeddings must have at least two images. Received: 1"):
        project(one)


def test_of_few_images_all_are_neighbors():
    circle = on_a_circle(ANGLES)
    assert neighbors(circle, circle, 100)[0].shape == (6, 5)
    assert knn_accuracy(circle, on_a_circle([7]), count=100) == 1


def test_an_image_is_not_its_own_neighbor():
    pairs = on_a_circle([0, 1, 90, 91], [0, 1, 1, 1])
    assert knn_accuracy(pairs, pairs, count=1) == 0.5  # the first two have each other
    assert knn_accuracy(pairs, pairs._replace(labels=pairs.labels), count=1) == 1  # each image is in both sets


def test_duplicates_are_found_within_a_split_and_across_two():
    circle = on_a_circle([0, 40, 0.2, 80])
    assert [pair[:2] for pair in duplicates(circle)] == [(0, 2)]
    assert [pair[:2] for pair in duplicates(on_a_circle([41, 80.01]), circle)] == [(1, 3)]
    assert duplicates(circle, similarity=1.0) == []
    features = np.random.default_rng(0).normal(size=(50, 512)).astype("float32")  # copies differ by rounding
    images = Embeddings(np.repeat(features, 2, axis=0), np.zeros(100, int), tuple(map(str, range(100))), ("a",))
    assert sorted(pair[:2] for pair in duplicates(images, similarity=1.0)) == [(2 * n, 2 * n + 1) for n in range(50)]
    with pytest.raises(ValueError, match=r"similarity must be in \(0, 1\]. Received: similarity=0"):
        duplicates(circle, similarity=0)


def test_features_that_tell_classes_apart_are_probed():
    train, test = clusters(), clusters(seed=1)
    assert knn_accuracy(train, test) == probe_accuracy(train, test) == 1
    swapped = test._replace(labels=1 - test.labels)
    assert knn_accuracy(train, swapped) == probe_accuracy(train, swapped) == 0


def test_wrong_labels_are_found():
    needs.import_package("cleanlab")
    circle = clusters(60)
    circle = circle._replace(values=circle.values / np.linalg.norm(circle.values, axis=1, keepdims=True))
    labels = circle.labels.copy()
    labels[[20, 41]] = 1 - labels[[20, 41]]
    assert sorted(label_errors(circle._replace(labels=labels)).tolist()) == [20, 41]
    assert label_errors(circle).tolist() == []


def test_each_image_is_answered_after_training_on_others():
    circle = clusters(60)
    probabilities = held_out_probabilities(circle)
    assert probabilities.shape == (60, 2)
    np.testing.assert_allclose(probabilities.sum(1), 1, atol=1e-6)
    assert (probabilities.argmax(1) == circle.labels).all()
    labels = circle.labels.copy()
    labels[20] = 1 - labels[20]
    assert held_out_probabilities(circle._replace(labels=labels))[20, labels[20]] < 0.5
    needs.import_package("cleanlab")
    wrong = np.eye(2)[1 - circle.labels] * 0.8 + 0.1
    assert len(label_errors(circle, probabilities=wrong)) > len(label_errors(circle, probabilities=probabilities)) == 0


def test_a_probe_needs_two_classes():
    one_class = clusters()._replace(labels=np.zeros(30, int))
    with pytest.raises(ValueError, match="embeddings must have at least two classes. Received: 1"):
        probe_accuracy(one_class, one_class)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.repeat([0, 1], [26, 4]), "must have at least 5 images of each class. Received: 4 of one class"),
        (np.zeros(30, int), "must have at least two classes. Received: 1"),
    ],
)
def test_label_errors_need_images_of_several_classes(labels, message):
    needs.import_package("cleanlab")
    with pytest.raises(ValueError, match=message):
        label_errors(clusters()._replace(labels=labels))


@pytest.mark.slow
def test_a_map_keeps_clusters_together():
    circle = clusters()
    places = project(circle)
    assert places.shape == (30, 2)
    middles = np.stack([places[circle.labels == label].mean(0) for label in (0, 1)])
    nearest = np.linalg.norm(places[:, None] - middles, axis=-1).argmin(1)
    assert (nearest == circle.labels).mean() > 0.95


def test_the_features_are_what_the_classifier_gets():
    model = kr.ResNet((1,), kr.residual_block, filters=(8,), stem=kr.stems.cifar, input_shape=(8, 8, 1), classes=3)
    images = np.random.default_rng(0).integers(0, 256, (5, 8, 8, 1)).astype("uint8")
    found = embed(model, (images, np.array([0, 1, 2, 0, 1])), batch_size=2)
    expected = keras.Model(model.input, model.get_layer("avg_pool").output).predict(images, verbose=0)
    np.testing.assert_allclose(found.values, expected, atol=1e-5)
    assert (found.labels.tolist(), found.names) == ([0, 1, 2, 0, 1], ("0", "1", "2", "3", "4"))


def test_a_network_without_a_classifier_gives_its_output():
    body = kr.ResNet20(include_top=False, pooling="avg", input_shape=(8, 8, 1))
    assert without_classifier(body) is body
    with pytest.raises(ValueError, match=r"model must have features \(N, D\) before its classifier"):
        without_classifier(kr.ResNet20(include_top=False, input_shape=(8, 8, 1)))


def test_a_dense_layer_inside_the_network_is_no_classifier():
    image = keras.Input((8, 8, 4))
    gate = keras.layers.Dense(4, "sigmoid")(keras.layers.GlobalAveragePooling2D()(image))
    features = keras.layers.GlobalAveragePooling2D()(image * keras.layers.Reshape((1, 1, 4))(gate))
    body = keras.Model(image, features)
    assert without_classifier(body) is body
    logits = keras.layers.Dense(3)(features)
    for end in (keras.layers.Activation("softmax"), keras.layers.Softmax()):
        assert without_classifier(keras.Model(image, end(logits))).output is features


def test_a_model_inside_a_model_has_its_features():
    image, whole = keras.Input((8, 8, 4)), keras.Input((8, 8, 4))
    features = keras.layers.GlobalAveragePooling2D()(image)
    inner = keras.Model(image, keras.layers.Dense(3, "softmax")(features))
    pixels = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 4)).astype("float32")
    for outer in (keras.Sequential([keras.Input((8, 8, 4)), inner]), keras.Model(whole, inner(whole))):
        np.testing.assert_allclose(without_classifier(outer).predict_on_batch(pixels), pixels.mean((1, 2)), rtol=1e-5)


def test_features_that_are_not_finite_name_an_image():
    image = keras.Input((8, 8, 1))
    model = keras.Model(image, keras.ops.log(keras.layers.GlobalAveragePooling2D()(image)))
    images = np.full((3, 8, 8, 1), 9, "uint8")
    images[1] = 0
    with pytest.raises(ValueError, match="model must give finite features. Received: NaN or infinity for image 1"):
        embed(model, (images, [0, 0, 0]))


@pytest.mark.slow
def test_of_corrupt_images_alone_there_are_no_features(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "0.png").write_bytes(b"no image")
    image = keras.Input((8, 8, 1))
    model = keras.Model(image, keras.layers.GlobalAveragePooling2D()(image))
    split = kr.data.load(f"folder:{tmp_path}", "all", on_corrupt="skip")
    with pytest.raises(ValueError, match="split must have at least one readable image"):
        embed(model, split)
    with pytest.raises(ValueError, match="a/0.png is not a readable JPEG"):
        embed(model, kr.data.load(f"folder:{tmp_path}", "all"))
