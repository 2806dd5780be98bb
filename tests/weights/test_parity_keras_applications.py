"""keras.applications: the same weights give the same outputs in our networks. The files are like the official ones."""

import dataclasses
import functools
import importlib

import h5py
import keras
import numpy as np
import pytest

import keras_resnet as kr
from keras_resnet import weights, zoo
from keras_resnet.weights.table import MODES, table
from tests.conftest import photographs, randomise_evenly
from tests.torch_peers import dark_and_bright

pytestmark = pytest.mark.parity

V1, V2 = ("ResNet50", "ResNet101", "ResNet152"), ("ResNet50V2", "ResNet101V2", "ResNet152V2")
NEXT = {"ResNeXt50_32x4d": (3, 4, 6, 3), "ResNeXt101_32x4d": (3, 4, 23, 3)}
FAMILIES = (V1, V2, tuple(NEXT))  # networks of one family differ in depth only
# Blocks for each stage: the first, a middle one in one stage, and the last. In V2 the last block has the stride.
CUT = (2, 3, 2, 2)
SIDE = 64
PREPROCESS = {
    **dict.fromkeys(V1, keras.applications.resnet.preprocess_input),
    **dict.fromkeys(V2, keras.applications.resnet_v2.preprocess_input),
    **dict.fromkeys(NEXT, lambda images: keras.applications.imagenet_utils.preprocess_input(images, mode="torch")),
}


def resnext(depths):
    """The ResNeXt of keras-applications 1.0.8: depthwise convolution, then a sum over each group. Keras 3 has none."""
    layers = keras.layers

    def norm(x, name, activation=None):
        x = layers.BatchNormalization(epsilon=1.001e-5, name=f"{name}_bn")(x)
        return layers.Activation(activation)(x) if activation else x

    def block(x, filters, stride, projects, name):
        shortcut = x
        if projects:
            shortcut = norm(
                layers.Conv2D(2 * filters, 1, stride, use_bias=False, name=f"{name}_0_conv")(x), f"{name}_0"
            )
        x = norm(layers.Conv2D(filters, 1, use_bias=False, name=f"{name}_1_conv")(x), f"{name}_1", "relu")
        c = filters // 32
        x = layers.ZeroPadding2D(1)(x)
        x = layers.DepthwiseConv2D(3, stride, depth_multiplier=c, use_bias=False, name=f"{name}_2_conv")(x)
        height, width = x.shape[1:3]
        x = keras.ops.sum(layers.Reshape((height, width, 32, c, c))(x), axis=4)
        x = norm(layers.Reshape((height, width, filters))(x), f"{name}_2", "relu")
        x = norm(layers.Conv2D(2 * filters, 1, use_bias=False, name=f"{name}_3_conv")(x), f"{name}_3")
        return layers.Activation("relu")(layers.Add()([shortcut, x]))

    image = keras.Input((SIDE, SIDE, 3))
    x = layers.Conv2D(64, 7, 2, use_bias=False, name="conv1_conv")(layers.ZeroPadding2D(3)(image))
    x = layers.MaxPooling2D(3, 2)(layers.ZeroPadding2D(1)(norm(x, "conv1", "relu")))
    for stage, depth in enumerate(depths):
        for b in range(depth):
            stride = 2 if stage and b == 0 else 1
            x = block(x, 128 * 2**stage, stride, b == 0, f"conv{stage + 2}_block{b + 1}")
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(image, layers.Dense(1000, name="predictions")(x))


def original(name, depths=CUT, side=SIDE):
    """The original network with other depths (or no blocks at all), and the depths that it really has."""
    if name in NEXT:
        return resnext(depths), NEXT[name]
    source = importlib.import_module("keras.src.applications.resnet")
    depths_seen = []

    def cut(stack, x, filters, blocks, **options):
        depths_seen.append(blocks)
        return stack(x, filters, depths[len(depths_seen) - 1], **options) if depths else x

    with pytest.MonkeyPatch.context() as patch:
        for stack in ("stack_residual_blocks_v1", "stack_residual_blocks_v2"):
            patch.setattr(source, stack, functools.partial(cut, getattr(source, stack)))
        build = getattr(keras.applications, name)
        return build(weights=None, input_shape=(side, side, 3), classifier_activation=None), tuple(depths_seen)


def headless(model):
    """A network without its head, up to the average pooling."""
    return keras.Model(model.input, model.layers[-2].output)


def write_as_keras_2(model, path):
    """Writes a weights file in the format of Keras 2, like the official downloads.

    keras-applications wrote those files and named the head `probs`. Keras loads by position, so it ignores the name.
    """
    layers = {layer.name.replace("predictions", "probs"): layer for layer in model.layers if layer.weights}
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [name.encode() for name in layers]
        for layer_name, layer in layers.items():
            group = file.create_group(layer_name)
            prefix = "depthwise_" if isinstance(layer, keras.layers.DepthwiseConv2D) else ""
            named = {f"{layer_name}/{prefix}{weight.name}:0": weight for weight in layer.weights}
            group.attrs["weight_names"] = [name.encode() for name in named]
            for name, weight in named.items():
                group[name] = keras.ops.convert_to_numpy(weight)


@pytest.mark.slow
@pytest.mark.parametrize("name", [family[0] for family in FAMILIES])
def test_the_numbers_are_those_of_keras_applications(name, tmp_path, rng, cheap_weights):
    """Compares the outputs of all blocks and of the network, with and without the head. Each stage has few blocks."""
    theirs, _ = original(name)
    randomise_evenly(theirs, rng)
    write_as_keras_2(theirs, tmp_path / "top.h5")
    write_as_keras_2(headless(theirs), tmp_path / "notop.h5")
    row = weights.find(name, "keras")
    row = dataclasses.replace(
        row,
        source=str(tmp_path / "top.h5"),
        notop=str(tmp_path / "notop.h5"),
        hash="",
        notop_hash="",
        fields={**row.fields, "depths": CUT},
    )
    images = np.concatenate([dark_and_bright(rng, SIDE, SIDE), photographs(2, SIDE)])
    pixels = PREPROCESS[name](images.astype("float32"))
    block_outputs = [layer.name for layer in theirs.layers if layer.name.endswith("_out")]
    # keras-applications does not name these layers in ResNeXt.
    assert len(block_outputs) == (0 if name in NEXT else sum(CUT))
    for include_top, last_output in {True: theirs.output, False: headless(theirs).output}.items():
        build = functools.partial(getattr(kr, name), weights=row, input_shape=(SIDE, SIDE, 3), pooling="avg")
        ours = build(include_top=include_top, classifier_activation=None)
        expected, results = (
            [np.asarray(y) for y in keras.Model(net.input, [*features(net, block_outputs), output])(x, training=False)]
            for net, output, x in ((theirs, last_output, pixels), (ours, ours.output, images))
        )
        # The tolerance is relative to the difference between images: most of a random net's output is equal for all.
        assert np.abs(results[-1] - expected[-1]).max() <= 1e-3 * np.ptp(expected[-1], axis=0).max()
        for feature, expected_feature in zip(results[:-1], expected[:-1], strict=True):
            assert np.abs(feature - expected_feature).max() <= 1e-4 * np.abs(expected_feature).max()
        if include_top and name not in NEXT:
            # keras.applications also pads if the stride is 1, and before the pool. Its V2 has strides in other layers.
            extra = {layer.name for layer in theirs.layers} - {layer.name for layer in ours.layers}
            unexplained = {
                n for n in extra if not n.endswith("_pad") and "max_pooling2d" not in n and "input_layer" not in n
            }
            assert unexplained == set()
    # By its path alone: names in the file show its form.
    file = getattr(kr, name)(weights=tmp_path / "notop.h5", depths=CUT, include_top=False, pooling="avg")
    np.testing.assert_array_equal(file(images, training=False), ours(images, training=False))


def features(model, names):
    return [model.get_layer(name).output for name in names]


@pytest.mark.slow
@pytest.mark.parametrize("name", PREPROCESS)
def test_a_network_has_the_depth_of_keras_applications_and_is_like_the_first_of_its_family(name, cheap_weights):
    _, depths = original(name, ())
    row, (first,) = weights.find(name, "keras"), (family[0] for family in FAMILIES if name in family)
    first_row = weights.find(first, "keras")
    assert zoo.ROWS[name].fields == {**zoo.ROWS[first].fields, "depths": depths}
    assert (row.fields, row.mean, row.std) == (first_row.fields, first_row.mean, first_row.std)
    assert (row.form, row.conversions) == (first_row.form, first_row.conversions)
    assert row.source.endswith("_kernels.h5")
    assert row.notop.endswith("_kernels_notop.h5")


def test_each_checkpoint_of_keras_is_compared():
    assert {row.model for row in table() if row.tag == "keras"} == set(PREPROCESS)


@pytest.mark.parametrize("name", [*V1, *V2])
def test_the_hashes_are_those_of_keras(name):
    source = importlib.import_module("keras.src.applications.resnet")
    row = weights.find(name, "keras")
    assert (row.hash, row.notop_hash) == tuple(f"md5:{h}" for h in source.WEIGHTS_HASHES[name.lower()])
    assert row.source == f"{source.BASE_WEIGHTS_PATH}{name.lower()}_weights_tf_dim_ordering_tf_kernels.h5"


def test_the_caffe_means_are_those_of_keras():
    grey = keras.applications.resnet.preprocess_input(np.zeros((1, 1, 1, 3), "float32"))
    np.testing.assert_allclose(-grey[0, 0, 0, ::-1], 255 * np.array(MODES["caffe"][0]), rtol=1e-6)
