"""Deletion and insertion: right values, probabilities from logits, memory; maps of a trained network are faithful."""

import importlib

import keras
import numpy as np
import pytest

import keras_resnet as kr
from keras_resnet.explain import deletion_and_insertion, faithfulness, heat_maps, occlusion
from tests import needs
from tests.conftest import FASHION

example = importlib.import_module("examples.heat_maps")
SIDE = 4


def bright_or_dark(activation):
    """A model whose first score is the mean of the pixels, divided by 64, and whose second score is its negative."""
    image = keras.Input((SIDE, SIDE, 1))
    dense = keras.layers.Dense(2, activation)
    model = keras.Model(image, dense(keras.layers.GlobalAveragePooling2D()(image)))
    dense.set_weights([np.array([[1 / 64, -1 / 64]]), np.zeros(2)])
    return model


@pytest.fixture
def images():
    return np.random.default_rng(0).integers(0, 256, (5, SIDE, SIDE, 1)).astype("uint8")


def expected_curves(images, maps, classes, steps, probability):
    """The curves, pixel by pixel."""
    curves = np.zeros((2, steps + 1))
    for image, heat, index in zip(images, maps, classes, strict=True):
        order = sorted(np.ndindex(SIDE, SIDE), key=lambda place: -heat[place])
        for step in range(steps + 1):
            covered, shown = image.astype("float64"), np.full(image.shape, np.rint(image.mean()))
            for place in order[: round(step / steps * SIDE**2)]:
                covered[place], shown[place] = np.rint(image.mean()), image[place]
            for curve, pixels in enumerate((covered, shown)):
                curves[curve, step] += probability(pixels.mean() / 64, index) / len(images)
    return curves


def sigmoid(score):
    return 1 / (1 + np.exp(-score))


@pytest.mark.parametrize("batch_size", [1, 2, 64])
@pytest.mark.parametrize(
    ("activation", "probability"),
    [
        (None, lambda score, index: sigmoid(2 * score * (1 - 2 * index))),  # the softmax of two scores
        ("softmax", lambda score, index: sigmoid(2 * score * (1 - 2 * index))),
        ("sigmoid", lambda score, index: sigmoid(score * (1 - 2 * index))),
    ],
)
def test_the_curves_are_means_of_probabilities(activation, probability, batch_size, images):
    maps, classes = np.random.default_rng(1).random(images.shape[:3]), [0, 1, 1, 0, 1]
    found = deletion_and_insertion(bright_or_dark(activation), images, maps, classes, steps=4, batch_size=batch_size)
    expected = expected_curves(images, maps, classes, 4, probability)
    np.testing.assert_allclose([found.deletion, found.insertion], expected, atol=1e-6)


def test_the_type_of_the_pixels_changes_nothing(images):
    model, maps = bright_or_dark("softmax"), np.random.default_rng(1).random(images.shape[:3])
    images[:, 0, 0] += (-images.sum((1, 2)) % 16).astype(
        "uint8"
    )  # now the mean is an integer, unless a pixel overflowed
    images = images[images.mean((1, 2, 3)) % 1 == 0]
    assert len(images) > 1
    expected = deletion_and_insertion(model, images, maps[: len(images)], 1)
    for dtype in ("float16", "float32", "float64", "int64"):
        found = deletion_and_insertion(model, images.astype(dtype), maps[: len(images)].tolist(), 1)
        np.testing.assert_allclose(
            [found.deletion, found.insertion], [expected.deletion, expected.insertion], atol=1e-6
        )


def test_only_one_batch_is_covered_at_a_time(images, monkeypatch):
    seen = []

    def recorded(model, pixels):
        seen.append(pixels.nbytes)
        return np.full((len(pixels), 2), 0.5, "float32")

    monkeypatch.setattr(faithfulness, "outputs_for", recorded)
    deletion_and_insertion(
        bright_or_dark("softmax"), np.repeat(images, 10, 0), np.zeros((50, SIDE, SIDE)), batch_size=4
    )
    assert max(seen) == 4 * SIDE**2
    assert len(seen) == 13 * (1 + 2 * 11)


def test_the_class_with_the_highest_output_is_the_default(images):
    model, maps = bright_or_dark("softmax"), np.zeros(images.shape[:3])
    found, expected = (deletion_and_insertion(model, images, maps, classes) for classes in (None, 0))
    np.testing.assert_array_equal(found.deletion, expected.deletion)


@pytest.fixture(scope="module")
def trained():
    """The network for Fashion-MNIST of this package, test images, and its answers."""
    model = kr.ResNet20(weights="fashion_mnist")
    examples = kr.data.load(f"idx:{FASHION}", "test").examples.take(64)
    images = np.stack([np.asarray(image) for image, _ in examples])
    return model, images, model.predict(images, verbose=0).argmax(-1).tolist()


@pytest.mark.slow
@needs.fashion_mnist
def test_covering_what_a_map_marks_lowers_the_probability_more_than_covering_as_much_elsewhere(trained):
    """examples/heat_maps.py measures this with more images and maps."""
    model, images, classes = trained
    maps = {"gradcam": heat_maps(model, images, classes), "occlusion": occlusion(model, images, classes)}
    found = {name: deletion_and_insertion(model, images, heat, classes, steps=5) for name, heat in maps.items()}
    areas = [example.random_areas(images, seed) for seed in range(2)]
    random = [deletion_and_insertion(model, images, heat, classes, steps=5) for heat in areas]
    assert max(abs(each.difference) for each in random) < 0.05 < min(each.difference for each in found.values())
    assert all(each.insertion_area > 0.03 + max(r.insertion_area for r in random) for each in found.values())
    # Grad-CAM is no better than random areas here, see the example.
    assert found["occlusion"].deletion_area < min(r.deletion_area for r in random) - 0.02


@pytest.mark.slow
@needs.fashion_mnist
@pytest.mark.parametrize("stage", ["head", "conv4"])
def test_a_network_that_lost_what_it_has_learned_has_other_maps(stage, trained):
    """The sanity check of arXiv:1810.03292: the weights of the head or of the last stage are shuffled."""
    model, images, classes = trained
    other = example.shuffled(model, [stage], seed=0)
    before, after, again = (heat_maps(each, images, classes) for each in (model, other, model))
    # A map that is the same everywhere correlates with nothing. After shuffling the head, one of 64 is a map of zeros.
    assert np.ptp(before, (1, 2)).min() > 0
    assert np.mean(np.ptp(after, (1, 2)) > 0) > 0.95
    assert example.rank_correlation(before, after) < 0.4
    np.testing.assert_array_equal(again, before)  # the copy has weights of its own
