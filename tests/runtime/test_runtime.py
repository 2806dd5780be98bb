"""How a model computes while it is trained; before, after and in files it is a plain Keras model."""

import contextlib

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_resnet as kr
from keras_resnet.runtime.compiled_relu import compiled_relu
from keras_resnet.runtime.fused_batch_norm import fused_batch_norms
from keras_resnet.runtime.grouped_convolutions import _has_gradients, without_xla, without_xla_in_training
from keras_resnet.runtime.kernel_gradients import gradients_by_matmul
from keras_resnet.runtime.logits import logits
from keras_resnet.runtime.precision import POLICIES, compute_precision
from keras_resnet.runtime.remat import remat_blocks
from keras_resnet.runtime.train_mode import train_mode
from keras_resnet.training.recipe import AUTO, CHOICES
from tests import processes
from tests.conftest import quick_among, randomise

SMALL = {"input_shape": (16, 16, 3), "classes": 5}
NETS = {
    "v1": lambda **options: kr.ResNet((1, 1), kr.residual_block, filters=(8, 16), stem=kr.stems.cifar, **options),
    "v2": lambda **options: kr.ResNet(
        (1, 1), filters=(8, 16), stem=kr.stems.cifar, ordering="full_preactivation", **options
    ),
    "gates and dropping": lambda **options: kr.ResNet(
        (1, 1), filters=(8, 16), gate=kr.gates.squeeze_excite, stochastic_depth=0.5, drop_rate=0.5, **options
    ),
}


def images(rng, count=8):
    return rng.integers(0, 256, (count, 16, 16, 3)).astype("float32")


def states(model):
    return [keras.ops.convert_to_numpy(variable) for variable in model.variables]


def calls_of(model):
    """The functions that replace the `call` of the layers."""
    return {layer.name: vars(layer).get("call") for layer in model.layers}


def train(model, rng, steps=2):
    """The losses of some steps of plain gradient descent. The step is traced once, and random seeds are reset."""
    for variable in model.variables:
        if "seed" in variable.path:
            variable.assign([0, 1])
    loss_of = keras.losses.CategoricalCrossentropy(from_logits=True)

    @tf.function(autograph=False)
    def step(x, targets):
        with tf.GradientTape() as tape:
            loss = loss_of(targets, model(x, training=True))
        gradients = tape.gradient(loss, [variable.value for variable in model.trainable_variables])
        for variable, gradient in zip(model.trainable_variables, gradients, strict=True):
            variable.assign_sub(0.05 * gradient)
        return loss

    targets = np.eye(5, dtype="float32")[np.arange(8 * steps) % 5].reshape(steps, 8, 5)
    return [float(step(images(rng), tf.constant(target))) for target in targets]


@pytest.fixture(params=NETS)
def net(request, rng):
    model = NETS[request.param](**SMALL)
    randomise(model, rng)
    return model


def test_a_fused_batch_norm_has_keras_own_numbers(rng):
    x = rng.normal(2, 3, (8, 5, 5, 16)).astype("float32")
    plain, fused = (keras.Sequential([keras.Input((5, 5, 16)), keras.layers.BatchNormalization()]) for _ in range(2))
    for model in (plain, fused):
        randomise(model, np.random.default_rng(1))
    with fused_batch_norms(fused):
        for training in (True, True, False):
            np.testing.assert_allclose(fused(x, training=training), plain(x, training=training), atol=2e-5)
    for value, expected in zip(states(fused), states(plain), strict=True):
        np.testing.assert_allclose(value, expected, atol=1e-5)


@pytest.mark.parametrize("channels", [12, 16])
def test_a_fused_batch_norm_gives_the_type_that_it_takes(channels, rng):
    layer = keras.layers.BatchNormalization(dtype="mixed_bfloat16")
    model = keras.Sequential([keras.Input((5, 5, channels)), layer])
    randomise(model, rng)
    x = rng.normal(2, 3, (8, 5, 5, channels)).astype("float32")
    expected = keras.ops.convert_to_numpy(keras.ops.cast(model(x, training=True), "float32"))
    with fused_batch_norms(model):
        y = model(x, training=True)
    assert keras.backend.standardize_dtype(y.dtype) == "bfloat16"
    np.testing.assert_allclose(keras.ops.convert_to_numpy(keras.ops.cast(y, "float32")), expected, rtol=0.02, atol=0.02)


def test_a_frozen_batch_norm_stays_as_it_is(rng):
    model = keras.Sequential([keras.Input((5, 5, 4)), keras.layers.BatchNormalization(trainable=False)])
    before = states(model)
    x = rng.normal(2, 3, (8, 5, 5, 4)).astype("float32")
    with fused_batch_norms(model):
        np.testing.assert_allclose(model(x, training=True), x, rtol=2e-3)
    for value, expected in zip(states(model), before, strict=True):
        np.testing.assert_array_equal(value, expected)


@pytest.fixture(scope="module", params=NETS)
def trainings(request):
    """Losses and final variables of one training: in plain Keras, with fused batch norms, with these and remat."""
    model = NETS[request.param](**SMALL)
    randomise(model, np.random.default_rng(0))
    start, results = model.get_weights(), []
    with logits(model), contextlib.ExitStack() as stack:
        for begin in (contextlib.nullcontext, fused_batch_norms, remat_blocks):
            model.set_weights(start)
            stack.enter_context(begin(model))
            results.append((train(model, np.random.default_rng(0)), states(model)))
    return results


@pytest.mark.slow
def test_a_net_trains_on_the_fused_kernel_as_on_keras_own(trainings):
    (plain_losses, plain_states), (fused_losses, fused_states), _ = trainings
    np.testing.assert_allclose(fused_losses, plain_losses, rtol=1e-3)
    for value, expected in zip(fused_states, plain_states, strict=True):
        np.testing.assert_allclose(value, expected, rtol=1e-2, atol=1e-3)


@pytest.mark.slow
def test_blocks_that_are_computed_again_give_the_same_weights_and_statistics(trainings):
    _, (fused_losses, fused_states), (remat_losses, remat_states) = trainings
    assert remat_losses == fused_losses
    for value, expected in zip(remat_states, fused_states, strict=True):
        np.testing.assert_array_equal(value, expected)


def test_norms_that_the_kernel_does_not_fit_keep_their_own(rng):
    inputs = keras.Input((4, 6, 8))
    across = keras.layers.BatchNormalization(axis=1)
    x = keras.layers.BatchNormalization(synchronized=True)(across(inputs))
    vector = keras.layers.BatchNormalization()(keras.layers.GlobalAveragePooling2D()(x))
    model = keras.Model(inputs, vector)
    with fused_batch_norms(model):
        assert [layer for layer in model.layers if "call" in vars(layer)] == []
        assert model(rng.normal(size=(2, 4, 6, 8)), training=True).shape == (2, 8)


@pytest.mark.slow
def test_a_net_trains_on_quicker_kernels_as_on_tensorflows_own(net, monkeypatch):
    monkeypatch.setattr("keras_resnet.runtime.compiled_relu.LEAST", 1)
    monkeypatch.setattr("keras_resnet.runtime.kernel_gradients.LEAST", 1)
    start = net.get_weights()
    with logits(net), compute_precision(net, "bfloat16"):
        plain_losses, plain_weights = train(net, np.random.default_rng(0), steps=1), net.get_weights()
        calls = calls_of(net)
        for quick_kernels in (compiled_relu, gradients_by_matmul):
            net.set_weights(start)
            with quick_kernels(net):
                assert calls_of(net) != calls
                losses = train(net, np.random.default_rng(0), steps=1)
            assert calls_of(net) == calls
            np.testing.assert_allclose(losses, plain_losses, rtol=1e-3)
            # Sums are rounded to seven bits, so they depend on their order. The error of each weight's step was at most
            # 0.14 of the step, for twelve networks with random weights. Later steps have larger errors, most with gates
            # and dropout.
            for value, expected, before in zip(net.get_weights(), plain_weights, start, strict=True):
                assert np.linalg.norm(value - expected) <= 0.25 * np.linalg.norm(expected - before)
    assert set(calls_of(net).values()) == {None}


@pytest.mark.parametrize("least", [1, 10**6])
def test_a_compiled_relu_is_the_same_to_the_bit(least, rng, monkeypatch):
    monkeypatch.setattr("keras_resnet.runtime.compiled_relu.LEAST", least)
    inputs = [keras.Input((4, 4, 3), dtype="bfloat16") for _ in range(2)]
    total = keras.layers.Add(dtype="bfloat16")(inputs)
    model = keras.Model(inputs, keras.layers.Activation("relu", dtype="bfloat16")(total))
    x = [tf.Variable(rng.normal(size=(2, 4, 4, 3)), dtype=tf.bfloat16) for _ in inputs]
    x[0].assign(tf.where(tf.range(3) == 2, tf.constant(np.nan, tf.bfloat16), x[0]))

    def outputs_and_gradients():
        with tf.GradientTape() as tape:
            y = model(x)
        return [y, *tape.gradient(y, x, tf.cast(tf.reshape(tf.range(96), (2, 4, 4, 3)), tf.bfloat16))]

    expected = outputs_and_gradients()
    with compiled_relu(model):
        assert all("call" in vars(layer) for layer in model.layers[2:])
        results = outputs_and_gradients()
    for result, value in zip(results, expected, strict=True):
        np.testing.assert_array_equal(result.numpy().astype("float32"), value.numpy().astype("float32"))


def test_an_addition_that_others_read_too_stays_one(rng):
    keras.config.set_dtype_policy("mixed_bfloat16")
    x = keras.Input((4, 4, 3))
    total = keras.layers.Add(name="total")([x, keras.layers.Conv2D(3, 1)(x)])
    outer = keras.Model(x, [keras.layers.Activation("relu", name="relu")(total), total])
    image = rng.normal(size=(2, 4, 4, 3)).astype("float32")
    expected = outer(image)
    with compiled_relu(outer):
        assert "call" in vars(outer.get_layer("relu"))
        assert "call" not in vars(outer.get_layer("total"))
        results = outer(image)
    for pair in zip(results, expected, strict=True):
        np.testing.assert_array_equal(*(keras.ops.convert_to_numpy(keras.ops.cast(y, "float32")) for y in pair))


@pytest.mark.parametrize("shapes", [((4, 4, 3), (1, 1, 3)), ((4, 4, 4), (4, 4))])
def test_an_addition_that_repeats_values_is_keras_own(shapes, rng, monkeypatch):
    monkeypatch.setattr("keras_resnet.runtime.compiled_relu.LEAST", 1)
    inputs = [keras.Input(shape, dtype="bfloat16") for shape in shapes]
    total = keras.layers.Add(dtype="bfloat16")(inputs)
    model = keras.Model(inputs, keras.layers.Activation("relu", dtype="bfloat16")(total))
    x = [tf.constant(rng.normal(size=(4, *shape)), tf.bfloat16) for shape in shapes]
    expected = model(x)
    with compiled_relu(model):
        np.testing.assert_array_equal(model(x).numpy().astype("float32"), expected.numpy().astype("float32"))


GROUPED = {
    "as in ResNeXt": {"groups": 4, "strides": 2, "padding": "valid", "use_bias": False},
    "with a bias and an activation": {"groups": 2, "activation": "relu"},
    "dilated": {"groups": 2, "dilation_rate": 2},
    "depthwise": {"groups": 8},
}


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "mixed_bfloat16"])
def test_grouped_convolutions_are_tensorflows_own_and_the_same(dtype, rng):
    inputs = keras.Input((9, 9, 8))
    layers = {
        name: keras.layers.Conv2D(8, 3, **{"padding": "same", **options}, dtype=dtype)
        for name, options in GROUPED.items()
    }
    model = keras.Model(inputs, {name: layer(inputs) for name, layer in layers.items()})
    randomise(model, rng)
    x = rng.normal(size=(2, 9, 9, 8)).astype("float32")
    expected = model.predict(x, verbose=0)
    with without_xla(model):
        assert all("call" in vars(layer) for layer in layers.values())
        replaced = model.predict(x, verbose=0)
    assert not any("call" in vars(layer) for layer in layers.values())
    restored = model.predict(x, verbose=0)
    for name in GROUPED:
        tolerance = 1e-5 if dtype == "float32" else 0.05
        np.testing.assert_allclose(replaced[name], expected[name], atol=tolerance, err_msg=name)
        np.testing.assert_array_equal(restored[name], expected[name], err_msg=name)


@pytest.mark.processes
@pytest.mark.slow
def test_without_onednn_a_grouped_net_is_evaluated_and_served_and_channels_first_is_refused(tmp_path):
    """Without oneDNN, TensorFlow fuses a grouped convolution with bias and ReLU, but has no kernel for the result.

    It has no NCHW convolution on the CPU either. TensorFlow reads the variable `TF_ENABLE_ONEDNN_OPTS` at its import.
    """
    code = """
import sys, keras, numpy as np, pytest, tensorflow as tf, keras_resnet as kr
from keras_resnet.runtime.grouped_convolutions import without_xla
from tests.conftest import randomise
from tests.small_export import without_files

rng = np.random.default_rng(0)
net = kr.ResNet((1,), filters=(8,), groups=4, stem=kr.stems.cifar, input_shape=(16, 16, 3), classes=5)
randomise(net, rng)
images = rng.uniform(0, 255, (2, 16, 16, 3)).astype("float32")
expected = net(images)
folded = kr.export.fold_batch_norm(net)
with without_xla(folded):
    np.testing.assert_allclose(folded.predict(images, verbose=0), expected, atol=1e-5)
without_files(pytest.MonkeyPatch())
kr.export.saved_model(net, sys.argv[1])
serve = tf.saved_model.load(sys.argv[1] + "/1").signatures["serving_default"]
np.testing.assert_allclose(serve(image=tf.constant(images))["probabilities"], expected, atol=1e-5)
keras.config.set_image_data_format("channels_first")
try:
    kr.ResNet20()
except ValueError as error:
    print(error)
"""
    settings = {"TF_ENABLE_ONEDNN_OPTS": "0", "CUDA_VISIBLE_DEVICES": "-1", "KERAS_BACKEND": "tensorflow"}
    output = processes.printed(processes.fresh("-c", code, tmp_path / "export", environment=settings))
    assert "must be 'channels_last' here: the tensorflow backend cannot convolve 'channels_first'" in output


@pytest.mark.slow
@pytest.mark.skipif(not _has_gradients(), reason="needs oneDNN")
def test_a_grouped_net_trains_as_with_keras_own():
    net = kr.ResNet((1,), filters=(8,), groups=4, stem=kr.stems.cifar, **SMALL)
    copy = keras.models.clone_model(net)
    copy.set_weights(net.get_weights())
    with logits(net), logits(copy):
        plain_losses = train(copy, np.random.default_rng(0))
        with without_xla_in_training(net):
            assert any("call" in vars(layer) for layer in net.layers if layer.name.endswith("2_conv"))
            losses = train(net, np.random.default_rng(0))
    np.testing.assert_allclose(losses, plain_losses, rtol=1e-4)
    for value, expected in zip(net.get_weights(), copy.get_weights(), strict=True):
        np.testing.assert_allclose(value, expected, rtol=1e-2, atol=1e-4)


@pytest.mark.slow
def test_a_training_goes_on_after_an_evaluation_in_its_midst(rng):
    """A callback evaluates the network in the middle of the training. Both use the kernels of grouped convolutions."""
    net = kr.ResNet((1,), filters=(8,), groups=4, stem=kr.stems.cifar, **SMALL)
    split = kr.data.from_arrays(images(rng).astype("uint8"), np.arange(8) % 5, tuple("abcde"))
    accuracies = []

    class Evaluation(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            if epoch == 0:
                accuracies.append(kr.training.evaluate(self.model, split))

    kr.training.fit(net, kr.training.Recipe(epochs=2, batch_size=4), split, callbacks=[Evaluation()])
    assert len(accuracies) == 1
    assert not any("call" in vars(layer) for layer in net.layers)


def test_what_has_no_groups_is_left_alone():
    net = NETS["v1"](**SMALL)
    net.predict_function = "kept"
    with without_xla(net), without_xla_in_training(net):
        assert not any("call" in vars(layer) for layer in net.layers)
    assert net.predict_function == "kept"


@pytest.mark.slow
@pytest.mark.parametrize("precision", POLICIES)
def test_a_net_computes_as_one_that_was_built_in_that_precision(precision, rng):
    make = NETS["gates and dropping"]
    model = make(**SMALL)
    randomise(model, rng)
    keras.config.set_dtype_policy(POLICIES[precision])
    built = make(**SMALL)
    keras.config.set_dtype_policy("float32")
    built.set_weights(model.get_weights())
    x = images(rng)
    with compute_precision(model, precision):
        for layer, other in zip(model.layers[1:], built.layers[1:], strict=True):  # except the input
            assert layer.dtype_policy.name == other.dtype_policy.name, layer.name
        output = model(x)
    assert output.dtype == "float32"
    np.testing.assert_allclose(output, built(x), atol=1e-6)
    assert {layer.dtype_policy.name for layer in model.layers} == {"float32"}


def test_precisions_are_the_recipes():
    assert {*POLICIES, AUTO} == set(CHOICES["precision"])
    with pytest.raises(ValueError, match="precision must be one of 'float32', .* Received: precision='float8'"):
        compute_precision(NETS["v1"](**SMALL), "float8").__enter__()


@pytest.mark.parametrize("activation", quick_among(("softmax", "sigmoid", None), "softmax"))
def test_the_output_is_logits_for_the_time_being(activation, rng):
    model = NETS["v1"](**SMALL, classifier_activation=activation)
    randomise(model, rng)
    x = images(rng)
    before = model(x)
    with logits(model):
        scores = model(x)
        apply = getattr(keras.activations, activation or "linear")
        np.testing.assert_allclose(apply(scores), before, atol=1e-6)
    np.testing.assert_array_equal(model(x), before)


def test_a_softmax_layer_is_taken_off_too(rng):
    inputs = keras.Input((4,))
    scores = keras.layers.Dense(3)(inputs)
    model = keras.Model(inputs, keras.layers.Softmax()(scores))
    with logits(model):
        np.testing.assert_array_equal(model(np.ones((1, 4))), keras.Model(inputs, scores)(np.ones((1, 4))))


def test_the_last_layer_of_a_nested_model_is_the_one_of_the_output(rng):
    inputs = keras.Input((4,))
    scores = keras.layers.Dense(3)(inputs)
    inner = keras.Model(inputs, [keras.layers.ReLU()(inputs), keras.layers.Softmax()(scores)])
    model = keras.Model(inputs, inner(inputs)[1])
    x = rng.normal(size=(2, 4)).astype("float32")
    before = model(x)
    with logits(model):
        np.testing.assert_array_equal(model(x), keras.Model(inputs, scores)(x))
    np.testing.assert_array_equal(model(x), before)


@pytest.mark.slow
def test_a_nested_model_trains_as_the_model_in_it(rng):
    model = NETS["v1"](**SMALL)
    randomise(model, rng)
    start, results = model.get_weights(), []
    for trained in (model, keras.Sequential([keras.Input((16, 16, 3)), model])):
        model.set_weights(start)
        with train_mode(trained, "float32"):
            results.append((train(trained, np.random.default_rng(0), steps=2), model.get_weights()))
    (losses, weights), (nested_losses, nested_weights) = results
    np.testing.assert_allclose(nested_losses, losses, rtol=1e-6)
    for value, expected in zip(nested_weights, weights, strict=True):
        np.testing.assert_allclose(value, expected, rtol=1e-5, atol=1e-6)


def test_an_output_that_is_no_logits_is_refused():
    inputs = keras.Input((4,))
    for layer in (keras.layers.Dense(3, activation="relu", name="odd"), keras.layers.Normalization(name="odd")):
        with pytest.raises(
            ValueError, match=f"must end in a layer with a softmax.*Received: {type(layer).__name__} 'od"
        ):
            logits(keras.Model(inputs, layer(inputs)))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("net", "precision"), [*((name, "bfloat16") for name in NETS), ("v1", "float32")], indirect=["net"]
)
def test_outside_and_in_files_all_is_plain_keras(precision, net, tmp_path, rng, monkeypatch):
    monkeypatch.setattr("keras_resnet.runtime.compiled_relu.LEAST", 1)
    configuration, x = net.get_config(), images(rng)
    before = net(x)
    with train_mode(net, precision), remat_blocks(net):
        train(net, rng, steps=1)
        assert net.get_config() == configuration
        net.save(tmp_path / "in_training.keras")
        loaded = keras.saving.load_model(tmp_path / "in_training.keras")
    assert {type(layer).__module__.partition(".")[0] for layer in loaded.layers} == {"keras"}
    np.testing.assert_allclose(loaded(x), net(x), atol=1e-6)
    assert not np.allclose(net(x), before)
    assert all("call" not in vars(layer) for layer in [net, *net.layers])
