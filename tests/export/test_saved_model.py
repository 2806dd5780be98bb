"""Tests of the SavedModel export: files, arguments, signatures and answers."""

import dataclasses
import re
import resource
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_resnet as kr
from keras_resnet.classes import FASHION_MNIST
from keras_resnet.data.decode import resize_for
from keras_resnet.export import int8_kernels, model_card, precisions
from keras_resnet.export.graphs import flat_float32
from keras_resnet.export.int8_kernels import available
from keras_resnet.export.network import classifier_scores
from tests import needs
from tests.conftest import randomise_evenly
from tests.small_export import without_files


def tiny(**options):
    options = {"filters": (4,), "stem": kr.stems.cifar, "classes": 3, **options}
    return kr.ResNet((1,), kr.residual_block, **options)


def trained(rng, **options):
    model = tiny(**{"input_shape": (8, 8, 3), **options})
    randomise_evenly(model, rng)
    return model


@pytest.fixture(autouse=True)
def _no_files(monkeypatch):
    """Exports in a test treat all files as black images. Exports in the fixtures of the module read the files."""
    without_files(monkeypatch)


@pytest.fixture(scope="module")
def network():
    return tiny(input_shape=(8, 8, 3))


class Exported(NamedTuple):
    """An export that reads image files."""

    model: keras.Model
    path: Path
    signatures: Any


CHECKPOINT = dataclasses.replace(kr.weights.find("ResNet50", "timm_a1"), size=8, crop_pct=0.5, top1=12.34)


@pytest.fixture(scope="module")
def checkpoint_export(tmp_path_factory):
    model, folder = trained(np.random.default_rng(0)), tmp_path_factory.mktemp("checkpoint")
    options = {"checkpoint": CHECKPOINT, "class_names": ("cat", "dog", "owl"), "top_k": 2}
    path = kr.export.saved_model(model, folder, **options)
    return Exported(model, path, tf.saved_model.load(str(path)).signatures)


def pixels(rng, count=4, shape=(8, 8, 3)):
    return rng.uniform(0, 255, (count, *shape)).astype("float32")


def load_and_call(path, signature="serving_default", **inputs):
    return call(tf.saved_model.load(str(path)).signatures[signature], **inputs)


def call(signature, **inputs):
    outputs = signature(**{name: tf.constant(value) for name, value in inputs.items()})
    return {name: value.numpy() for name, value in outputs.items()}


def predict(model, images):
    return model(images, training=False).numpy()


def png(image):
    return tf.io.encode_png(image.astype("uint8")).numpy()


SLOW = pytest.mark.slow


@pytest.mark.parametrize(
    ("shape", "fold"),
    [
        ((8, 8, 3), True),
        pytest.param((8, 8, 3), False, marks=SLOW),
        pytest.param((None, None, 1), True, marks=SLOW),
        pytest.param((None, None, 1), False, marks=SLOW),
    ],
)
def test_a_served_model_says_what_the_model_says(shape, fold, tmp_path, rng):
    model = trained(rng, input_shape=shape)
    path = kr.export.saved_model(model, tmp_path / "net", fold=fold)
    assert path == tmp_path / "net" / "1"
    images = pixels(rng, shape=(8, 8, shape[-1]))
    answer = load_and_call(path, image=images)
    assert list(answer) == ["probabilities"]
    np.testing.assert_allclose(answer["probabilities"], predict(model, images), atol=1e-5)


def backbone(**options):
    return tiny(input_shape=(8, 8, 3), include_top=False, pooling="avg", **options)


def tiny_of_policy(policy):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        return tiny(input_shape=(8, 8, 3))
    finally:
        keras.config.set_dtype_policy(before)


def wrapped(*layers, inside=None):
    """A model that contains the model `inside` (default: a backbone) as one layer, and other layers after it."""
    image = keras.Input((8, 8, 3))
    x = (inside or backbone())(image, training=False)
    for layer in layers:
        x = layer(x)
    return keras.Model(image, x)


MAKES = {
    "sequential": lambda: keras.Sequential([keras.Input((8, 8, 3)), backbone(), keras.layers.Dense(3, "softmax")]),
    "sequential, sequential inside": lambda: keras.Sequential(
        [keras.Input((8, 8, 3)), keras.Sequential([backbone(), keras.layers.Dense(4, "relu")]), keras.layers.Dense(3)]
    ),
    "a model inside": lambda: wrapped(keras.layers.Dropout(0.5), keras.layers.Dense(3, "softmax")),
    "a whole classifier inside": lambda: wrapped(inside=tiny(input_shape=(8, 8, 3))),
    "a model twice": lambda: keras.Model(
        image := keras.Input((8, 8, 3)),
        keras.layers.Dense(3, "softmax")(keras.layers.Add()([(net := backbone())(image), net(image)])),
    ),
    "two dense layers": lambda: wrapped(keras.layers.Dense(8, "relu"), keras.layers.Dense(3, "sigmoid")),
    "softmax after": lambda: wrapped(keras.layers.Dense(3), keras.layers.Softmax()),
    "sigmoid after": lambda: wrapped(keras.layers.Dense(3), keras.layers.Activation("sigmoid")),
    "a function of one's own": lambda: keras.Sequential(
        [keras.Input((8, 8, 3)), keras.layers.Lambda(lambda pixels: pixels / 2), tiny(input_shape=(8, 8, 3))]
    ),
    **{
        policy: lambda policy=policy: tiny_of_policy(policy)
        for policy in ("mixed_bfloat16", "mixed_float16", "float64")
    },
}


def unfolded(model, images):
    """The outputs of the graph that an export without folding writes; it writes no file."""
    model = flat_float32(model)
    return classifier_scores(model)(precisions.in_float32(model, None, 1).features(tf.constant(images))).numpy()


@SLOW
@pytest.mark.parametrize("make", MAKES)
def test_models_of_every_make_are_served_in_float32(make, tmp_path, rng):
    model = MAKES[make]()
    randomise_evenly(model, rng)
    images = pixels(rng)
    # The expected answer is that of Keras in float32. A model of another type gives its weights to a float32 model.
    reference = tiny_of_policy("float32") if "float" in make else model
    reference.set_weights(model.get_weights())
    before = {layer.name: len(layer._inbound_nodes) for layer in model._flatten_layers()}
    path = kr.export.saved_model(model, tmp_path)
    expected = predict(reference, images)
    if make == "sequential, sequential inside":
        expected = tf.nn.softmax(expected).numpy()
    np.testing.assert_allclose(load_and_call(path, image=images)["probabilities"], expected, atol=1e-5)
    np.testing.assert_allclose(unfolded(model, images), expected, atol=1e-5)
    assert {layer.name: len(layer._inbound_nodes) for layer in model._flatten_layers()} == before


@SLOW
def test_names_that_keras_gave_may_be_there_twice_and_numbered(tmp_path, rng):
    """Example: new convolutions on a backbone. The name of a cloned layer must also differ from all other names."""
    inner = keras.Sequential(
        [keras.Input((8, 8, 3)), *(keras.layers.Conv2D(3, 1, name=f"c{i}") for i in ("", "_1", "_2"))]
    )
    outer = [keras.layers.Conv2D(3, 1, name=name) for name in ("c", "c_1")]
    ending = [keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(3, "softmax")]
    model = keras.Sequential([keras.Input((8, 8, 3)), inner, *outer, *ending])
    randomise_evenly(model, rng)
    images = pixels(rng)
    answer = load_and_call(kr.export.saved_model(model, tmp_path), image=images)
    np.testing.assert_allclose(answer["probabilities"], predict(model, images), atol=1e-5)


@SLOW
def test_a_checkpoint_says_what_the_classes_are_and_how_good_it_is(tmp_path):
    weights = kr.weights.find("ResNet20", "fashion_mnist")
    model = kr.ResNet20(weights="fashion_mnist")
    path = kr.export.saved_model(model, tmp_path, checkpoint=weights, resize=resize_for(weights))
    answer = load_and_call(path, "serving_bytes", image_bytes=[png(np.zeros((28, 28, 1)))])
    assert set(answer["classes"][0]) <= {name.encode() for name in FASHION_MNIST}
    card = (path / "card.txt").read_text()
    assert "94.53 % top-1 on fashion_mnist at 28 pixels" in card
    assert "resized to 28 pixels by `" in card


@SLOW
def test_what_a_normalisation_learned_is_served(tmp_path, rng):
    images = pixels(rng)
    normalisation = keras.layers.Normalization()
    normalisation.adapt(images)
    model = keras.Sequential([keras.Input((8, 8, 3)), normalisation, backbone(include_preprocessing=False), *head()])
    randomise_evenly(keras.Sequential(model.layers[1:]), rng)
    path = kr.export.saved_model(model, tmp_path)
    np.testing.assert_allclose(load_and_call(path, image=images)["probabilities"], predict(model, images), atol=1e-5)


def head():
    return [keras.layers.Dense(3, "softmax")]


@SLOW
@pytest.mark.parametrize(("activation", "apply"), [("sigmoid", None), (None, "softmax")])
def test_what_is_served_is_probabilities(activation, apply, tmp_path, rng):
    model = trained(rng, classifier_activation=activation)
    images = pixels(rng)
    expected = predict(model, images)
    if apply:
        expected = keras.activations.get(apply)(expected).numpy()
    path = kr.export.saved_model(model, tmp_path)
    np.testing.assert_allclose(load_and_call(path, image=images)["probabilities"], expected, atol=1e-5)


@SLOW
@pytest.mark.parametrize("ordering", ["original", "full_preactivation"])
def test_half_the_bits_say_nearly_the_same_in_half_the_bytes(ordering, tmp_path, rng):
    model = kr.ResNet((1, 1), filters=(64, 128), ordering=ordering, input_shape=(32, 32, 3), classes=5)
    randomise_evenly(model, rng)
    images = pixels(rng, 8, (32, 32, 3))
    expected = predict(model, images)
    path = kr.export.saved_model(model, tmp_path, precision="bfloat16")
    answer = load_and_call(path, image=images)["probabilities"]
    assert answer.dtype == "float32"
    assert 1e-5 < np.abs(answer - expected).max() < 0.05
    assert (path / "saved_model.pb").stat().st_size < 0.65 * 4 * model.count_params()


@SLOW
def test_files_are_prepared_as_the_checkpoint_wants_named_and_told_apart_from_what_is_none(checkpoint_export, rng):
    photographs = [rng.integers(0, 256, (*sides, 3)).astype("uint8") for sides in ((40, 30), (8, 8), (20, 33), (9, 70))]
    files = [png(image) for image in photographs]
    answer = call(checkpoint_export.signatures["serving_bytes"], image_bytes=[*files[:2], b"no image", *files[2:]])
    assert answer["valid"].tolist() == [True, True, False, True, True]
    assert [bool(error) for error in answer["error"]] == [False, False, True, False, False]
    assert not answer["probabilities"][2].any()
    prepare = resize_for(CHECKPOINT)
    expected = predict(checkpoint_export.model, np.array([prepare(image, 8) for image in photographs], "float32"))
    np.testing.assert_allclose(answer["probabilities"][answer["valid"]], expected, atol=1e-5)
    best = np.argsort(-expected)[:, :2]
    assert answer["classes"][answer["valid"]].tolist() == np.array([b"cat", b"dog", b"owl"])[best].tolist()
    np.testing.assert_allclose(answer["scores"][answer["valid"]], np.take_along_axis(expected, best, 1), atol=1e-5)


@SLOW
def test_a_card_says_how_files_are_prepared_and_whose_the_weights_are(checkpoint_export):
    card = (checkpoint_export.path / "card.txt").read_text()
    for fact in ("12.34 % top-1 on imagenet", "timm_a1", "apache-2.0", "shorter side to 16 pixels (bicubic)"):
        assert fact in card
    assert "float32 (N, 8, 8, 3), 0 to 255" in card


def test_a_card_has_the_balanced_accuracy_of_a_run(rng):
    def accuracy(checkpoint):
        return model_card.facts(trained(rng), checkpoint, "float32", "", {})["accuracy"]

    assert accuracy(CHECKPOINT).startswith("12.34 % top-1 on imagenet at 8 pixels")
    row = dataclasses.replace(CHECKPOINT, balanced_accuracy=8.765)
    assert accuracy(row).startswith("12.34 % top-1, 8.77 % balanced accuracy, on imagenet at 8 pixels")


@SLOW
def test_examples_are_classified(checkpoint_export, rng):
    photographs = rng.integers(0, 256, (4, 16, 16, 3)).astype("uint8")
    examples = [
        tf.train.Example(
            features=tf.train.Features(
                feature={"image/encoded": tf.train.Feature(bytes_list=tf.train.BytesList(value=[content]))}
            )
        ).SerializeToString()
        for content in (*map(png, photographs), b"no image")
    ]
    answer = call(checkpoint_export.signatures["classify"], inputs=examples)
    assert set(answer) == {"classes", "scores"}
    prepare = resize_for(CHECKPOINT)
    expected = predict(checkpoint_export.model, np.array([prepare(image, 8) for image in photographs], "float32"))
    np.testing.assert_allclose(answer["scores"][:-1], -np.sort(-expected)[:, :2], atol=1e-5)
    assert answer["classes"][0, 0] == (b"cat", b"dog", b"owl")[expected[0].argmax()]
    assert set(answer["classes"][-1]) == {b""}


@SLOW
def test_embeddings_are_given(tmp_path, rng):
    model, images = trained(rng), pixels(rng)
    before = keras.Model(model.input, model.layers[-1].input)
    answer = load_and_call(kr.export.saved_model(model, tmp_path), "features", image=images)
    np.testing.assert_allclose(answer["features"], predict(before, images), rtol=1e-4, atol=1e-4)


@SLOW
def test_what_is_not_known_is_not_made_up(tmp_path, rng):
    card = (kr.export.saved_model(trained(rng), tmp_path) / "card.txt").read_text()
    for fact in ("weights", "accuracy", "licence of the weights"):
        assert re.search(rf"^{fact} +unknown$", card, re.M)


@pytest.fixture
def calibrated(rng):
    model = kr.ResNet((1,), filters=(16,), stem=kr.stems.cifar, input_shape=(16, 16, 3), classes=4)
    randomise_evenly(model, rng)
    return model, pixels(rng, 32, (4, 4, 3)).repeat(4, 1).repeat(4, 2)


@SLOW
@needs.int8()
def test_eight_bits_are_served_where_they_choose_as_float32_does(calibrated, tmp_path):
    model, images = calibrated
    path = kr.export.saved_model(model, tmp_path, precision="int8", calibration=images, agreement=0.8)
    assert re.search(
        r"computed in +int8; \d+\.\d% of 32 calibration images are classified as in float32",
        (path / "card.txt").read_text(),
    )
    assert "_FusedQuantizedConv2D" in (path / "saved_model.pb").read_bytes().decode("latin1")
    expected = predict(model, images)
    assert np.abs(load_and_call(path, image=images)["probabilities"] - expected).max() < 0.2


@SLOW
def test_eight_bits_that_do_not_become_bfloat16_and_say_so(calibrated, tmp_path, monkeypatch, caplog):
    model, images = calibrated
    monkeypatch.setattr(
        precisions, "choices", lambda model, features, images: np.random.default_rng().random((len(images), 1))
    )
    path = kr.export.saved_model(model, tmp_path, precision="int8", calibration=images)
    reason = "this TensorFlow has no exact int8" if not available() else "only 0.0% of 32 calibration images"
    assert f"bfloat16, in place of int8: {reason}" in (path / "card.txt").read_text()
    assert f"int8 became bfloat16: {reason}" in caplog.text
    assert "_FusedQuantizedConv2D" not in (path / "saved_model.pb").read_bytes().decode("latin1")


def test_a_processor_that_cuts_sums_off_has_no_eight_bits(monkeypatch):
    monkeypatch.setattr(int8_kernels, "_one_plus_one", lambda ones: 2.0)
    monkeypatch.setattr(int8_kernels, "_sum_of_16_ones", lambda ones: 16.0)
    assert available.__wrapped__()
    monkeypatch.setattr(int8_kernels, "_sum_of_16_ones", lambda ones: 8.1)  # the result on a CPU with AVX2 only
    assert not available.__wrapped__()


@SLOW
@pytest.mark.slow
@pytest.mark.parametrize("precision", precisions.PRECISIONS)
def test_an_image_with_pixels_that_are_no_numbers_gets_no_answer(precision, tmp_path, rng):
    # TensorFlow's max-pooling swallows NaN.
    model, images = kr.ResNet((1,), filters=(16,), input_shape=(32, 32, 3), classes=4), pixels(rng, 32, (32, 32, 3))
    randomise_evenly(model, rng)
    path = kr.export.saved_model(model, tmp_path, precision=precision, calibration=images, agreement=0.01)
    signatures = tf.saved_model.load(str(path)).signatures
    changed = images[:4].copy()
    changed[:3, 2, 3, 1] = np.nan, np.inf, -np.inf
    for signature, output in (("serving_default", "probabilities"), ("features", "features")):
        sound = call(signatures[signature], image=images[:4])[output]
        result = call(signatures[signature], image=changed)[output]
        assert np.isnan(result[:3]).all()
        np.testing.assert_array_equal(result[3], sound[3])


def test_eight_bits_that_this_machine_has_not_become_bfloat16(calibrated, tmp_path, monkeypatch, caplog):
    model, images = calibrated
    monkeypatch.setattr(precisions, "available", lambda: False)
    path = kr.export.saved_model(model, tmp_path, precision="int8", calibration=images)
    assert (
        "in place of int8: this TensorFlow has no exact int8 convolution on this CPU (x86 with VNNI has)"
        in (path / "card.txt").read_text()
    )
    np.testing.assert_allclose(load_and_call(path, image=images)["probabilities"], predict(model, images), atol=0.05)


@SLOW
@needs.int8()
def test_eight_bits_of_a_sigmoid_are_judged_by_what_is_likelier_than_not(calibrated, tmp_path, monkeypatch):
    network, images = calibrated
    output = keras.layers.Dense(1, "sigmoid")(network.layers[-1].input)
    model = keras.Model(network.input, output)
    logits = predict(keras.Model(network.input, network.layers[-1].input), images) @ model.layers[-1].get_weights()[0]
    model.layers[-1].bias.assign([-np.median(logits)])  # half of the images get more than 0.5
    zeros = lambda model, images: lambda pixels: tf.zeros((tf.shape(pixels)[0], 64))
    monkeypatch.setattr(precisions, "quantised", zeros)
    path = kr.export.saved_model(model, tmp_path, precision="int8", calibration=images)
    assert "bfloat16, in place of int8: only 50.0%" in (path / "card.txt").read_text()


@SLOW
def test_images_may_be_lists_or_tensors(tmp_path, rng):
    model, images = trained(rng), pixels(rng).astype("uint8")
    options = {"precision": "int8", "agreement": 0.01}
    lists, tensor = images.tolist(), tf.constant(images)
    for version, (calibration, warmup) in enumerate(((lists, tensor), (tensor, lists)), 1):
        path = kr.export.saved_model(model, tmp_path, version, calibration=calibration, warmup=warmup, **options)
        assert (path / "assets.extra" / "tf_serving_warmup_requests").is_file()


@pytest.mark.slow
def test_who_loses_a_race_is_told_and_leaves_nothing(network, tmp_path, monkeypatch):
    """Another process publishes the version while this one writes."""
    write = model_card.write

    def publish_first(*arguments):
        (tmp_path / "1").mkdir()
        (tmp_path / "1" / "saved_model.pb").write_text("by the other process")
        write(*arguments)

    monkeypatch.setattr(model_card, "write", publish_first)
    with pytest.raises(ValueError, match="version must be new. Received: version=1"):
        kr.export.saved_model(network, tmp_path)
    assert [path.name for path in tmp_path.rglob("*")] == ["1", "saved_model.pb"]


@pytest.mark.slow
def test_a_network_of_no_numbers_is_not_published(tmp_path, rng):
    model = trained(rng)
    model.layers[-1].bias.assign([np.nan] * 3)
    with pytest.raises(ValueError, match="model must give finite probabilities. Received: 3 of 3 that are not finite"):
        kr.export.saved_model(model, tmp_path)
    assert list(tmp_path.iterdir()) == []


@SLOW
def test_versions_stand_side_by_side_and_nothing_else_does(network, tmp_path):
    for version in (1, 2):
        kr.export.saved_model(network, tmp_path, version)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["1", "2"]


def test_a_version_that_exists_is_not_touched(network, tmp_path):
    (tmp_path / "1").mkdir()
    with pytest.raises(ValueError, match="version must be new. Received: version=1"):
        kr.export.saved_model(network, tmp_path)
    with pytest.raises(ValueError, match="version must be an integer of at least 1"):
        kr.export.saved_model(network, tmp_path, version=0)
    assert [path.name for path in tmp_path.rglob("*")] == ["1"]


IMAGES = np.zeros((2, 8, 8, 3))
WRONG = [
    ({"path": Path(__file__) / "net"}, f"path must be a directory. Received: .*; {__file__} is a file"),
    ({"version": 0}, "version must be an integer of at least 1"),
    ({"version": 2**63}, r"version must be at most 2\*\*63 - 1. Received: version=9223372036854775808"),
    ({"precision": "float64"}, "precision must be one of 'float32', 'bfloat16', 'int8'"),
    ({"precision": "int8"}, "calibration must be images"),
    ({"precision": "int8", "calibration": IMAGES, "fold": False}, "fold must be True if precision is 'int8'"),
    ({"class_names": ("a", "b")}, "class_names must have a name for each of the model's 3 outputs. Received: 2 names"),
    ({"class_names": "abc"}, "class_names must be a sequence of strings. Received: class_names='abc'"),
    ({"top_k": 0}, "top_k must be an integer of at least 1"),
    (
        {"calibration": IMAGES[:, :, :7]},
        r"calibration must be images of shape \(None, 8, 8, 3\), .* Received: .* \(2, 8, 7, 3",
    ),
    (
        {"calibration": [IMAGES[0], IMAGES[0, :7]]},
        r"calibration must be images of shape \(None, 8, 8, 3\), in one array",
    ),
    ({"calibration": IMAGES * np.nan}, "calibration must be images of finite numbers"),
    ({"calibration": "photo.png"}, r"calibration must be images of shape \(None, 8, 8, 3\), in one array"),
    ({"warmup": IMAGES[:0]}, r"warmup must be images of shape \(None, 8, 8, 3\), at least one. Received: .* \(0"),
    ({"agreement": 0}, r"agreement must be in \(0, 1\]. Received: agreement=0"),
    ({"agreement": "all"}, r"agreement must be a number in \(0, 1\]. Received: agreement='all'"),
    ({"on_invalid": "ignore"}, "on_invalid must be one of 'flag', 'raise'"),
    ({"explain": "dog"}, "explain must be True or False. Received: explain='dog'"),
]


@pytest.mark.parametrize(("options", "message"), WRONG)
def test_a_wrong_argument_is_named_and_nothing_written(options, message, network, tmp_path):
    with pytest.raises((TypeError, ValueError), match=message):
        kr.export.saved_model(network, **{"path": tmp_path, **options})
    assert list(tmp_path.iterdir()) == []


def test_a_classifier_of_every_pixel_is_refused(tmp_path):
    backbone = tiny(input_shape=(8, 8, 3), include_top=False)
    model = keras.Model(backbone.input, keras.layers.Dense(3, "softmax")(backbone.output))
    with pytest.raises(ValueError, match=r"Dense layer that reads vectors \(N, F\). Received: .* \(None, 8, 8, 4\)"):
        kr.export.saved_model(model, tmp_path)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"include_top": False, "pooling": "avg"}, "model must end in a Dense layer with a softmax"),
        ({"classifier_activation": "relu"}, "model must end in a Dense layer with a softmax"),
        ({"classes": 1, "classifier_activation": None}, "a single output needs a sigmoid"),
        ({"input_shape": (8, 12, 3)}, "model must take square images"),
        ({"input_shape": (8, 8, 4)}, "model must take images with 1 or 3 channels, as image files have. Received: 4"),
    ],
)
def test_a_model_that_cannot_be_served_is_refused(options, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        kr.export.saved_model(tiny(**{"input_shape": (8, 8, 3), **options}), tmp_path)


@SLOW
def test_an_export_that_cannot_be_written_leaves_nothing(network, tmp_path):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))  # writing fails after 1,000 bytes, as on a full disk
    try:
        with pytest.raises(Exception, match="File too large"):
            kr.export.saved_model(network, tmp_path / "net")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list((tmp_path / "net").iterdir()) == []
