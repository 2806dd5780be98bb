"""Assembled networks: inputs, outputs, names, data types, dilation, preprocessing, and rejected arguments."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_resnet as kr
from keras_resnet.inputs import check_data_format
from keras_resnet.orderings import ORDERINGS
from tests.conftest import quick_among, randomise


def tiny(**options):
    """A network that is quick to build, with all parts."""
    defaults = {"filters": (8, 16), "input_shape": (32, 32, 3), "classes": 10}
    return kr.ResNet((1, 2), kr.bottleneck_block, **{**defaults, **options})


def one_block(**options):
    """A network for tests that do not depend on the blocks."""
    defaults = {"filters": (8,), "input_shape": (32, 32, 3), "classes": 10}
    return kr.ResNet((1,), kr.residual_block, **{**defaults, **options})


def names(model):
    return [layer.name for layer in model.layers]


# Shapes


@pytest.mark.parametrize(
    ("shape", "features"),
    [
        ((225, 193, 3), (8, 7)),
        ((None, 64, 2), (None, 2)),
        *(
            pytest.param(shape, features, marks=pytest.mark.slow)
            for shape, features in (
                ((224, 224, 3), (7, 7)),
                ((32, 64, 1), (1, 2)),
                ((64, 64, 5), (2, 2)),
                ((None, None, 3), (None, None)),
            )
        ),
    ],
)
def test_features_have_a_thirty_second_of_the_sides_rounded_up(shape, features):
    model = kr.ResNet18(depths=(1, 1, 1, 1), filters=(8, 8, 8, 16), include_top=False, input_shape=shape)
    assert model.input.shape == (None, *shape)
    assert model.output.shape == (None, *features, 16)


@pytest.mark.slow
def test_sides_left_open_take_images_of_any_size(rng):
    model = kr.ResNet18(depths=(1, 1, 1, 1), filters=(8, 8, 8, 8), input_shape=(None, None, 3), classes=7)
    for sides in ((32, 32), (65, 47)):
        assert model(rng.uniform(0, 255, (2, *sides, 3)), training=False).shape == (2, 7)


def test_default_shapes_are_those_of_keras_applications():
    small = {"depths": (1,), "filters": (8,)}
    assert kr.ResNet18(**small).input.shape == (None, 224, 224, 3)
    assert kr.ResNet18(include_top=False, **small).input.shape == (None, None, None, 3)
    assert kr.CifarResNet(8).input.shape == (None, 32, 32, 3)


@pytest.mark.slow
@pytest.mark.parametrize(("pooling", "shape"), [(None, (None, 4, 4, 64)), ("avg", (None, 64)), ("max", (None, 64))])
def test_pooling_without_the_top(pooling, shape):
    assert tiny(include_top=False, pooling=pooling).output.shape == shape


@pytest.mark.slow
def test_any_number_of_stages_depths_and_widths():
    model = kr.ResNet((1, 3, 1, 1, 1), kr.residual_block, filters=(4, 8, 8, 12, 24), input_shape=(64, 64, 3))
    assert model.get_layer("conv6_block1_out").output.shape == (None, 1, 1, 24)
    assert "conv3_block3_out" in names(model)


def test_input_tensor_is_built_upon(rng):
    raw = keras.Input((32, 32, 1), name="grey")
    model = tiny(input_tensor=keras.layers.Concatenate()([raw, raw, raw]), input_shape=None)
    assert [x.name for x in model.inputs] == ["grey"]
    assert model([rng.uniform(0, 255, (2, 32, 32, 1))], training=False).shape == (2, 10)


def test_classifier_activation_none_gives_logits_and_softmax_their_probabilities(rng):
    images = rng.uniform(0, 255, (2, 32, 32, 3))
    softmax, logits = one_block(), one_block(classifier_activation=None)
    logits.set_weights(softmax.get_weights())
    np.testing.assert_allclose(
        softmax(images, training=False), keras.ops.softmax(logits(images, training=False)), rtol=1e-5
    )


@pytest.mark.slow
def test_the_model_is_called_as_asked():
    small = {"depths": (1,), "filters": (16,)}
    assert kr.ResNet18(**small).name == "resnet18"
    assert kr.ResNeXt50_32x4d(include_top=False, name="backbone", **small).name == "backbone"
    assert kr.CifarResNet(8).name == "cifarresnet8"


# Names


@pytest.mark.parametrize("ordering", ORDERINGS)
def test_stem_and_head_follow_the_ordering(ordering):
    found = names(tiny(ordering=ordering))
    row = ORDERINGS[ordering]
    assert [w for w in ("bn", "relu") if f"conv1_{w}" in found] == list(row.after)
    assert [w for w in ("bn", "relu") if f"post_{w}" in found] == list(row.before)


# Output stride


@pytest.mark.parametrize(
    ("output_stride", "strides", "dilations"),
    [
        (32, [4, 8, 16, 32], [1, 1, 1, 1]),
        (16, [4, 8, 16, 16], [1, 1, 1, 2]),
        (8, [4, 8, 8, 8], [1, 1, 2, 4]),
    ],
)
@pytest.mark.parametrize("name", quick_among(("ResNet18", "ResNet50", "ResNet50V2", "ResNet50D"), "ResNet18"))
def test_output_stride_dilates_later_stages(name, output_stride, strides, dilations):
    size = {"depths": (2, 2, 2, 2), "filters": (8, 8, 8, 8), "include_top": False, "input_shape": (128, 128, 3)}
    model = kr.create_model(name, output_stride=output_stride, **size)
    assert [128 // x.shape[1] for x in kr.pyramid(model).values()] == strides
    second = [model.get_layer(f"conv{stage}_block2_2_conv").dilation_rate[0] for stage in (2, 3, 4, 5)]
    assert second == dilations
    # The block whose stride was replaced has the dilation of the previous stage.
    strided = "1" if name == "ResNet18" else "2"
    first = [model.get_layer(f"conv{stage}_block1_{strided}_conv").dilation_rate[0] for stage in (3, 4, 5)]
    assert first == dilations[:-1] if output_stride != 32 else first == [1, 1, 1]


@pytest.mark.slow
def test_output_stride_changes_no_weight():
    assert [w.shape for w in tiny(output_stride=8).weights] == [w.shape for w in tiny().weights]


# Stochastic depth and dropout


def test_stochastic_depth_grows_linearly_from_the_first_block():
    model = kr.ResNet((1, 2, 2), kr.residual_block, filters=(4, 4, 4), stochastic_depth=0.4, input_shape=(64, 64, 3))
    rates = {layer.name: layer.rate for layer in model.layers if layer.name.endswith("_drop")}
    expected = {"conv3_block1_drop": 0.1, "conv3_block2_drop": 0.2, "conv4_block1_drop": 0.3, "conv4_block2_drop": 0.4}
    assert rates == pytest.approx(expected)


def test_drop_rate_is_of_the_classifiers_input():
    model = tiny(drop_rate=0.3)
    assert names(model)[-3:] == ["avg_pool", "predictions_drop", "predictions"]
    assert model.get_layer("predictions_drop").rate == 0.3


# Preprocessing


def test_preprocessing_takes_raw_pixels(rng):
    images = rng.integers(0, 256, (2, 32, 32, 3)).astype("uint8")
    model = one_block()
    normalised = keras.Model(model.input, model.get_layer("preprocessing").output)(images)
    expected = (images / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    np.testing.assert_allclose(normalised, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.slow
def test_uint8_and_float_pixels_are_the_same(rng):
    images = rng.integers(0, 256, (2, 32, 32, 3)).astype("uint8")
    model = one_block()
    expected = model.predict(images.astype("float32"), verbose=0)
    for same in (images, images.astype("float64"), images.astype("int32"), tf.constant(images)):
        np.testing.assert_array_equal(model.predict(same, verbose=0), expected)
        np.testing.assert_allclose(model(same), expected, atol=1e-6)


def test_what_is_passed_is_not_changed(rng):
    images = rng.uniform(0, 255, (2, 32, 32, 3)).astype("float32")
    before = images.copy()
    model = one_block()
    model.predict(images, verbose=0)
    model(images)
    np.testing.assert_array_equal(images, before)


def test_preprocessing_can_be_left_out(rng):
    complete, without = one_block(), one_block(include_preprocessing=False)
    assert "preprocessing" not in names(without)
    without.set_weights([w.numpy() for w in complete.weights if "preprocessing" not in w.path])
    pixels = rng.uniform(0, 255, (2, 32, 32, 3))
    normalised = (pixels / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    np.testing.assert_allclose(
        complete(pixels, training=False), without(normalised, training=False), rtol=1e-3, atol=1e-5
    )


def test_mean_and_std_are_averaged_for_another_number_of_channels():
    layer = one_block(input_shape=(32, 32, 1)).get_layer("preprocessing")
    np.testing.assert_allclose(layer.mean, [[[[255 * np.mean([0.485, 0.456, 0.406])]]]], rtol=1e-6)
    np.testing.assert_allclose(layer.variance, [[[[(255 * np.mean([0.229, 0.224, 0.225])) ** 2]]]], rtol=1e-6)


# Data types


@pytest.mark.parametrize(
    ("policy", "ordering"),
    [
        ("mixed_bfloat16", "original"),
        ("bfloat16", "full_preactivation"),
        *(
            pytest.param(policy, ordering, marks=pytest.mark.slow)
            for policy, ordering in (
                ("mixed_float16", "original"),
                ("bfloat16", "original"),
                ("mixed_bfloat16", "full_preactivation"),
                ("mixed_float16", "full_preactivation"),
            )
        ),
    ],
)
def test_a_reduced_policy_computes_in_it_and_answers_in_float32(policy, ordering, rng):
    keras.config.set_dtype_policy(policy)
    model = tiny(ordering=ordering, gate=kr.gates.squeeze_excite)
    compute = keras.config.dtype_policy().compute_dtype
    assert model.get_layer("conv2_block1_1_conv").output.dtype == compute
    assert model.get_layer("conv3_block2_out").output.dtype == compute
    assert model.output.dtype == model.get_layer("preprocessing").output.dtype == "float32"
    out = model(rng.uniform(0, 255, (2, 32, 32, 3)))
    assert out.dtype == "float32"
    np.testing.assert_allclose(keras.ops.sum(out, axis=-1), 1, rtol=1e-5)


def test_pooled_features_are_float32_too():
    keras.config.set_dtype_policy("mixed_bfloat16")
    assert one_block(include_top=False, pooling="avg").output.dtype == "float32"


def test_a_float64_policy_stays_float64():
    keras.config.set_dtype_policy("float64")
    assert one_block().output.dtype == "float64"


def test_mixed_precision_agrees_with_float32(rng):
    images = rng.uniform(0, 255, (4, 32, 32, 3))
    exact = one_block(classifier_activation=None)
    randomise(exact, rng)
    keras.config.set_dtype_policy("mixed_bfloat16")
    mixed = one_block(classifier_activation=None)
    mixed.set_weights(exact.get_weights())
    expected = exact(images, training=False)
    assert np.abs(mixed(images, training=False) - expected).max() < 0.05 * np.abs(expected).max()


# Data format


@pytest.mark.slow
def test_channels_first_gives_the_numbers_of_channels_last(rng, channels_first):
    options = {"stem": kr.stems.deep, "shortcut": kr.shortcuts.pool_project, "classifier_activation": None}
    try:
        check_data_format()
    except ValueError:
        pytest.skip("TensorFlow cannot convolve channels_first here; on x86 it can where it uses oneDNN, with AVX-512")

    def gate(x, name):
        gates = {"conv2_block1": kr.gates.squeeze_excite}
        return gates.get(name, kr.gates.efficient_channel_attention)(x, name)

    images = rng.uniform(0, 255, (2, 32, 32, 3))
    keras.config.set_image_data_format("channels_first")
    first = tiny(gate=gate, input_shape=(3, 32, 32), **options)
    randomise(first, rng)
    assert first.get_layer("conv3_block2_out").output.shape == (None, 64, 4, 4)
    keras.config.set_image_data_format("channels_last")
    last = tiny(gate=gate, **options)
    # The statistics of the preprocessing have other shapes in channels_first, so they are reshaped.
    for weight, value in zip(last.weights, first.weights, strict=True):
        weight.assign(np.reshape(value, weight.shape))
    assert {"conv2_block1_se_reduce", "conv3_block1_eca_conv"} <= set(names(last))
    np.testing.assert_allclose(
        first.predict(np.moveaxis(images, -1, 1), verbose=0), last.predict(images, verbose=0), rtol=1e-3, atol=1e-4
    )


# Weights


@pytest.mark.parametrize("suffix", quick_among((".weights.h5", ".keras"), ".weights.h5"))
def test_weights_are_loaded_from_a_file(suffix, tmp_path, rng):
    images = rng.uniform(0, 255, (2, 32, 32, 3))
    trained = one_block()
    randomise(trained, rng)
    path = tmp_path / f"net{suffix}"
    trained.save_weights(path) if suffix == ".weights.h5" else trained.save(path)
    loaded = one_block(weights=path)
    np.testing.assert_array_equal(loaded(images, training=False), trained(images, training=False))


# Bad input


def test_a_broken_weights_file_is_named(tmp_path):
    broken = tmp_path / "broken.keras"
    broken.write_text("no zip")
    with pytest.raises(
        ValueError, match="broken.keras: a file of weights must be Keras HDF5, .weights.h5, .keras, safetensors, npz or"
    ):
        tiny(weights=broken)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"depths": ()}, "depths must have at least one entry"),
        ({"depths": (1, 0)}, r"depths\[1\] must be an integer of at least 1. Received: depths\[1\]=0"),
        ({"filters": (8,)}, r"filters must have 2 entries, as many as depths. Received: filters=\(8,\)"),
        ({"ordering": "v2"}, "ordering must be one of .*Received: ordering='v2'"),
        ({"output_stride": 4}, "output_stride must be one of None, 8, 16, 32. Received: output_stride=4"),
        ({"pooling": "median"}, "Received: pooling='median'"),
        (
            {"input_tensor": keras.Input((32, 32, 3), dtype="uint8"), "include_preprocessing": False},
            "input_tensor must be floating point if include_preprocessing is False. Received: dtype uint8",
        ),
        ({"output_stride": 64}, "Received: output_stride=64"),
        ({"classes": 0}, "classes must be an integer of at least 1. Received: classes=0"),
        (
            {"include_top": False, "pooling": "mean"},
            "pooling must be one of None, 'avg', 'max'. Received: pooling='mean'",
        ),
        ({"input_shape": (7, 32, 3)}, "input_shape must have sides of at least 8, .*Received: 7 x 32"),
        ({"input_shape": (32, 32)}, r"input_shape must be \(height, width, channels\)"),
        ({"input_shape": (32, 32, None)}, "only height and width may be None"),
        ({"input_shape": (32, 0, 3)}, "input_shape must be an integer of at least 1"),
        ({"groups": 5, "block": kr.residual_block}, "groups must divide"),
        ({"stochastic_depth": -0.1}, r"stochastic_depth must be in \[0, 1\)"),
        ({"drop_rate": 1}, r"drop_rate must be in \[0, 1\). Received: drop_rate=1"),
        ({"std": (1, 0, 1)}, "each std must be above 0"),
        ({"mean": (0, 0)}, "mean and std must have the same length"),
        ({"weights": "imagenet"}, "tags are for models of the zoo, .*Received: 'imagenet', no such file"),
        ({"weights": "none.keras"}, "must be the path of an existing file.*Received: 'none.keras', no such file"),
        ({"input_tensor": keras.Input((16, 16, 3))}, "input_shape must be the shape of input_tensor"),
    ],
)
def test_a_wrong_value_is_named(options, message):
    with pytest.raises(ValueError, match=message):
        kr.ResNet(**{"depths": (1, 2), "filters": (8, 16), "input_shape": (32, 32, 3), **options})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"depths": 3}, "depths must be a sequence of integers. Received: depths=3"),
        ({"input_shape": 32}, r"input_shape must be \(height, width, channels\)"),
        ({"input_tensor": np.zeros((1, 32, 32, 3))}, "input_tensor must be a Keras tensor of rank 4"),
        ({"input_tensor": keras.Input((32, 3))}, "input_tensor must be a Keras tensor of rank 4"),
    ],
)
def test_a_wrong_type_is_named(options, message):
    with pytest.raises(TypeError, match=message):
        kr.ResNet(**{"depths": (1, 2), "filters": (8, 16), **options})


# Gradients


@pytest.mark.slow
@pytest.mark.parametrize("ordering", ORDERINGS)
@pytest.mark.parametrize("gate", [kr.gates.squeeze_excite, kr.gates.efficient_channel_attention])
def test_gradient_reaches_every_weight_of_a_network(ordering, gate, rng):
    model = tiny(ordering=ordering, gate=gate, stem=kr.stems.deep_strided, shortcut=kr.shortcuts.pool_project)
    randomise(model, rng)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(model(rng.uniform(0, 255, (4, 32, 32, 3)), training=True)[:, 0])
    gradients = tape.gradient(loss, [weight.value for weight in model.trainable_weights])
    for weight, gradient in zip(model.trainable_weights, gradients):
        assert np.abs(gradient).max() > 0, weight.path


# Very deep networks


@pytest.mark.slow
def test_a_very_deep_network_takes_a_training_step(rng):
    """A quarter of ResNet-1202. A step of the whole network takes a minute and a half, and its blocks are all alike."""
    model = kr.CifarResNet(302, input_shape=(8, 8, 3))
    assert sum(layer.name.endswith("_conv") for layer in model.layers) == 301
    before = model.get_layer("conv1_conv").get_weights()[0]
    # The step runs eagerly: tracing a graph of 1,000 layers for one step takes longer, and `fit` always traces.
    with tf.GradientTape() as tape:
        loss = keras.losses.sparse_categorical_crossentropy(
            np.array([1, 2]), model(rng.uniform(0, 255, (2, 8, 8, 3)), training=True)
        )
    gradients = tape.gradient(loss, [weight.value for weight in model.trainable_weights])
    keras.optimizers.SGD().apply(gradients, model.trainable_weights)
    assert np.isfinite(loss).all()
    assert np.abs(model.get_layer("conv1_conv").get_weights()[0] - before).max() > 0


def test_preprocess_input_hands_raw_pixels_through():
    pixels = np.array([[0, 128, 255]], "uint8")
    assert kr.preprocess_input(pixels, data_format="channels_last") is pixels
    symbolic = keras.Input((8, 8, 3))
    assert kr.preprocess_input(symbolic) is symbolic
    black = np.zeros((1, 2, 2, 3))
    assert kr.preprocess_input(black) is black


@pytest.mark.parametrize(("scale", "shift"), [(1 / 255, 0), (1 / 127.5, -1)])
def test_preprocess_input_refuses_scaled_pixels(scale, shift):
    with pytest.raises(
        ValueError, match="must be raw pixels from 0 to 255; .* Received: pixels from (0|-1) to 1; leave"
    ):
        kr.preprocess_input(np.array([0.0, 128, 255]) * scale + shift)


def test_a_shape_with_the_channels_first_is_refused_with_the_right_one():
    with pytest.raises(ValueError, match=r"with the channels first; type input_shape=\(224, 224, 3\)"):
        kr.ResNet18(input_shape=(3, 224, 224))


@pytest.mark.parametrize(
    ("argument", "hint"),
    [
        ({"pretrained": True}, 'In place of pretrained, type weights="imagenet"'),
        ({"num_classes": 10}, "type classes=10"),
    ],
)
def test_arguments_of_other_libraries_are_answered_with_what_to_type(argument, hint):
    with pytest.raises(TypeError, match=hint):
        kr.ResNet18(**argument)
