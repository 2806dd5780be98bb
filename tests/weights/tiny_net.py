"""A tiny network, for tests of files of others."""

import functools

import numpy as np

import keras_resnet as kr
from tests.conftest import randomise

tiny = functools.partial(
    kr.ResNet, (1, 1), kr.bottleneck_block, filters=(8, 16), stem=kr.stems.cifar, input_shape=(16, 16, 3), classes=10
)


def random_net():
    """The network with random values, the same in each call."""
    model = tiny()
    randomise(model, np.random.default_rng(0))
    return model
