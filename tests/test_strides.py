"""Which blocks of a network have strides, before it is built, and the feature pyramid of the built network."""

import functools

import pytest

import keras_resnet as kr
from keras_resnet.strides import BlockStride, in_first_block, in_last_block
from tests.conftest import quick_among


def strides_of(plan):
    return [[step.stride for step in stage] for stage in plan]


def test_the_first_block_of_each_later_stage_strides():
    assert strides_of(in_first_block((2, 3, 1), 4, None)) == [[1, 1], [2, 1, 1], [2]]


def test_the_last_block_of_each_earlier_stage_strides():
    assert strides_of(in_last_block((2, 3, 1), 4, None)) == [[1, 2], [1, 1, 2], [1]]


@pytest.mark.parametrize("strides", [in_first_block, in_last_block])
def test_beyond_the_output_stride_blocks_dilate(strides):
    plan = strides((1, 2, 2, 2), 4, 8)
    steps = [step for stage in plan for step in stage]
    assert [step.stride for step in steps].count(2) == 1
    assert steps[-1] == BlockStride(1, 4, 4)
    # In a block whose stride was replaced, the convolution that had it keeps the dilation of the block before.
    assert BlockStride(1, 2, 1) in steps
    assert BlockStride(1, 4, 2) in steps


@pytest.mark.parametrize("strides", [in_first_block, in_last_block])
@pytest.mark.parametrize("stride_in", quick_among(("1x1", "3x3"), "3x3"))
def test_the_pyramid_has_the_last_features_at_each_stride(strides, stride_in):
    block = functools.partial(kr.bottleneck_block, stride_in=stride_in)
    model = kr.ResNet((2, 2, 2), block, filters=(4, 4, 4), strides=strides, input_shape=(64, 64, 3))
    sides = {name: features.shape[1] for name, features in kr.pyramid(model).items()}
    assert sides == {"C2": 16, "C3": 8, "C4": 4}


@pytest.mark.slow
def test_a_bottleneck_strides_in_its_first_or_its_second_convolution():
    model = kr.ResNet(
        (1, 1), functools.partial(kr.bottleneck_block, stride_in="1x1"), filters=(4, 8), input_shape=(64, 64, 3)
    )
    names = {
        layer.name: layer.strides for layer in model.layers if "conv3_block1" in layer.name and "_conv" in layer.name
    }
    assert names == {
        "conv3_block1_0_conv": (2, 2),
        "conv3_block1_1_conv": (2, 2),
        "conv3_block1_2_conv": (1, 1),
        "conv3_block1_3_conv": (1, 1),
    }
    with pytest.raises(ValueError, match="stride_in must be one of '1x1', '3x3'. Received: stride_in='5x5'"):
        kr.ResNet(
            (1, 1), functools.partial(kr.bottleneck_block, stride_in="5x5"), filters=(4, 8), input_shape=(64, 64, 3)
        )
