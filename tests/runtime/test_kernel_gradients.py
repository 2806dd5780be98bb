"""Kernel gradients as matrix products: they equal those of TensorFlow, and are used for the right convolutions."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_resnet as kr
from keras_resnet.runtime.kernel_gradients import gradients_by_matmul
from keras_resnet.runtime.precision import compute_precision
from tests.conftest import quick_among, randomise

KERNELS = {
    "1x1": (1, {}),
    "1x1, strided, with a bias and an activation": (1, {"strides": 2, "activation": "relu"}),
    "1x1, padded": (1, {"strides": 3, "padding": "same", "use_bias": False}),
    "3x3": (3, {"padding": "same", "use_bias": False}),
    "3x3, strided, with a bias and an activation": (3, {"strides": 2, "activation": "relu"}),
    "of even and odd sides": ((2, 5), {"padding": "same"}),
    "larger strides": ((3, 2), {"strides": 3}),
}


def convolution(kernel_size, options, rng, filters=5):
    layer = keras.layers.Conv2D(filters, kernel_size, **options, dtype="mixed_bfloat16")
    model = keras.Sequential([keras.Input((None, None, 8)), layer])
    randomise(model, rng)
    return layer, model


@pytest.mark.parametrize("name", quick_among(KERNELS, "1x1", "3x3"))
def test_gradients_of_kernels_are_tensorflows(name, rng, monkeypatch):
    monkeypatch.setattr("keras_resnet.runtime.kernel_gradients.LEAST", 1)
    layer, model = convolution(*KERNELS[name], rng)
    x = tf.constant(rng.normal(size=(2, 7, 6, 8)), tf.float32)

    def gradients():
        @tf.function(input_signature=[tf.TensorSpec((None, None, None, 8))])  # all sizes are unknown
        def traced(x):
            with tf.GradientTape() as tape:
                tape.watch(x)
                loss = tf.reduce_sum(tf.cast(model(x), tf.float32) ** 2)
            return tape.gradient(loss, [x, *(w.value for w in layer.trainable_weights)])

        return traced(x)

    expected = gradients()
    with gradients_by_matmul(model):
        assert "call" in vars(layer)
        results = gradients()
    for result, value in zip(results, expected, strict=True):
        # Both are sums in bfloat16. They are rounded in different orders, which also depend on the machine.
        assert np.linalg.norm(np.subtract(result, value)) <= 0.03 * np.linalg.norm(value)


@pytest.mark.parametrize(
    ("size", "options"), [(3, {"padding": "same", "strides": 2}), (3, {"dilation_rate": 2}), (1, {"groups": 2})]
)
def test_gradients_of_other_convolutions_stay_tensorflows_own(size, options, rng, monkeypatch):
    monkeypatch.setattr("keras_resnet.runtime.kernel_gradients.LEAST", 1)
    layer, model = convolution(size, options, rng, filters=6)
    with gradients_by_matmul(model):
        assert "call" not in vars(layer)


@pytest.mark.slow
def test_only_kernels_of_many_channels_and_those_of_1x1_are_products(cheap_weights):
    model = kr.ResNet18(input_shape=(32, 32, 3))
    with compute_precision(model, "bfloat16"), gradients_by_matmul(model):
        replaced = {layer.name for layer in model.layers if "call" in vars(layer)}
    assert {"conv3_block1_0_conv", "conv4_block1_1_conv", "conv5_block2_2_conv"} <= replaced
    assert not replaced & {"conv1_conv", "conv2_block1_1_conv", "conv3_block2_1_conv"}
