"""Tests of the signature `explain`: the class of an image file, its score, and an exact class activation map."""

import platform
import re
from collections import Counter
from typing import Any, NamedTuple

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

import keras_resnet as kr
from keras_resnet.data.decode import to_square
from keras_resnet.export import precisions
from keras_resnet.export.folding import fold_batch_norm
from keras_resnet.export.graphs import flat_float32
from keras_resnet.export.network import classifier, classifier_scores, map_extractor, pooled
from tests.conftest import quick_among, randomise_evenly
from tests.small_export import without_files

SIDE, NAMES = 16, ("cat", "dog", "owl")


def tiny(**options):
    options = {"filters": (8,), "stem": kr.stems.cifar, "classes": 3, "input_shape": (SIDE, SIDE, 3), **options}
    return kr.ResNet((1,) * len(options["filters"]), kr.residual_block, **options)


def trained(**options):
    model = tiny(filters=(16, 32), **options)
    randomise_evenly(model, np.random.default_rng(0))
    return model


def noise():
    """Four images of 4x4 patches, which have a wider range in the network than single pixels have."""
    patches = np.random.default_rng(1).uniform(0, 255, (4, SIDE // 4, SIDE // 4, 3))
    return patches.astype("float32").repeat(4, 1).repeat(4, 2)


def png(image):
    return tf.io.encode_png(image).numpy()


def logits_of(model, images):
    """The outputs of a model of `tiny` before its softmax."""
    kernel, bias = model.layers[-1].get_weights()
    return keras.Model(model.input, model.layers[-1].input)(images, training=False).numpy() @ kernel + bias


class Explained(NamedTuple):
    """An export with `explain`, and its answer for four images and for a file that is none, which is the second."""

    model: keras.Model
    images: np.ndarray
    files: list[bytes]
    signatures: Any
    answer: dict[str, np.ndarray]


@pytest.fixture(scope="module")
def explained(tmp_path_factory):
    model, rng = trained(), np.random.default_rng(1)
    model.layers[-1].kernel.assign_sub(0.05 * np.ones((32, 3)))  # places of both signs, and the same probabilities
    sides = ((16, 16), (40, 30), (20, 33), (9, 9))
    photographs = [rng.integers(0, 256, (*pair, 3)).astype("uint8") for pair in sides]
    files = [png(image) for image in photographs]
    files.insert(1, b"no image")
    images = np.array([to_square(image, SIDE).numpy() for image in photographs], "float32")
    path = kr.export.saved_model(model, tmp_path_factory.mktemp("explained"), class_names=NAMES, explain=True)
    signatures = tf.saved_model.load(str(path)).signatures
    answer = {name: value.numpy() for name, value in signatures["explain"](image_bytes=tf.constant(files)).items()}
    return Explained(model, images, files, signatures, answer)


def sound(explained):
    """The rows of the answer for the files that are images."""
    return {name: np.delete(value, 1, axis=0) for name, value in explained.answer.items()}


@pytest.mark.slow
def test_the_mean_of_a_map_and_the_bias_are_the_output_of_the_class(explained):
    answer, logits = sound(explained), logits_of(explained.model, explained.images)
    best = logits.argmax(-1)
    assert answer["heat_map"].shape == (4, 8, 8)
    assert answer["heat_map"].min() < 0 < answer["heat_map"].max()
    means = answer["heat_map"].mean((1, 2)) + explained.model.layers[-1].bias.numpy()[best]
    np.testing.assert_allclose(means, logits.max(-1), atol=1e-5)
    assert answer["index"].tolist() == best.tolist()
    assert [name.decode() for name in answer["class"]] == [NAMES[index] for index in best]
    np.testing.assert_allclose(answer["score"], tf.nn.softmax(logits).numpy().max(-1), atol=1e-5)


@pytest.mark.slow
def test_a_map_is_that_of_grad_cam_but_for_what_is_negative(explained):
    """Grad-CAM's weights are the gradients of the output, which average pooling divides by the number of places."""
    answer = sound(explained)
    expected = kr.explain.heat_maps(explained.model, explained.images, method=kr.explain.grad_cam)
    positive = np.maximum(answer["heat_map"], 0)[..., None] / 64
    resized = keras.ops.image.resize(positive, (SIDE, SIDE), "bilinear").numpy()[..., 0]
    np.testing.assert_allclose(resized, expected, atol=1e-4 * expected.max())


@pytest.mark.slow
def test_a_file_that_is_no_image_has_no_map_and_harms_no_other(explained):
    answer = explained.answer
    assert answer["valid"].tolist() == [True, False, True, True, True]
    assert [bool(error) for error in answer["error"]] == [False, True, False, False, False]
    assert answer["class"][1] == b""
    assert (answer["score"][1], answer["index"][1], answer["heat_map"][1].any()) == (0, 0, False)


def operations(path):
    """How many operations of each kind a SavedModel has, in all its functions."""
    graph = SavedModel.FromString((path / "saved_model.pb").read_bytes()).meta_graphs[0].graph_def
    return Counter(node.op for function in graph.library.function for node in function.node_def)


@pytest.mark.slow
def test_the_network_is_in_the_file_once_and_its_answers_stay(tmp_path, monkeypatch):
    without_files(monkeypatch)
    model, images = trained(classes=1000), tf.constant(noise())
    plain, explaining = (kr.export.saved_model(model, tmp_path, 1 + flag, explain=flag) for flag in (False, True))
    assert operations(plain)["Conv2D"] == operations(explaining)["Conv2D"] == 6
    kernel = model.layers[-1].kernel.numpy().tobytes()
    contents = [(path / "saved_model.pb").read_bytes() for path in (plain, explaining)]
    assert [content.count(kernel) for content in contents] == [1, 1]
    assert len(contents[1]) - len(contents[0]) < len(kernel) / 2
    signatures = [tf.saved_model.load(str(path)).signatures for path in (plain, explaining)]
    assert [sorted(names) for names in signatures] == [
        ["classify", "features", "serving_bytes", "serving_default"],
        ["classify", "explain", "features", "serving_bytes", "serving_default"],
    ]
    for name in ("serving_default", "features"):
        (given,), (expected,) = (one[name](image=images).values() for one in reversed(signatures))
        np.testing.assert_allclose(given, expected, atol=1e-6)
    assert "`heat_map`" in (explaining / "card.txt").read_text()
    assert "`heat_map`" not in (plain / "card.txt").read_text()


def wrapped(*layers, inside):
    """A model that contains the model `inside` as one layer, and other layers after it."""
    x = inside(image := keras.Input((SIDE, SIDE, 3)), training=False)
    for layer in layers:
        x = layer(x)
    return keras.Model(image, x)


def backbone(**options):
    return tiny(include_top=False, **options)


def dense(activation="softmax"):
    return keras.layers.Dense(3, activation)


pooling = keras.layers.GlobalAveragePooling2D
MAKES = {
    "a ResNet": tiny,
    "V2": lambda: tiny(ordering="full_preactivation"),
    "dropout": lambda: tiny(drop_rate=0.5),
    "logits": lambda: wrapped(pooling(), dense(None), inside=backbone()),
    "softmax after": lambda: wrapped(pooling(), dense(None), keras.layers.Softmax(), inside=backbone()),
    "sigmoid": lambda: tiny(classifier_activation="sigmoid"),
    "one sigmoid": lambda: tiny(classifier_activation="sigmoid", classes=1),
    "no bias": lambda: wrapped(pooling(), keras.layers.Dense(3, "softmax", use_bias=False), inside=backbone()),
    "pooled inside": lambda: wrapped(keras.layers.Dropout(0.5), dense(), inside=backbone(pooling="avg")),
    "a classifier inside": lambda: wrapped(inside=tiny()),
    "sequential": lambda: keras.Sequential([keras.Input((SIDE, SIDE, 3)), backbone(), pooling(), dense()]),
    "one place is kept": lambda: wrapped(pooling(keepdims=True), keras.layers.Flatten(), dense(), inside=backbone()),
    "pooling of the whole map": lambda: wrapped(
        keras.layers.AveragePooling2D(SIDE), keras.layers.Reshape((8,)), dense(), inside=backbone()
    ),
    "images of any size": lambda: tiny(input_shape=(None, None, 3)),
}


@pytest.mark.parametrize("make", quick_among(MAKES, "a ResNet", "sequential"))
def test_networks_of_every_make_have_a_map_that_gives_their_answer(make):
    model = MAKES[make]()
    randomise_evenly(model, np.random.default_rng(0))
    model.trainable = False
    images = noise()
    network = fold_batch_norm(flat_float32(model))
    maps = precisions.in_float32(network, None, 1, map_extractor).features(tf.constant(images))
    assert maps.shape == (4, SIDE, SIDE, 8)
    expected = model(images, training=False)
    if make == "logits":
        expected = tf.nn.softmax(expected)
    head = classifier(network)
    bias = head.layer.bias if head.layer.use_bias else 0.0
    answers = head.activation(tf.reduce_mean(maps @ head.layer.kernel, (1, 2)) + bias)
    np.testing.assert_allclose(answers, expected, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(
    "precision",
    ["bfloat16", pytest.param("int8", marks=pytest.mark.skipif(platform.machine() != "x86_64", reason="needs x86"))],
)
def test_lower_precisions_average_their_own_map(precision, monkeypatch):
    """One pass gives map and answer. So they agree better than the precision agrees with float32."""
    monkeypatch.setattr(precisions, "available", lambda: True)  # on a CPU without VNNI, both have the same errors
    images, network = noise(), fold_batch_norm(trained())
    maps, vectors = (
        tf.function(precisions.PRECISIONS[precision](network, images, 0.01, *part).features, autograph=False)
        for part in ((map_extractor,), ())
    )
    result = maps(tf.constant(images))
    assert (result.shape, result.dtype) == ((4, 8, 8, 32), tf.float32)
    np.testing.assert_allclose(pooled(result), vectors(tf.constant(images)), atol=1e-5)
    exact = map_extractor(network)(images).numpy()
    assert 1e-4 < np.abs(result - exact).max() < 0.1 * exact.max()
    np.testing.assert_allclose(classifier_scores(network)(pooled(result)), network(images, training=False), atol=0.05)


def twice():
    net, image = backbone(pooling="avg"), keras.Input((SIDE, SIDE, 3))
    return keras.Model(image, dense()(keras.layers.Add(name="sum")([net(image), net(image)])))


def live_dropout():
    net = backbone(pooling="avg")
    return keras.Model(net.input, dense()(keras.layers.Dropout(0.5, name="live")(net.output, training=True)))


REFUSED = {
    "layer 'all' (Flatten)": lambda: wrapped(keras.layers.Flatten(name="all"), dense(), inside=backbone()),
    "layer 'max_pool' (GlobalMaxPooling2D)": lambda: wrapped(dense(), inside=backbone(pooling="max")),
    "layer 'first' (Dense)": lambda: wrapped(
        keras.layers.Dense(4, "relu", name="first"), dense(), inside=backbone(pooling="avg")
    ),
    "layer 'parts' (Flatten)": lambda: wrapped(
        keras.layers.AveragePooling2D(4), keras.layers.Flatten(name="parts"), dense(), inside=backbone()
    ),
    "layer 'along' (GlobalAveragePooling2D)": lambda: wrapped(
        pooling(data_format="channels_first", name="along"), dense(), inside=backbone()
    ),
    "layer 'sum' (Add)": twice,
    "layer 'live' (Dropout)": live_dropout,
    "a map of one place, for images of 16x16 pixels": lambda: wrapped(
        keras.layers.MaxPooling2D(SIDE), pooling(), dense(), inside=backbone()
    ),
}


@pytest.mark.parametrize("received", quick_among(REFUSED, "layer 'all' (Flatten)"))
def test_a_network_without_such_a_map_is_refused_and_nothing_written(received, tmp_path):
    with pytest.raises(ValueError, match=rf"^explain: the (model|map) .*\. Received: {re.escape(received)}"):
        kr.export.saved_model(REFUSED[received](), tmp_path, explain=True)
    assert list(tmp_path.iterdir()) == []
