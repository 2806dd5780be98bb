"""Tests of folding batch norms into convolutions: same outputs, plain Keras layers, and no wrong folding."""

import keras
import numpy as np
import pytest
from keras import layers

import keras_resnet as kr
from keras_resnet.export import fold_batch_norm
from tests.conftest import quick_among, randomise, randomise_evenly

# One row for each kind of block, stem, shortcut, gate and ordering. The other rows differ in depth and width.
FAMILIES = (
    *("ResNet18", "ResNet50", "ResNet18V2", "ResNet50V2", "ResNet18D", "ResNet50D", "ResNeXt50_32x4d"),
    *("WideResNet50_2", "SEResNet18", "SEResNeXt50_32x4d", "ECAResNet50D", "ResNetRS50"),
    *("ResNet20", "ResNet110V2", "ResNet164", "WideResNet40_4"),
)


def small(name, **options):
    """A row of the zoo with two narrow stages. These contain all its kinds of blocks."""
    return getattr(kr, name)(depths=(1, 2), filters=(32, 64), input_shape=(32, 32, 3), **options)


def batch_norms(model):
    return [layer for layer in model._flatten_layers() if isinstance(layer, layers.BatchNormalization)]


def predict(model, images):
    return model(images, training=False).numpy()


def compare(model, shape, rng, tolerance=1e-4):
    images = rng.uniform(0, 255, shape).astype("float32")
    expected = predict(model, images)
    folded = fold_batch_norm(model)
    result = predict(folded, images)
    np.testing.assert_allclose(result, expected, rtol=0, atol=tolerance * np.abs(expected).max())
    return folded


@pytest.mark.parametrize("name", quick_among(FAMILIES, "ResNet18"))
def test_a_network_without_batch_norms_says_the_same(name, rng):
    model = small(name, classes=7, classifier_activation=None)
    randomise_evenly(model, rng)
    folded = compare(model, (2, 32, 32, 3), rng)
    assert batch_norms(folded) == []
    assert batch_norms(model)


def test_every_kind_of_row_is_folded():
    """Fails for a row with a block, ordering, stem, shortcut or gate that none of the families above has."""

    def kind(name):
        fields = kr.zoo.row_of(name).fields
        return {(key, repr(fields.get(key))) for key in ("block", "ordering", "stem", "shortcut", "gate")}

    covered = set().union(*map(kind, FAMILIES))
    assert set().union(*map(kind, kr.list_models())) <= covered


@pytest.mark.slow
@pytest.mark.parametrize("ordering", kr.orderings.ORDERINGS)
@pytest.mark.parametrize("block", [kr.residual_block, kr.bottleneck_block])
def test_every_ordering_says_the_same(block, ordering, rng):
    model = kr.ResNet((2, 2), block, filters=(8, 16), ordering=ordering, input_shape=(32, 32, 3), classes=3)
    randomise(model, rng)
    assert batch_norms(compare(model, (2, 32, 32, 3), rng)) == []


def net(*body, shape=(8, 8, 4)):
    return keras.Sequential([keras.Input(shape), *body])


BODIES = {
    "a convolution": ([layers.Conv2D(6, 3), layers.BatchNormalization()], 1),
    "without bias": ([layers.Conv2D(6, 3, use_bias=False), layers.BatchNormalization()], 1),
    "without scale": ([layers.Conv2D(6, 3), layers.BatchNormalization(scale=False)], 1),
    "without shift": ([layers.Conv2D(6, 3), layers.BatchNormalization(center=False, epsilon=0.1)], 1),
    "grouped": ([layers.Conv2D(6, 3, groups=2), layers.BatchNormalization()], 1),
    "depthwise": ([layers.DepthwiseConv2D(3, depth_multiplier=2), layers.BatchNormalization()], 1),
    "along the channels": ([layers.Reshape((64, 4)), layers.Conv1D(6, 3), layers.BatchNormalization()], 1),
    "a dense layer": ([layers.Flatten(), layers.Dense(6), layers.BatchNormalization()], 1),
    "after an activation": ([layers.Conv2D(6, 3, activation="relu"), layers.BatchNormalization()], 0),
    "of another axis": ([layers.Conv2D(6, 3), layers.BatchNormalization(axis=1)], 0),
    "first": ([layers.BatchNormalization(), layers.Conv2D(6, 3)], 0),
    "of vectors": ([layers.Flatten(), layers.BatchNormalization()], 0),
    "of another convolution": ([layers.Conv2DTranspose(6, 3), layers.BatchNormalization()], 0),
}


@pytest.mark.parametrize("name", BODIES)
def test_what_a_convolution_can_take_up_is_gone(name, rng):
    body, removed = BODIES[name]
    model = net(*(type(layer).from_config(layer.get_config()) for layer in body))
    randomise(model, rng)
    folded = compare(model, (2, 8, 8, 4), rng)
    assert len({layer.name for layer in model.layers} - {layer.name for layer in folded.layers}) == removed


def branched(end):
    image = keras.Input((8, 8, 4))
    before = layers.Conv2D(6, 3, padding="same")
    x = before(image)
    return keras.Model(image, end(image, x, layers.BatchNormalization()(x), before))


ENDS = {
    "what another layer reads": lambda image, x, y, before: layers.Add()([x, y]),
    "what is an output too": lambda image, x, y, before: [x, y],
    "a layer that is called twice": lambda image, x, y, before: layers.Add()([y, before(image)]),
}


@pytest.mark.parametrize("name", ENDS)
def test_a_convolution_that_others_need_stays(name, rng):
    model = branched(ENDS[name])
    randomise(model, rng)
    images = rng.uniform(0, 255, (2, 8, 8, 4)).astype("float32")
    expected, result = (keras.tree.flatten(m(images, training=False)) for m in (model, fold_batch_norm(model)))
    for a, b in zip(result, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4 * np.abs(b).max())


def test_a_norm_that_is_called_in_training_stays(rng):
    image = keras.Input((8, 8, 4))
    x = layers.Conv2D(6, 3, padding="same")(image)
    model = keras.Model(image, layers.BatchNormalization()(x, training=True))
    randomise(model, rng)
    assert len(batch_norms(fold_batch_norm(model))) == 1
    compare(model, (2, 8, 8, 4), rng)


@pytest.mark.slow
def test_models_inside_of_models_are_folded(rng):
    inner = kr.ResNet((1, 1), filters=(8, 16), include_top=False, pooling="avg", input_shape=(32, 32, 3))
    sequential = net(layers.Conv2D(3, 3, padding="same"), layers.BatchNormalization(), shape=(32, 32, 3))
    image = keras.Input((32, 32, 3))
    shared = layers.Add()([inner(sequential(image)), inner(image)])
    model = keras.Model(image, layers.Dense(3)(shared))
    randomise(model, rng)
    folded = compare(model, (2, 32, 32, 3), rng)
    assert batch_norms(folded) == []
    assert len(folded.layers) == len(model.layers)


@pytest.mark.slow
def test_the_model_itself_stays_as_it_is(rng):
    model = kr.CifarResNet(8)
    model.compile("sgd", "categorical_crossentropy")
    randomise(model, rng)
    before = model.get_weights()
    folded = fold_batch_norm(model)
    folded.set_weights([np.zeros_like(value) for value in folded.get_weights()])
    for a, b in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(a, b)
    assert not folded.compiled


@pytest.mark.slow
def test_it_computes_in_the_precision_of_the_model(rng):
    keras.config.set_dtype_policy("mixed_bfloat16")
    model = small("ResNet18V2", classes=5)
    keras.config.set_dtype_policy("float32")
    randomise_evenly(model, rng)
    folded = compare(model, (4, 32, 32, 3), rng, tolerance=0.05)
    dtypes = {layer.compute_dtype for layer in folded.layers if isinstance(layer, layers.DepthwiseConv2D)}
    assert dtypes == {"bfloat16"}


@pytest.mark.slow
def test_a_folded_network_is_saved_as_plain_keras(tmp_path, rng):
    model = small("ResNet18V2", classes=5)
    randomise(model, rng)
    folded = fold_batch_norm(model)
    folded.save(tmp_path / "folded.keras")
    again = keras.models.load_model(tmp_path / "folded.keras")
    images = rng.uniform(0, 255, (2, 32, 32, 3))
    np.testing.assert_array_equal(predict(again, images), predict(folded, images))


@pytest.mark.parametrize("model", [layers.Dense(1), None, keras.Model()])
def test_what_has_no_graph_is_refused(model):
    with pytest.raises(TypeError, match="model must be a functional or sequential keras.Model whose input is known"):
        fold_batch_norm(model)


def halved(pixels):
    return pixels / 2


@pytest.mark.parametrize("function", [halved, lambda pixels: pixels / 2])
def test_functions_that_no_file_could_hold_are_kept(function, rng):
    """Keras itself copies neither function: it finds the first only by its name, and refuses the lambda as unsafe."""
    x = keras.Input((8, 8, 3))
    halves = layers.Lambda(function, output_shape=(8, 8, 3))
    model = keras.Model(x, layers.BatchNormalization()(layers.Conv2D(5, 3)(halves(x))))
    randomise(model, rng)
    folded = compare(model, (2, 8, 8, 3), rng)
    assert not any(isinstance(layer, layers.BatchNormalization) for layer in folded.layers)


@keras.saving.register_keras_serializable("tests")
class Standardised(layers.Conv2D):
    """A convolution that uses its kernel in another way (Qiao et al. 2019, arXiv:1903.10520)."""

    def convolution_op(self, inputs, kernel):
        mean, variance = keras.ops.moments(kernel, axes=(0, 1, 2), keepdims=True)
        return super().convolution_op(inputs, (kernel - mean) / keras.ops.sqrt(variance + 1e-5))


@keras.saving.register_keras_serializable("tests")
class Doubled(layers.BatchNormalization):
    """A batch norm with an additional operation."""

    def call(self, inputs, training=None, mask=None):
        return 2 * super().call(inputs, training=training)


@pytest.mark.parametrize(("convolution", "norm"), [(Standardised, layers.BatchNormalization), (layers.Conv2D, Doubled)])
def test_what_is_derived_from_a_layer_of_keras_is_left_alone(convolution, norm, rng):
    x = keras.Input((8, 8, 3))
    model = keras.Model(x, layers.ReLU()(norm()(convolution(5, 3)(x))))
    randomise(model, rng)
    folded = compare(model, (2, 8, 8, 3), rng)
    assert [type(layer) for layer in folded.layers if type(layer) in (Standardised, Doubled)] == [
        kind for kind in (convolution, norm) if kind in (Standardised, Doubled)
    ]
