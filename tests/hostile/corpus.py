"""The table of cases, and the network whose weights the files contain."""

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
# Not a case: an allocation that shows that the measurement of memory works.
MEMORY_CHECK, MEMORY_CHECK_BYTES = "memory check", 300 * 2**20
CANARY = "canary"  # the file that malicious code in some files would create
FIRST, MIDDLE, LAST = "conv1_conv/kernel", "conv3_block1_1_bn/moving_mean", "predictions/bias"


def case(name):
    """A decorator that adds a function to the corpus."""

    def add(function):
        assert name not in CASES, name
        CASES[name] = function
        return function

    return add


def harmless(name):
    """A decorator for unusual but valid files. They must load, with exactly the weights of the network."""

    def add(function):
        HARMLESS.add(name)
        return case(name)(function)

    return add


def network(depths=(1, 1), block=kr.residual_block, filters=(8, 16)):
    """A tiny network with 22 KB of variables. float16 and bfloat16 represent its weights exactly."""
    model = kr.ResNet(depths, block, filters=filters, stem=kr.stems.cifar, input_shape=(16, 16, 3), classes=10)
    randomise(model, np.random.default_rng(len(depths) + filters[0]))
    for weight in model.weights:
        weight.assign(keras.ops.convert_to_numpy(weight).astype(ml_dtypes.bfloat16).astype("float32"))
    return model


def values(model):
    """Copies of the weights of a network, by `layer/variable`."""
    return {name: array.copy() for name, array in _values(model).items()}


@functools.cache
def _values(model):
    variables = {f"{layer.name}/{variable.name}": variable for layer in model.layers for variable in layer.weights}
    return {name: keras.ops.convert_to_numpy(variable) for name, variable in variables.items()}


def under_its_hash(path):
    """A checkpoint with the current hash of a file, as in a row of the table of weights."""
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return dataclasses.replace(Checkpoint("", path.name, str(path)), hash=f"sha256:{digest}")
