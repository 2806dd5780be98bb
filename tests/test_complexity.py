"""Multiply-accumulates, activations, feature pyramids and stage tables."""

import keras
import pytest

import keras_resnet as kr
from keras_resnet.stages import stage_table

ONE_BLOCK_PER_STAGE = {"depths": (1, 1, 1, 1)}


def test_macs_of_layers_counted_by_hand():
    x = keras.Input((8, 8, 4))
    y = keras.layers.Conv2D(6, 3, strides=2, padding="same", groups=2)(x)  # 4*4 outputs * 6 filters * 3*3*2 each
    y = keras.layers.BatchNormalization()(y)  # 4*4*6 elements
    y = keras.layers.GlobalAveragePooling2D()(y)
    y = keras.layers.Dense(5)(y)  # 6 * 5
    model = keras.Model(x, y)
    assert kr.macs(model) == 4 * 4 * 6 * 18 + 30
    assert kr.macs(model, batch_norm_macs=2) == kr.macs(model) + 2 * 4 * 4 * 6


def test_macs_count_nested_models_and_gates(cheap_weights):
    inner = kr.SEResNet18(include_top=False, pooling="avg", input_shape=(64, 64, 3), **ONE_BLOCK_PER_STAGE)
    x = keras.Input((64, 64, 3))
    outer = keras.Model(x, keras.layers.Dense(3)(inner(x)))
    assert kr.macs(outer) == kr.macs(inner) + 512 * 3
    reduce = inner.get_layer("conv2_block1_se_reduce")
    assert reduce.kernel.shape == (1, 1, 64, 8)


def test_macs_of_depthwise_convolutions_counted_by_hand():
    x = keras.Input((8, 8, 4))
    y = keras.layers.DepthwiseConv2D(3, depth_multiplier=2, padding="same")(x)  # 8*8*8 outputs, 3*3 each
    assert kr.macs(keras.Model(x, y)) == 8 * 8 * 8 * 9


def test_macs_refuse_a_layer_that_they_cannot_count():
    x = keras.Input((8, 8, 4))
    with pytest.raises(ValueError, match="Received: 'up', a Conv2DTranspose"):
        kr.macs(keras.Model(x, keras.layers.Conv2DTranspose(4, 2, name="up")(x)))


def test_macs_grow_with_the_image():
    options = {"include_top": False, "depths": (1, 1), "filters": (8, 8)}
    small, large = (kr.macs(kr.ResNet18(input_shape=(side, side, 3), **options)) for side in (64, 128))
    assert large == 4 * small


def test_activations_are_the_outputs_of_convolutions_counted_by_hand():
    x = keras.Input((8, 8, 4))
    y = keras.layers.Conv2D(6, 3, strides=2, padding="same")(x)  # 4 * 4 * 6
    y = keras.layers.ReLU()(keras.layers.DepthwiseConv2D(3, padding="same")(y))  # 4 * 4 * 6 again
    inner = keras.Model(x, y)
    y = keras.layers.Dense(5)(keras.layers.Flatten()(inner(x)))
    assert kr.activations(keras.Model(x, y)) == 2 * 4 * 4 * 6


@pytest.mark.slow
def test_activations_are_those_that_timm_publishes(cheap_weights):
    assert round(kr.activations(kr.ResNet18()) / 1e6, 1) == 2.5


def test_macs_need_the_size_of_the_image():
    with pytest.raises(ValueError, match="build it with input_shape"):
        kr.macs(kr.ResNet18(include_top=False, depths=(1,), filters=(8,)))


def test_pyramid_has_the_last_features_of_each_stage(cheap_weights):
    features = kr.pyramid(kr.ResNet50(include_top=False, input_shape=(64, 96, 3), **ONE_BLOCK_PER_STAGE))
    assert {name: x.shape for name, x in features.items()} == {
        "C2": (None, 16, 24, 256),
        "C3": (None, 8, 12, 512),
        "C4": (None, 4, 6, 1024),
        "C5": (None, 2, 3, 2048),
    }


@pytest.mark.slow
def test_pyramid_ends_where_the_head_of_a_preactivation_net_reads():
    model = kr.ResNet50V2(depths=(1, 1, 2, 1), input_shape=(64, 64, 3), filters=(8, 8, 8, 8))
    features = kr.pyramid(model)
    assert features["C5"] is model.get_layer("post_relu").output
    assert features["C4"] is model.get_layer("conv4_block2_out").output


@pytest.mark.slow
def test_pyramid_makes_a_model():
    model = kr.ResNet18(depths=(1, 1, 11, 1), filters=(8, 8, 8, 8), include_top=False, input_shape=(64, 64, 3))
    backbone = keras.Model(model.input, kr.pyramid(model))
    assert backbone.output["C4"].shape == (None, 4, 4, 8)  # its blocks are numbered past 9


def test_pyramid_of_another_model_is_refused():
    x = keras.Input((8,), name="x")
    with pytest.raises(
        ValueError, match="model must have layers that are named like those of a ResNet's blocks.*Received: 'other'"
    ):
        kr.pyramid(keras.Model(x, keras.layers.Dense(2)(x), name="other"))


@pytest.mark.slow
def test_stages_of_resnet50_are_the_papers_table_and_its_activations_timms(cheap_weights):
    model = kr.ResNet50()
    assert round(kr.activations(model) / 1e6, 1) == 11.1
    table = {stage.name: stage for stage in stage_table(model)}
    assert {name: stage.blocks for name, stage in table.items()} == {
        "conv1": 0,
        "conv2_x": 3,
        "conv3_x": 4,
        "conv4_x": 6,
        "conv5_x": 3,
        "head": 0,
    }
    assert table["conv4_x"].output == (14, 14, 1024)
    assert table["head"].parameters == 2048 * 1000 + 1000
    assert table["conv1"].macs == 112 * 112 * 64 * 7 * 7 * 3
