"""The map of a data set and its neighbors are drawn for any number of classes, and nothing is cut off."""

import numpy as np
import pytest
from PIL import Image

from keras_resnet.plots.map import COLORS, MOST_LISTED, SHAPES, plot_map
from keras_resnet.plots.neighbors import Picture, plot_neighbors
from keras_resnet.plots.style import BLUE, RED, save, shortened
from tests.conftest import quick_among

LONG = "a $class$ with a very long name, number {}"


def assert_nothing_is_cut_off(path):
    with Image.open(path) as picture:
        pixels = np.asarray(picture.convert("L"))
    assert max(pixels.shape) < 4000
    assert pixels.min() < 100
    assert pixels[0].min() == pixels[-1].min() == pixels[:, 0].min() == pixels[:, -1].min() == 255


def colors_of(path):
    with Image.open(path) as picture:
        return {tuple(pixel) for pixel in np.asarray(picture.convert("RGB")).reshape(-1, 3).tolist()}


@pytest.fixture
def maps(monkeypatch):
    """The figures that `plot_map` has written to files."""
    written = []

    def kept(figure, path):
        written.append(figure)
        save(figure, path)

    monkeypatch.setattr("keras_resnet.plots.map.save", kept)
    return written


def looks(points):
    """Color and shape of points, or of their mark in a legend, as something to compare."""
    return points.get_facecolor().tobytes(), points.get_paths()[0].vertices.tobytes()


@pytest.mark.parametrize("classes", quick_among([0, 1, 2, 10, MOST_LISTED, MOST_LISTED + 1, 100], 2))
def test_a_map_is_drawn_for_any_number_of_classes(classes, maps, tmp_path):
    rng = np.random.default_rng(0)
    labels = rng.integers(0, classes, 300) if classes else np.full(300, -1)
    places = rng.normal(size=(300, 2)) + 5 * np.stack([labels % 9, labels // 9], 1)
    plot_map(places, labels, [LONG.format(number) for number in range(classes)], "t-SNE", tmp_path / "map.png")
    assert_nothing_is_cut_off(tmp_path / "map.png")
    (figure,) = maps
    (axes,) = figure.axes
    present = np.unique(labels).tolist()
    for label, points in zip(present, axes.collections, strict=True):
        np.testing.assert_allclose(points.get_offsets(), places[labels == label])
    seen = [looks(points) for points in axes.collections]
    assert len(set(seen)) == min(len(present), len(COLORS) * len(SHAPES))
    names = [shortened(LONG.format(label)) for label in present if label >= 0]
    if len(present) > MOST_LISTED:
        assert not figure.legends
        written = [text.get_text() for text in axes.texts]
        assert len(written) == len(set(written) & set(names)) > len(names) / 2
        left_out = len(names) - len(written)
        assert not left_out or f"; {left_out} names" in axes.get_title()
    elif names:
        (legend,) = figure.legends
        assert [text.get_text() for text in legend.get_texts()] == names
        assert [looks(mark) for mark in legend.legend_handles] == seen
    else:
        assert not figure.legends


def test_names_are_written_as_they_are(maps, tmp_path):
    names = ("_ $\\frac$", "犬", "कुत्ता")
    for classes in (names, [f"{names[number % 3]}{number}" for number in range(MOST_LISTED + 1)]):
        labels = np.arange(30) % len(classes)
        plot_map(np.random.default_rng(0).normal(size=(30, 2)), labels, classes, "t-SNE", tmp_path / "map.png")
        assert_nothing_is_cut_off(tmp_path / "map.png")
    listed, many = maps
    texts = listed.legends[0].get_texts()
    assert [text.get_text() for text in texts] == list(names)
    assert {text.get_text() for text in many.axes[0].texts} <= set(classes)
    assert many.axes[0].texts
    assert not any(text.get_parse_math() for text in (*texts, *many.axes[0].texts))


@pytest.mark.slow
def test_neighbors_of_another_class_are_marked(tmp_path):
    image = np.full((8, 8, 1), 99, "uint8")

    def drawn(*agree):
        near = [Picture(image, LONG.format(number), 0.9, agrees) for number, agrees in enumerate(agree)]
        plot_neighbors([[Picture(image, LONG), *near]], "Left: images", tmp_path / "neighbors.png")
        assert_nothing_is_cut_off(tmp_path / "neighbors.png")
        return [tuple(bytes.fromhex(color[1:])) in colors_of(tmp_path / "neighbors.png") for color in (BLUE, RED)]

    assert drawn(True, False) == [True, True]
    assert drawn(None, None) == [False, False]
