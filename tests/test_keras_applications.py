"""keras.applications: what its weights say in its networks they say in ours, through files like the official ones."""

import dataclasses

import h5py
import keras
import numpy as np
import pytest

import keras_resnet as kr
from keras_resnet import weights
from keras_resnet.weights.table import MODES, table
from tests.conftest import photographs, randomise_evenly

V1, V2 = ("ResNet50", "ResNet101", "ResNet152"), ("ResNet50V2", "ResNet101V2", "ResNet152V2")
NEXT = {"ResNeXt50_32x4d": (3, 4, 6, 3), "ResNeXt101_32x4d": (3, 4, 23, 3)}
PREPROCESS = {
    **dict.fromkeys(V1, keras.applications.resnet.preprocess_input),
    **dict.fromkeys(V2, keras.applications.resnet_v2.preprocess_input),
    **dict.fromkeys(NEXT, lambda images: keras.applications.imagenet_utils.preprocess_input(images, mode="torch")),
}


def resnext(depths, include_top):
    """keras-applications 1.0.8's ResNeXt, which Keras 3 no longer has: depthwise, then summed over each group."""
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

    image = keras.Input((224, 224, 3))
    x = layers.Conv2D(64, 7, 2, use_bias=False, name="conv1_conv")(layers.ZeroPadding2D(3)(image))
    x = layers.MaxPooling2D(3, 2)(layers.ZeroPadding2D(1)(norm(x, "conv1", "relu")))
    for stage, depth in enumerate(depths):
        for b in range(depth):
            stride = 2 if stage and b == 0 else 1
            x = block(x, 128 * 2**stage, stride, b == 0, f"conv{stage + 2}_block{b + 1}")
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(image, layers.Dense(1000, name="predictions")(x) if include_top else x)


def original(name, include_top):
    if name in NEXT:
        return resnext(NEXT[name], include_top)
    return getattr(keras.applications, name)(
        weights=None,
        include_top=include_top,
        input_shape=(224, 224, 3),
        pooling=None if include_top else "avg",
        classifier_activation=None,
    )


def write_as_keras_2(model, path):
    """A weights file as Keras 2 wrote it, and as the official downloads are.

    Those were written by keras-applications, which calls the head `probs`; Keras never notices, as it goes by position.
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


@pytest.mark.parametrize("include_top", [True, False], ids=["top", "notop"])
@pytest.mark.parametrize("name", [*V1, *V2, *NEXT])
def test_the_numbers_are_those_of_keras_applications(name, include_top, tmp_path, rng):
    theirs = original(name, include_top)
    randomise_evenly(theirs, rng)
    write_as_keras_2(theirs, tmp_path / "top.h5" if include_top else tmp_path / "notop.h5")

    row = weights.find(name, "keras")
    assert row.source.endswith("_kernels.h5")
    assert row.notop.endswith("_kernels_notop.h5")
    row = dataclasses.replace(
        row, source=str(tmp_path / "top.h5"), notop=str(tmp_path / "notop.h5"), hash="", notop_hash=""
    )
    ours = getattr(kr, name)(weights=row, include_top=include_top, pooling="avg", classifier_activation=None)

    images = np.concatenate([rng.integers(0, 256, (2, 224, 224, 3)).astype("uint8"), photographs(2, 224)])
    wanted = theirs.predict(PREPROCESS[name](images.astype("float32")), verbose=0)
    got = ours.predict(images, verbose=0)
    assert np.abs(got - wanted).max() <= 1e-4 * np.abs(wanted).max()
    # ... and the answer depends on the image, so the comparison means something.
    assert np.ptp(wanted, axis=0).max() > 1e-2 * np.abs(wanted).max()


def test_each_checkpoint_of_keras_is_compared():
    assert {row.model for row in table() if row.tag == "keras"} == set(PREPROCESS)


@pytest.mark.parametrize("name", [*V1, *V2])
def test_the_hashes_are_those_of_keras(name):
    source = pytest.importorskip("keras.src.applications.resnet")
    row = weights.find(name, "keras")
    assert (row.hash, row.notop_hash) == tuple(f"md5:{h}" for h in source.WEIGHTS_HASHES[name.lower()])
    assert row.source == f"{source.BASE_WEIGHTS_PATH}{name.lower()}_weights_tf_dim_ordering_tf_kernels.h5"


@pytest.mark.parametrize("name", ["ResNet50", "ResNet50V2"])
def test_every_layer_says_what_it_says_in_keras_applications(name, tmp_path, rng):
    """Not only the end: who reads features in the middle gets the same."""
    theirs = original(name, include_top=False)
    randomise_evenly(theirs, rng)
    write_as_keras_2(theirs, tmp_path / "notop.h5")
    row = dataclasses.replace(weights.find(name, "keras"), notop=str(tmp_path / "notop.h5"), notop_hash="")
    ours = getattr(kr, name)(weights=row, include_top=False, input_shape=(224, 224, 3))
    common = [layer.name for layer in theirs.layers if layer.name.endswith("_out")]
    images = rng.integers(0, 256, (1, 224, 224, 3)).astype("uint8")
    read = [
        keras.Model(model.input, [model.get_layer(layer).output for layer in common]).predict(pixels, verbose=0)
        for model, pixels in ((theirs, PREPROCESS[name](images.astype("float32"))), (ours, images))
    ]
    for wanted, got in zip(*read):
        assert np.abs(got - wanted).max() <= 1e-4 * np.abs(wanted).max()


def test_the_caffe_means_are_those_of_keras():
    grey = keras.applications.resnet.preprocess_input(np.zeros((1, 1, 1, 3), "float32"))
    np.testing.assert_allclose(-grey[0, 0, 0, ::-1], 255 * np.array(MODES["caffe"][0]), rtol=1e-6)
