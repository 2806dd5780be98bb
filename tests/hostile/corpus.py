"""The table of cases, and the network that their files are of."""

import dataclasses
import functools
import hashlib

import keras
import ml_dtypes
import numpy as np

import keras_resnet as kr
from keras_resnet.weights import Checkpoint
from tests.conftest import randomise

CASES = {}
HARMLESS = set()
RULER, RULED = "ruler", 300 * 2**20  # not a case: bytes that are taken to see that they are measured
CANARY = "canary"  # what the code in some files would make
FIRST, MIDDLE, LAST = "conv1_conv/kernel", "conv3_block1_1_bn/moving_mean", "predictions/bias"


def case(name):
    """Adds what it decorates to the corpus."""

    def add(function):
        assert name not in CASES, name
        CASES[name] = function
        return function

    return add


def harmless(name):
    """Adds a file that is odd, and right: it loads, with the network's very numbers."""

    def add(function):
        HARMLESS.add(name)
        return case(name)(function)

    return add


def network(depths=(1, 1), block=kr.residual_block, filters=(8, 16)):
    """A tiny one; its variables take 22 KB. Its numbers are the same in half precision, of both kinds."""
    model = kr.ResNet(depths, block, filters=filters, stem=kr.stems.cifar, input_shape=(16, 16, 3), classes=10)
    randomise(model, np.random.default_rng(len(depths) + filters[0]))
    for weight in model.weights:
        weight.assign(keras.ops.convert_to_numpy(weight).astype(ml_dtypes.bfloat16).astype("float32"))
    return model


def values(model):
    """The numbers of a network by `layer/variable`, to be changed at will."""
    return {name: array.copy() for name, array in _values(model).items()}


@functools.cache
def _values(model):
    variables = {f"{layer.name}/{variable.name}": variable for layer in model.layers for variable in layer.weights}
    return {name: keras.ops.convert_to_numpy(variable) for name, variable in variables.items()}


def under_its_hash(path):
    """The file at a path as it is now, as a row of the table would have it."""
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return dataclasses.replace(Checkpoint("", path.name, str(path)), hash=f"sha256:{digest}")
