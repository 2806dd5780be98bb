"""The outputs of the two blocks, for every ordering, shortcut, gate and option."""

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_resnet as kr
from keras_resnet.orderings import ORDERINGS
from keras_resnet.resnet import cost
from tests import reference
from tests.conftest import quick_among, randomise

BLOCKS = {"residual": kr.residual_block, "bottleneck": functools.partial(kr.bottleneck_block, expansion=2)}
both = pytest.mark.parametrize("block", BLOCKS.values(), ids=BLOCKS)
every_ordering = pytest.mark.parametrize("ordering", ORDERINGS)
# All orderings; only the two most common ones are quick.
quick_orderings = pytest.mark.parametrize("ordering", quick_among(ORDERINGS, "original", "full_preactivation"))


def build(block, shape, *args, **options):
    x = keras.Input(shape)
    return keras.Model(x, block(x, *args, name="b", **options))


def test_every_ordering_has_a_reference():
    assert set(reference.ORDERINGS) == set(reference.BOTTLENECK_ORDERINGS) == set(ORDERINGS)


@every_ordering
@pytest.mark.parametrize(
    ("block", "references", "channels", "filters"),
    [
        (kr.residual_block, reference.ORDERINGS, 4, 4),
        (kr.bottleneck_block, reference.BOTTLENECK_ORDERINGS, 8, 2),
    ],
)
def test_a_block_equals_numpy(block, references, channels, filters, ordering, rng):
    model = build(block, (7, 6, channels), filters, ordering=ordering)
    randomise(model, rng)
    x = rng.normal(size=(2, 7, 6, channels)).astype("float32")
    expected = references[ordering](x, *reference.pieces(model, "b"))
    np.testing.assert_allclose(model(x, training=False), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("side", [7, 8])
def test_a_strided_block_with_a_projection_equals_numpy(side, rng):
    model = build(kr.bottleneck_block, (side, side, 4), 2, stride=2)
    randomise(model, rng)
    x = rng.normal(size=(2, side, side, 4)).astype("float32")
    c, b = reference.pieces(model, "b")
    relu = reference.relu
    branch = b["3_bn"](c[3](relu(b["2_bn"](c[2](relu(b["1_bn"](c[1](x))))))))
    expected = relu(branch + b["0_bn"](c[0](x)))
    np.testing.assert_allclose(model(x, training=False), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("side", [7, 8])
def test_max_pool_pads_with_minus_infinity_on_all_sides(side, rng):
    x = keras.Input((side, side, 2))
    images = rng.normal(-5, 1, (2, side, side, 2)).astype(
        "float32"
    )  # negative, so that a padding of zeros would change the maximum
    padded = np.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=-np.inf)
    expected = [[padded[:, i : i + 3, j : j + 3].max((1, 2)) for j in range(0, side, 2)] for i in range(0, side, 2)]
    out = keras.Model(x, kr.layers.max_pool(x, "pool1"))(images, training=False)
    np.testing.assert_array_equal(out, np.moveaxis(expected, 2, 0))


@both
@quick_orderings
@pytest.mark.parametrize("stride", quick_among((1, 2, 3), 2))
@pytest.mark.parametrize("side", [7, 8])
def test_sides_are_divided_by_the_stride_rounded_up(block, ordering, stride, side):
    model = build(block, (side, side, 4), 6, stride=stride, ordering=ordering)
    assert model.output.shape[1:3] == (-(-side // stride),) * 2


@pytest.mark.parametrize(
    ("block", "filters", "expected"),
    [(kr.residual_block, 8, 8), (kr.bottleneck_block, 8, 32), (BLOCKS["bottleneck"], 8, 16)],
)
def test_channels_are_filters_times_expansion(block, filters, expected):
    assert build(block, (8, 8, 4), filters).output.shape[-1] == expected


@pytest.mark.parametrize(
    ("block", "filters", "kernels"), [(kr.residual_block, 16, [3, 3]), (kr.bottleneck_block, 4, [1, 3, 1])]
)
def test_the_kernels_of_a_block_are_those_of_the_paper(block, filters, kernels):
    model = build(block, (8, 8, 16), filters)
    convolutions = [layer for layer in model.layers if isinstance(layer, keras.layers.Conv2D)]
    assert [layer.kernel_size for layer in convolutions] == [(kernel, kernel) for kernel in kernels]


@both
@quick_orderings
def test_gradient_reaches_every_weight(block, ordering, rng):
    model = build(block, (8, 8, 4), 6, stride=2, ordering=ordering, gate=kr.gates.squeeze_excite, last_gamma="ones")
    randomise(model, rng)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(model(rng.normal(size=(4, 8, 8, 4)), training=True) ** 3)
    for weight, gradient in zip(
        model.trainable_weights, tape.gradient(loss, [w.value for w in model.trainable_weights])
    ):
        assert gradient is not None, weight.path
        assert np.abs(gradient).max() > 0, weight.path


@both
@pytest.mark.parametrize("ordering", ["original", "relu_only_preactivation"])
def test_a_zero_gamma_block_starts_as_the_identity(block, ordering, rng):
    x = rng.uniform(0, 1, (2, 8, 8, 8)).astype("float32")
    model = build(block, (8, 8, 8), 8 if block is kr.residual_block else 4, ordering=ordering)
    np.testing.assert_array_equal(model(x, training=False), x)


@both
@pytest.mark.parametrize("ordering", ["bn_after_addition", "relu_before_addition", "full_preactivation"])
def test_no_gamma_is_zero_where_it_would_stay_so_or_stop_the_shortcut(block, ordering):
    model = build(block, (8, 8, 8), 8, ordering=ordering)
    assert all(weight.numpy().min() == 1 for weight in model.weights if weight.name == "gamma")


# Shortcuts


def test_without_a_shortcut_given_it_projects_only_where_shapes_differ():
    names = lambda *args, **options: [
        layer.name for layer in build(kr.residual_block, (8, 8, 4), *args, **options).layers
    ]
    assert "b_0_conv" not in names(4)
    assert "b_0_conv" in names(6)
    assert "b_0_conv" in names(4, stride=2)


def test_project_always_projects():
    assert build(kr.residual_block, (8, 8, 4), 4, shortcut=kr.shortcuts.project).get_layer("b_0_conv")


@pytest.mark.parametrize("ordering", ORDERINGS)
def test_a_projection_is_normalised_where_the_branch_ends_in_a_norm(ordering):
    model = build(kr.residual_block, (8, 8, 4), 6, ordering=ordering)
    assert any(layer.name == "b_0_bn" for layer in model.layers) is ("bn" in ORDERINGS[ordering].last)


def test_a_preactivated_projection_reads_what_the_branch_reads():
    model = build(kr.residual_block, (8, 8, 4), 6, ordering="full_preactivation")
    assert model.get_layer("b_0_conv").input is model.get_layer("b_preact_relu").output
    assert model.get_layer("b_1_conv").input is model.get_layer("b_preact_relu").output


@pytest.mark.parametrize(
    ("shortcut", "where"), [(kr.shortcuts.zero_pad, slice(0, 3)), (kr.shortcuts.zero_pad_both, slice(1, 4))]
)
@pytest.mark.parametrize("side", [6, 7])
def test_zero_pad_takes_every_second_pixel_and_adds_channels_of_zeros(shortcut, where, side, rng):
    x = keras.Input((side, side, 3))
    model = keras.Model(x, shortcut(x, 6, 2, "b_0"))
    images = rng.normal(size=(2, side, side, 3)).astype("float32")
    expected = np.zeros((2, -(-side // 2), -(-side // 2), 6), "float32")
    expected[..., where] = images[:, ::2, ::2]
    np.testing.assert_array_equal(model(images, training=False), expected)


def test_zero_pad_pads_channels_under_channels_first(channels_first, rng):
    x = keras.Input((3, 4, 4))
    images = rng.normal(size=(2, 3, 4, 4)).astype("float32")
    out = keras.Model(x, kr.shortcuts.zero_pad(x, 5, 1, "b_0"))(images, training=False)
    np.testing.assert_array_equal(out, np.pad(images, ((0, 0), (0, 2), (0, 0), (0, 0))))


@pytest.mark.parametrize("side", [6, 7])
def test_pool_project_averages_without_counting_the_padding(side, rng):
    x = keras.Input((side, side, 2))
    model = keras.Model(x, kr.shortcuts.pool_project(x, 2, 2, "b_0"))
    model.get_layer("b_0_conv").set_weights([np.eye(2)[None, None]])
    images = rng.normal(size=(1, side, side, 2)).astype("float32")
    expected = [[images[0, i : i + 2, j : j + 2].mean((0, 1)) for j in range(0, side, 2)] for i in range(0, side, 2)]
    np.testing.assert_allclose(model(images, training=False)[0], expected, atol=1e-6)


@pytest.mark.parametrize("ordering", ["original", "full_preactivation"])
def test_pool_project_is_the_raw_input_where_shapes_agree(ordering):
    model = build(kr.residual_block, (8, 8, 4), 4, shortcut=kr.shortcuts.pool_project, ordering=ordering)
    assert not any(layer.name.startswith("b_0_") for layer in model.layers)


def test_subsample_takes_every_second_pixel(rng):
    x = keras.Input((5, 5, 2))
    images = rng.normal(size=(1, 5, 5, 2)).astype("float32")
    out = keras.Model(x, kr.shortcuts.subsample(x, 2, 2, "b_0"))(images, training=False)
    np.testing.assert_array_equal(out, images[:, ::2, ::2])


@both
def test_a_shortcut_of_ones_own_is_called_with_the_raw_input(block):
    seen = []

    def shortcut(x, filters, stride, name):
        seen.append((x, filters, stride, name))
        return keras.layers.Conv2D(filters, stride, strides=stride, name=f"{name}_mine")(x)

    model = build(block, (8, 8, 4), 6, stride=2, shortcut=shortcut, ordering="full_preactivation")
    ((x, filters, stride, name),) = seen
    assert (filters, stride, name) == (model.output.shape[-1], 2, "b_0")
    assert x is model.input


# Options


def test_groups_and_base_width_make_resnext():
    model = build(kr.bottleneck_block, (8, 8, 64), 64, groups=32, base_width=4)
    assert model.get_layer("b_2_conv").kernel.shape == (3, 3, 4, 128)
    assert model.get_layer("b_2_conv").groups == 32


def test_groups_and_base_width_widen_the_residual_block_inside():
    model = build(kr.residual_block, (8, 8, 4), 8, base_width=128)
    assert model.get_layer("b_1_conv").filters == 16
    assert model.output.shape[-1] == 8


def test_dilation_dilates_all_but_the_first_where_told(rng):
    model = build(kr.residual_block, (9, 9, 2), 2, dilation=4, first_dilation=2)
    assert [model.get_layer(f"b_{i}_conv").dilation_rate for i in (1, 2)] == [(2, 2), (4, 4)]
    x = rng.normal(size=(1, 9, 9, 2)).astype("float32")
    conv = model.get_layer("b_2_conv")
    np.testing.assert_allclose(conv(x), reference.conv(x, conv.get_weights()[0], dilation=4), rtol=1e-4, atol=1e-5)


def test_stochastic_depth_drops_whole_branches_and_scales_the_others(rng):
    x = np.ones((64, 4, 4, 4), "float32")
    model = build(kr.residual_block, (4, 4, 4), 4, stochastic_depth=0.5, ordering="relu_before_addition")
    drop = model.get_layer("b_drop")
    out = keras.ops.convert_to_numpy(drop(x, training=True))
    assert set(np.unique(out)) == {0, 2}
    assert all(len(np.unique(image)) == 1 for image in out)
    np.testing.assert_array_equal(drop(x, training=False), x)


def test_norm_and_activation_are_functions_that_are_passed():
    norm = functools.partial(kr.layers.batch_norm, epsilon=1e-3)
    activation = lambda x, name: keras.layers.Activation("silu", name=name)(x)
    model = build(kr.bottleneck_block, (8, 8, 4), 4, norm=norm, activation=activation)
    assert {layer.epsilon for layer in model.layers if hasattr(layer, "epsilon")} == {1e-3}
    assert {layer.activation.__name__ for layer in model.layers if type(layer).__name__ == "Activation"} == {"silu"}


def test_without_a_name_two_blocks_fit_into_one_model():
    x = keras.Input((8, 8, 4))
    y = kr.bottleneck_block(kr.residual_block(kr.residual_block(x, 4), 4), 4)
    assert keras.Model(x, y).output.shape == (None, 8, 8, 16)


# Gates


@pytest.mark.parametrize("gate", [kr.gates.squeeze_excite, kr.gates.efficient_channel_attention])
@quick_orderings
def test_gates_stand_at_the_end_of_the_branch_in_every_ordering(gate, ordering):
    model = build(kr.residual_block, (8, 8, 16), 16, gate=gate, ordering=ordering)
    add = next(layer for layer in model.layers if type(layer).__name__ == "Add")
    assert add.input[1].shape == (None, 8, 8, 16)
    assert type(add.input[1]._keras_history.operation).__name__ == "Multiply"


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def test_squeeze_excite_equals_numpy(rng):
    x = keras.Input((5, 5, 32))
    model = keras.Model(x, kr.gates.squeeze_excite(x, "b", ratio=0.25))
    randomise(model, rng)
    images = rng.normal(size=(2, 5, 5, 32)).astype("float32")
    (w1, b1), (w2, b2) = (model.get_layer(f"b_se_{part}").get_weights() for part in ("reduce", "expand"))
    hidden = np.maximum(images.mean((1, 2)) @ w1[0, 0] + b1, 0)
    expected = images * sigmoid(hidden @ w2[0, 0] + b2)[:, None, None]
    np.testing.assert_allclose(model(images, training=False), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("channels", "reduced"), [(64, 8), (256, 16), (24, 8), (200, 16)])
def test_squeeze_excite_rounds_its_width_to_eights(channels, reduced):
    x = keras.Input((4, 4, channels))
    assert keras.Model(x, kr.gates.squeeze_excite(x, "b")).get_layer("b_se_reduce").filters == reduced


@pytest.mark.parametrize(("channels", "kernel"), [(64, 3), (256, 5), (512, 5), (1024, 5), (2048, 7)])
def test_channel_attention_equals_numpy(channels, kernel, rng):
    x = keras.Input((3, 3, channels))
    model = keras.Model(x, kr.gates.efficient_channel_attention(x, "b"))
    (weights,) = model.get_layer("b_eca_conv").get_weights()
    assert weights.shape == (kernel, 1, 1)
    images = rng.normal(size=(2, 3, 3, channels)).astype("float32")
    rows = np.pad(images.mean((1, 2)), ((0, 0), (kernel // 2, kernel // 2)))
    mixed = sum(rows[:, i : i + channels] * weights[i, 0, 0] for i in range(kernel))
    np.testing.assert_allclose(
        model(images, training=False), images * sigmoid(mixed)[:, None, None], rtol=1e-4, atol=1e-5
    )


# Bad input


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"ordering": "pre"}, "ordering must be one of 'original', .*Received: ordering='pre'"),
        ({"stride": 0}, "stride must be an integer of at least 1. Received: stride=0"),
        ({"first_dilation": 0}, "first_dilation must be an integer of at least 1"),
        ({"dilation": 0}, "dilation must be an integer of at least 1. Received: dilation=0"),
        ({"stride": 2, "first_dilation": 2}, "first_dilation must be 1 if stride is above 1"),
        ({"groups": 0}, "groups must be an integer of at least 1. Received: groups=0"),
        ({"groups": 3}, "groups must divide the 4 input channels .*Received: groups=3"),
        ({"base_width": 0}, "base_width must be an integer of at least 1"),
        ({"base_width": 7}, "base_width must be at least 8 for filters=8. Received: base_width=7"),
        ({"stochastic_depth": 1.0}, r"stochastic_depth must be in \[0, 1\). Received: stochastic_depth=1.0"),
        ({"shortcut": kr.shortcuts.identity}, "identity needs stride 1 and 8 input channels.* 4 channels"),
        ({"shortcut": kr.shortcuts.subsample}, "subsample needs 8 input channels. Received: 4 channels"),
        ({"shortcut": lambda x, filters, stride, name: x}, "shortcut must return the shape of the branch"),
    ],
)
def test_a_wrong_value_is_named(options, message):
    with pytest.raises(ValueError, match=message):
        build(kr.residual_block, (8, 8, 4), 8, **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"gate": "se"}, "gate must be a function or None. Received: gate='se'"),
        ({"shortcut": "project"}, "shortcut must be a function or None"),
        ({"stochastic_depth": "0.1"}, "stochastic_depth must be a number"),
    ],
)
def test_a_wrong_type_is_named(options, message):
    with pytest.raises(TypeError, match=message):
        build(kr.residual_block, (8, 8, 4), 8, **options)


@pytest.mark.parametrize("shortcut", [kr.shortcuts.zero_pad, kr.shortcuts.zero_pad_both])
def test_zero_pad_cannot_take_channels_away(shortcut):
    with pytest.raises(ValueError, match="filters must be at least 8. Received: filters=4"):
        build(kr.residual_block, (8, 8, 8), 4, shortcut=shortcut)


def test_wrong_filters_are_named():
    with pytest.raises(ValueError, match="filters must be an integer of at least 1. Received: filters=0"):
        build(kr.residual_block, (8, 8, 4), 0)
    with pytest.raises(TypeError, match="filters must be an integer of at least 1. Received: filters=8.5"):
        build(kr.residual_block, (8, 8, 4), 8.5)


@both
def test_an_array_is_no_keras_tensor(block):
    with pytest.raises(TypeError, match="x must be a Keras tensor of rank 4"):
        block(np.zeros((1, 8, 8, 4)), 8)


def test_operations_are_a_tuple():
    norm_act = kr.layers.NormAct(kr.layers.batch_norm, kr.layers.relu)
    for wrong in ("bn relu", ("gelu",)):
        with pytest.raises(ValueError, match='operations must be a tuple of "bn" and "relu". Received'):
            norm_act(wrong, keras.Input((8, 8, 4)), "b")


# Padding of strided convolutions as in TensorFlow's networks


def padded_by_same(sides):
    """A bottleneck network of plain Keras layers, all padded by "same", as in TensorFlow's Model Garden."""

    def conv(x, filters, kernel, stride, name):
        options = {"padding": "same", "use_bias": False, "name": f"{name}_conv"}
        x = keras.layers.Conv2D(filters, kernel, stride, **options)(x)
        return keras.layers.BatchNormalization(epsilon=1e-5, name=f"{name}_bn")(x)

    image = keras.Input((*sides, 3))
    x = keras.layers.ReLU()(conv(image, 8, 7, 2, "conv1"))
    x = keras.layers.MaxPooling2D(3, 2, padding="same")(x)
    for name, filters, stride in (("conv2_block1", 8, 1), ("conv3_block1", 16, 2)):
        skip = conv(x, 4 * filters, 1, stride, f"{name}_0")
        x = keras.layers.ReLU()(conv(x, filters, 1, 1, f"{name}_1"))
        x = keras.layers.ReLU()(conv(x, filters, 3, stride, f"{name}_2"))
        x = keras.layers.ReLU()(keras.layers.Add()([skip, conv(x, 4 * filters, 1, 1, f"{name}_3")]))
    return keras.Model(image, x)


@pytest.mark.parametrize("sides", quick_among([(32, 32), (33, 47), (30, 37)], (30, 37)))
def test_a_network_with_same_padding_equals_plain_keras(sides, rng):
    theirs = padded_by_same(sides)
    randomise(theirs, rng)
    ours = kr.ResNet(
        (1, 1),
        functools.partial(kr.bottleneck_block, conv=kr.layers.conv_same),
        filters=(8, 16),
        stem=functools.partial(kr.stems.imagenet, conv=kr.layers.conv_same, pool=kr.layers.max_pool_same),
        include_preprocessing=False,
        include_top=False,
        input_shape=(*sides, 3),
    )
    variables = {f"{layer.name}/{variable.name}": variable for layer in theirs.layers for variable in layer.weights}
    for layer in ours.layers:
        for variable in layer.weights:
            variable.assign(variables[f"{layer.name}/{variable.name}"])
    x = rng.normal(size=(2, *sides, 3)).astype("float32")
    np.testing.assert_allclose(ours(x, training=False), theirs(x, training=False), rtol=1e-4, atol=1e-4)
    assert ours.count_params() == theirs.count_params()


@pytest.mark.parametrize("block", [kr.residual_block, kr.bottleneck_block])
def test_every_convolution_of_a_block_is_made_by_conv(block):
    def conv(x, *arguments, name, **options):
        made.append(name)
        return kr.layers.conv_same(x, *arguments, name=name, **options)

    made = []
    build(block, (9, 9, 4), 8, stride=2, conv=conv)
    assert made[:2] == ["b_1_conv", "b_2_conv"]


def test_the_cost_of_same_padding_is_known():
    same = functools.partial(kr.layers.conv_same, bias="zeros")
    for block in (kr.residual_block, kr.bottleneck_block):
        fields = {
            "depths": (1, 2),
            "filters": (8, 16),
            "block": functools.partial(block, conv=same),
            "stem": functools.partial(kr.stems.imagenet, conv=same),
        }
        model = kr.ResNet(**fields, classes=5, input_shape=(33, 40, 3))
        parameters = sum(np.prod(weight.shape) for weight in model.trainable_weights)
        assert cost({**fields, "classes": 5}, (33, 40, 3)) == (parameters, kr.macs(model))
