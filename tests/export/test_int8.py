"""Tests of inference in 8 bits: compares the kernel with TensorFlow's convolution, and networks with float32."""

import dataclasses
import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_resnet as kr
from keras_resnet import weights
from keras_resnet.export import int8
from keras_resnet.export.folding import fold_batch_norm
from keras_resnet.export.int8_kernels import (
    CONVOLUTION,
    DEPTHWISE,
    Filters,
    Span,
    convolve,
    dequantise,
    quantise,
)
from keras_resnet.export.network import classifier_scores
from keras_resnet.zoo import ROWS
from tests import needs
from tests.conftest import SHARED, randomise_evenly

CIFAR = SHARED / "cifar10"
TRAINED = {"ResNet20": "resnet20-12fca82f.th", "ResNet56": "resnet56-4bfd9763.th"}

pytestmark = needs.int8()

# One row for each kind in the zoo. The other rows differ only in depth.
FAMILIES = (
    "ResNet18",
    "ResNet50",
    "ResNet50V2",
    "ResNet18V2",
    "ResNet18D",
    "ResNet50D",
    "ResNeXt50_32x4d",
    "ResNeXt101_32x8d",
    "ResNeXt101_64x4d",
    "WideResNet50_2",
    "SEResNet18",
    "SEResNet50",
    "SEResNeXt50_32x4d",
    "ECAResNet50D",
    "ResNetRS50",
    "ResNet20",
    "ResNet110V2",
    "ResNet164",
    "ResNet164V2",
    "WideResNet28_10",
    "WideResNet40_4",
)


def patches(rng, count, side):
    """Images of large patches of colour. Their features differ clearly from image to image, in random networks too."""
    return rng.uniform(0, 255, (count, 4, 4, 3)).repeat(side // 4, 1).repeat(side // 4, 2).astype("float32")


def measure_span(x):
    return Span(x.min((0, 1, 2)), x.max((0, 1, 2)))


def assert_close(result, expected):
    """Checks the relative error, and the correlation of the differences between images.

    In random networks these differences are the smaller part of the values, so the error alone does not show them.
    Over seeds and families the error is 0.002 to 0.022 and the correlation 0.985 and more; with convolutions in float32
    they are 0.0001 and 1.0000. A wrong scale or zero point causes an error of tens of per cent.
    """
    assert np.sqrt(np.mean((result - expected) ** 2) / np.mean(expected**2)) < 0.05
    assert np.corrcoef(*((x - x.mean(0)).ravel() for x in (result, expected)))[0, 1] > 0.97


CASES = list(itertools.product((CONVOLUTION, DEPTHWISE), (True, False), (None, "positive", "signed")))


@pytest.mark.parametrize(("operation", "relu", "summed"), CASES)
def test_a_convolution_is_right_to_two_steps(operation, relu, summed, rng):
    normal = lambda *shape: rng.normal(size=shape).astype("float32")
    x, bias = np.maximum(normal(4, 9, 9, 32), 0), normal(32)
    if operation == CONVOLUTION:
        kernel = normal(3, 3, 32, 32) / 17
        expected = tf.nn.conv2d(x, kernel, 1, "SAME") + bias
    else:
        kernel = normal(3, 3, 32, 1) / 3
        expected = tf.nn.depthwise_conv2d(x, kernel, [1, 1, 1, 1], "SAME") + bias
    summand = {None: None, "positive": np.maximum(normal(4, 9, 9, 32), 0), "signed": normal(4, 9, 9, 32)}[summed]
    expected = (expected if summand is None else expected + summand).numpy()
    expected = np.maximum(expected, 0) if relu else expected
    check(x, Filters(operation, kernel, bias, padding="SAME"), expected, summand)


@pytest.mark.parametrize(("groups", "relu"), [(4, True), (3, False), (32, True)])
def test_groups_are_as_groups(groups, relu, rng):
    x = np.maximum(rng.normal(size=(2, 9, 9, 96)), 0).astype("float32")
    layer = keras.layers.Conv2D(96, 3, padding="same", groups=groups, activation="relu" if relu else None)
    expected = layer(x).numpy()
    check(x, Filters(CONVOLUTION, layer.kernel.numpy(), np.zeros(96, "float32"), padding="SAME"), expected)


def test_strides_paddings_and_dilations_are_as_tensorflow_has_them(rng):
    x = np.maximum(rng.normal(size=(2, 9, 10, 32)), 0).astype("float32")
    kernel = (rng.normal(size=(3, 3, 32, 16)) / 17).astype("float32")
    for strides, padding, dilations in (
        ((2, 2), ((1, 1), (1, 1)), (1, 1)),
        ((2, 1), ((0, 2), (1, 0)), (1, 1)),
        ((2, 2), "SAME", (1, 1)),
        ((1, 1), "SAME", (2, 2)),
        ((1, 1), "VALID", (1, 1)),
    ):
        tf_padding = padding if isinstance(padding, str) else [[0, 0], *padding, [0, 0]]
        expected = tf.nn.conv2d(x, kernel, strides, tf_padding, dilations=dilations).numpy()
        check(x, Filters(CONVOLUTION, kernel, np.zeros(16, "float32"), strides, padding, dilations), expected)


def check(x, filters, expected, summand=None):
    """Checks that the error is at most two and a half steps.

    Rounding the result causes half a step, rounding the inputs the rest. A wrong scale or zero point causes tens of
    steps.
    """

    @tf.function(autograph=False)
    def run(image, *summands):
        summands = [quantise(tensor, measure_span(summand)) for tensor in summands]
        out = convolve(quantise(image, measure_span(x)), filters, measure_span(expected), *summands)
        return dequantise(out), out.step

    result, step = run(tf.constant(x), *([] if summand is None else [tf.constant(summand)]))
    assert np.abs(result - expected).max() <= 2.5 * step


def test_every_model_of_the_zoo_is_of_a_family_that_is_tested():
    kinds = [{**ROWS[name].fields, "depths": None} for name in FAMILIES]
    missing = [name for name, row in ROWS.items() if {**row.fields, "depths": None} not in kinds]
    assert missing == []


@pytest.mark.slow
@pytest.mark.parametrize("name", FAMILIES)
def test_a_family_answers_as_in_float32(name, rng):
    # Two stages contain all kinds of blocks: first in the network, first in a stage, and with a plain shortcut.
    side, filters = (16, (16, 32)) if ROWS[name].size == 32 else (64, (32, 64))
    shape = {"depths": (1, 2), "filters": filters, "input_shape": (side, side, 3), "classes": 20}
    model = getattr(kr, name)(**shape, classifier_activation=None)
    randomise_evenly(model, rng)
    images = patches(rng, 8, side)
    features = keras.Model(model.input, [model.layers[-1].input, model.output])
    embedding, logits = (tensor.numpy() for tensor in features(images, training=False))
    serve = tf.function(int8.quantised(fold_batch_norm(model), images), autograph=False)
    result = serve(tf.constant(images))
    assert result.dtype == tf.float32
    assert_close(result.numpy(), embedding)
    kernel, bias = model.layers[-1].get_weights()
    assert_close(result.numpy() @ kernel + bias, logits)


@pytest.mark.slow
@needs.shared_data
@pytest.mark.parametrize("name", TRAINED)
def test_a_trained_network_keeps_its_answers(name):
    images = np.load(CIFAR / "test_500.npz")["images"].astype("float32")
    labels = np.load(CIFAR / "test_500.npz")["labels"].ravel()
    source = str(CIFAR / "weights" / TRAINED[name])
    model = getattr(kr, name)(weights=dataclasses.replace(weights.find(name, "cifar10"), source=source))
    expected = np.concatenate([model(part, training=False) for part in np.split(images, 5)]).argmax(-1)
    folded = fold_batch_norm(model)
    serve = tf.function(int8.quantised(folded, images[:32]), autograph=False)
    result = classifier_scores(folded)(serve(tf.constant(images))).numpy().argmax(-1)
    assert np.mean(result == expected) >= 0.99
    assert abs(np.mean(result == labels) - np.mean(expected == labels)) <= 0.005


def tiny(**options):
    options = {"filters": (16, 32), "stem": kr.stems.cifar, "classes": 3, "input_shape": (8, 8, 3), **options}
    return kr.ResNet((1, 1), kr.residual_block, **options)


@pytest.fixture(scope="module")
def eight_bits():
    """A network in 8 bits, and its calibration images."""
    rng, model = np.random.default_rng(0), tiny()
    randomise_evenly(model, rng)
    images = patches(rng, 5, 8)
    return int8.quantised(fold_batch_norm(model), images), images


@pytest.mark.slow
def test_a_saved_model_says_the_same_at_every_batch_size(eight_bits, tmp_path):
    features, images = eight_bits
    module = tf.Module()
    signature = [tf.TensorSpec((None, 8, 8, 3), name="image")]
    module.serve = tf.function(features, signature, autograph=False)
    expected = module.serve(tf.constant(images)).numpy()
    tf.saved_model.save(module, str(tmp_path))
    stored = tf.train.list_variables(str(tmp_path / "variables" / "variables"))
    assert [name for name, _ in stored] == ["_CHECKPOINTABLE_OBJECT_GRAPH"]  # the weights are constants of the graph
    serve = tf.saved_model.load(str(tmp_path)).serve
    for first, last in ((0, 5), (0, 1), (1, 4)):
        np.testing.assert_allclose(serve(tf.constant(images[first:last])), expected[first:last], atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("ordering", kr.orderings.ORDERINGS)
def test_every_ordering_has_an_8_bit_form(ordering, rng):
    model = tiny(ordering=ordering, input_shape=(None, None, 3))
    randomise_evenly(model, rng)
    images = patches(rng, 16, 8)
    serve = tf.function(int8.quantised(fold_batch_norm(model), images), autograph=False)
    expected = keras.Model(model.input, model.layers[-1].input)(images, training=False)
    assert_close(serve(tf.constant(images)).numpy(), expected.numpy())


def test_a_shortcut_that_others_read_later_is_not_written_over(rng):
    """The kernel adds in place. In this network the tensor that it would overwrite is needed later."""
    x = keras.Input((8, 8, 3))
    y = keras.layers.Conv2D(16, 3, padding="same", activation="relu")(x)
    y = keras.layers.Conv2D(16, 3, padding="same", activation="relu")(y)
    first = keras.layers.Add()([y, keras.layers.Conv2D(16, 3, padding="same")(y)])
    second = keras.layers.Add()([y, keras.layers.Conv2D(16, 3, padding="same")(first)])
    third = keras.layers.Add()([y, y])
    joined = keras.layers.Add()([keras.layers.Add()([second, third]), first])
    model = keras.Model(x, keras.layers.Dense(3)(keras.layers.GlobalAveragePooling2D()(joined)))
    randomise_evenly(model, rng)
    images = patches(rng, 16, 8) / 255
    serve = tf.function(int8.quantised(model, images), autograph=False)
    assert_close(serve(tf.constant(images)).numpy(), keras.Model(x, model.layers[-1].input)(images).numpy())


@pytest.mark.slow
def test_a_dense_layer_before_the_classifier_keeps_its_activation(rng):
    body = tiny(include_top=False, pooling="avg")
    hidden = keras.layers.Dense(8, activation="relu")(body.output)
    model = keras.Model(body.input, keras.layers.Dense(3)(hidden))
    randomise_evenly(model, rng)
    images = patches(rng, 16, 8)
    serve = tf.function(int8.quantised(fold_batch_norm(model), images), autograph=False)
    assert_close(serve(tf.constant(images)).numpy(), keras.Model(body.input, hidden)(images, training=False).numpy())


LAYERS = {
    "threshold": keras.layers.ReLU(threshold=0.5),
    "leaky": keras.layers.ReLU(negative_slope=0.3),
    "capped": keras.layers.ReLU(max_value=0.7),
    "training only": keras.layers.RandomFlip(),
}


@pytest.mark.parametrize("name", LAYERS)
def test_layers_compute_what_they_say(name, rng):
    x = keras.Input((8, 8, 3))
    y = keras.layers.Conv2D(16, 3, activation="relu")(keras.layers.Rescaling(1 / 255)(x))
    y = keras.layers.Conv2D(16, 3)(y)
    y = LAYERS[name].from_config(LAYERS[name].get_config())(y)
    model = keras.Model(x, keras.layers.Dense(3)(keras.layers.GlobalAveragePooling2D()(y)))
    randomise_evenly(model, rng)
    images = patches(rng, 16, 8)
    serve = tf.function(int8.quantised(model, images), autograph=False)
    expected = keras.Model(x, model.layers[-1].input)(images, training=False).numpy()
    assert_close(serve(tf.constant(images)).numpy(), expected)


def test_a_normalisation_that_is_turned_round_and_an_addition_of_three(rng):
    x = keras.Input((8, 8, 3))
    y = keras.layers.Normalization(mean=[1.0, 2.0, 3.0], variance=[4.0, 5.0, 6.0], invert=True)(x)
    parts = [keras.layers.Conv2D(16, 3, padding="same")(y) for _ in range(3)]
    y = keras.layers.GlobalAveragePooling2D()(keras.layers.Add()(parts))
    model = keras.Model(x, keras.layers.Dense(3)(y))
    randomise_evenly(model, rng)
    images = patches(rng, 16, 8) / 255
    serve = tf.function(int8.quantised(model, images), autograph=False)
    assert_close(serve(tf.constant(images)).numpy(), keras.Model(x, y)(images).numpy())


@pytest.mark.slow
def test_what_has_no_8_bit_form_is_refused(rng):
    images = patches(rng, 2, 8)
    x = keras.Input((8, 8, 3))
    y = keras.layers.GlobalAveragePooling2D()(keras.layers.UpSampling2D(name="up")(x))
    with pytest.raises(ValueError, match="have an 8-bit form. Received: UpSampling2D 'up'"):
        int8.quantised(keras.Model(x, keras.layers.Dense(2)(y)), images)
    with pytest.raises(ValueError, match="must end in a Dense layer with .* ends in <GlobalAveragePooling2D"):
        int8.quantised(fold_batch_norm(tiny(include_top=False, pooling="avg")), images)
    with pytest.raises(ValueError, match="images must be a batch .* Received: shape \\(0, 8, 8, 3\\)"):
        int8.quantised(fold_batch_norm(tiny()), images[:0])
