"""Drawn boxes are where the detections are, in the color of their class, and labels do not cover each other."""

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from PIL import Image

from keras_resnet.detection import Found, draw
from keras_resnet.plots import boxes as plotted
from keras_resnet.plots.boxes import COLORS, LabeledBox, Tile, plot_boxes


def found(*rows):
    boxes, classes, scores = zip(*rows, strict=True) if rows else ((), (), ())
    return Found(np.array(boxes, float).reshape(-1, 4), np.array(classes, int), np.array(scores, float))


def color(number):
    return np.rint(255 * np.array(to_rgb(COLORS[number]))).astype("uint8")


def test_a_box_is_where_it_was_found_in_the_color_of_its_class():
    image = np.full((400, 600, 3), 255, "uint8")
    drawn = draw(image, found(((100, 150, 300, 350), 2, 0.9)), ["a", "b", "c"])
    assert drawn.shape == image.shape
    assert drawn.dtype == np.uint8
    for x, y in ((100, 250), (300, 250), (200, 150), (200, 349)):
        assert (drawn[y, x] == color(2)).all() or (drawn[y - 1, x - 1] == color(2)).all()
    changed = np.argwhere((drawn != 255).any(-1))
    assert changed[:, 1].min() >= 97
    assert changed[:, 1].max() <= 302
    assert changed[:, 0].max() <= 352
    assert (drawn[200:300, 150:250] == 255).all()


@pytest.mark.parametrize(("height", "width", "channels"), [(33, 47, 3), (500, 480, 1), (1, 700, 3), (101, 1003, 3)])
def test_what_is_outside_of_boxes_stays_and_small_images_are_enlarged(height, width, channels, rng):
    image = rng.integers(0, 256, (height, width, channels), "uint8")
    drawn = draw(image, found(), [])
    factor = -(-480 // max(height, width))
    assert drawn.shape == (height * factor, width * factor, 3)
    np.testing.assert_array_equal(drawn[::factor, ::factor], np.broadcast_to(image, (height, width, 3)))


def test_labels_do_not_cover_each_other(monkeypatch, rng):
    places = []
    label = plotted._label

    def watched(axes, box, sides, font, pixels, taken):
        label(axes, box, sides, font, pixels, taken)
        places[:] = taken

    monkeypatch.setattr(plotted, "_label", watched)
    corners = rng.uniform(50, 250, (30, 2))
    rows = [((*corner, *corner + 60), number % 3, 0.5) for number, corner in enumerate(corners)]
    draw(np.zeros((400, 500, 3), "uint8"), found(*rows), ["a", "b", "c"])
    assert len(places) > 25
    for number, place in enumerate(places):
        assert (place >= 0).all()
        assert (place <= (500, 400, 500, 400)).all()
        for other in places[:number]:
            assert place[2] <= other[0] or other[2] <= place[0] or place[3] <= other[1] or other[3] <= place[1]


def test_the_most_certain_box_keeps_its_label_where_there_is_no_place_for_both():
    image = np.zeros((12, 480, 3), "uint8")
    for order in ((0.9, 0.8), (0.8, 0.9)):
        both = draw(image, found(*(((0, 0, 40, 12), number, score) for number, score in enumerate(order))), ["a", "b"])
        assert (both[4, 1] == color(int(np.argmax(order)))).all()


def test_any_box_and_any_name_is_drawn():
    rows = ((-50, -50, 900, 900), 0, 0.5), ((5, 5, 5, 5), 0, 1.0), ((30, 30, 30.5, 50), 0, 0.0)
    assert draw(np.zeros((60, 60, 3), "uint8"), found(*rows), ["a $x^ \u732b\n" * 9]).shape == (480, 480, 3)


def test_bad_input_is_named():
    image = np.zeros((8, 8, 3), "uint8")
    with pytest.raises(TypeError, match="image must be uint8. Received: an array of float64"):
        draw(image / 2, found(), [])
    with pytest.raises(ValueError, match=r"image must be \(H, W, 1\) or \(H, W, 3\). .* \(8, 8\)"):
        draw(image[..., 0], found(), [])
    with pytest.raises(ValueError, match="classes must have a name .* Received: 1 names, and the class 1"):
        draw(image, found(((0, 0, 1, 1), 1, 0.5)), ["a"])


def test_a_sheet_has_a_line_for_two_images(tmp_path):
    box = LabeledBox((5, 5, 20, 20), "a", COLORS[0])
    heights = []
    for count in (1, 2, 3):
        tiles = [Tile(np.zeros((30, 60, 1), "uint8"), "title", [box])] * count
        plot_boxes(tiles, [box], tmp_path / "sheet.png")
        with Image.open(tmp_path / "sheet.png") as sheet:
            heights.append(sheet.size[1])
    assert heights[0] == heights[1] < heights[2]
