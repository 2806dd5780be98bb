"""The map of a data set and its neighbors are drawn for any number of classes, and nothing is cut off."""

import numpy as np
import pytest
from PIL import Image

from keras_resnet.plots.map import MOST_LISTED, plot_map
from keras_resnet.plots.neighbors import Picture, plot_neighbors
from keras_resnet.plots.style import BLUE, RED
from tests.conftest import quick_among

LONG = "a $class$ with a very long name, number {}"


def assert_nothing_is_cut_off(path):
    with Image.open(path) as picture:
        pixels = np.asarray(picture.convert("L"))
    assert max(pixels.shape) < 4000
    assert pixels[0].min() == pixels[-1].min() == pixels[:, 0].min() == pixels[:, -1].min() == 255


def colors_of(path):
    with Image.open(path) as picture:
        return {tuple(pixel) for pixel in np.asarray(picture.convert("RGB")).reshape(-1, 3).tolist()}


@pytest.mark.parametrize("classes", quick_among([0, 1, 2, 10, MOST_LISTED, MOST_LISTED + 1, 100], 2))
def test_a_map_is_drawn_for_any_number_of_classes(classes, tmp_path):
    rng = np.random.default_rng(0)
    labels = rng.integers(0, classes, 300) if classes else np.full(300, -1)
    places = rng.normal(size=(300, 2)) + 5 * np.stack([labels % 9, labels // 9], 1)
    plot_map(places, labels, [LONG.format(number) for number in range(classes)], "t-SNE", tmp_path / "map.png")
    assert_nothing_is_cut_off(tmp_path / "map.png")


def test_names_are_written_as_they_are(tmp_path):
    names = ("_ $\\frac$", "犬", "कुत्ता")
    for classes in (names, [f"{names[number % 3]}{number}" for number in range(MOST_LISTED + 1)]):
        labels = np.arange(30) % len(classes)
        plot_map(np.random.default_rng(0).normal(size=(30, 2)), labels, classes, "t-SNE", tmp_path / "map.png")
        assert_nothing_is_cut_off(tmp_path / "map.png")


def test_neighbors_of_another_class_are_marked(tmp_path):
    image = np.full((8, 8, 1), 99, "uint8")

    def drawn(*agree):
        near = [Picture(image, LONG.format(number), 0.9, agrees) for number, agrees in enumerate(agree)]
        plot_neighbors([[Picture(image, LONG), *near]], "Left: images", tmp_path / "neighbors.png")
        assert_nothing_is_cut_off(tmp_path / "neighbors.png")
        return [tuple(bytes.fromhex(color[1:])) in colors_of(tmp_path / "neighbors.png") for color in (BLUE, RED)]

    assert drawn(True, False) == [True, True]
    assert drawn(None, None) == [False, False]
