"""Occlusion maps and pictures of filters: right values and errors."""

import keras
import numpy as np
import pytest

import keras_resnet as kr
from keras_resnet.explain import filters, occlusion


@pytest.fixture(scope="module")
def brightness():
    """A model whose first output is the mean of the pixels."""
    inputs = keras.Input((8, 8, 1))
    model = keras.Model(inputs, keras.layers.Dense(2)(keras.layers.GlobalAveragePooling2D()(inputs)))
    model.set_weights([np.array([[1.0, -1.0]]), np.zeros(2)])
    return model


@pytest.fixture(scope="module")
def image():
    pixels = np.zeros((1, 8, 8, 1), "float32")
    pixels[:, :2, :2] = 64
    return pixels


def test_covering_the_bright_square_lowers_the_output_by_what_it_takes_away(brightness, image):
    """The mean color is 4: over the square of 4 pixels the sum falls by 4 x 60, elsewhere it rises by 4 x 4."""
    found = occlusion(brightness, image, 0, patch=2, stride=2)
    expected = np.full((1, 8, 8), -16 / 64, "float32")
    expected[:, :2, :2] = 240 / 64
    np.testing.assert_allclose(found, expected, atol=1e-6)
    np.testing.assert_allclose(occlusion(brightness, image, 1, patch=2, stride=2), -expected, atol=1e-6)


def test_the_class_with_the_highest_output_is_the_default(brightness, image):
    np.testing.assert_array_equal(occlusion(brightness, image), occlusion(brightness, image, 0))


@pytest.mark.parametrize(("patch", "stride"), [(3, 2), (8, 8), (5, 1), (1, 1)])
def test_every_pixel_is_covered(brightness, image, patch, stride):
    assert np.isfinite(occlusion(brightness, image, 0, patch=patch, stride=stride)).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"patch": 9}, "patch must be at most 8, the shorter side of the images. Received: patch=9"),
        (
            {"patch": 2, "stride": 3},
            "stride must be at most the patch, 2, or pixels are not covered. Received: stride=3",
        ),
        ({"patch": 0}, "patch must be an integer of at least 1"),
    ],
)
def test_squares_that_cannot_be_are_refused(options, message, brightness, image):
    with pytest.raises(ValueError, match=message):
        occlusion(brightness, image, **options)


def test_filters_are_scaled_each_by_itself_around_grey():
    model = kr.ResNet20(input_shape=(8, 8, 3))
    kernel = np.zeros((3, 3, 3, 16), "float32")
    kernel[0, 1, 2, 0], kernel[1, 1, 0, 0], kernel[2, 2, 1, 1] = -4, 2, 0.1
    model.get_layer("conv1_conv").set_weights([kernel])
    found = filters(model)
    assert found.shape == (16, 3, 3, 3)
    assert (found[0, 0, 1, 2], found[0, 1, 1, 0], found[1, 2, 2, 1]) == pytest.approx((0, 0.75, 1))
    assert (found[2:] == 0.5).all()


def test_a_model_without_a_convolution_has_no_filters(brightness):
    with pytest.raises(ValueError, match="model must have a Conv2D layer"):
        filters(brightness)
