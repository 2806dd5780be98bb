"""The grid of augmented images, and the titles for mixed labels."""

import numpy as np
import pytest
import tensorflow as tf

import keras_resnet as kr
from keras_resnet.data.preview import label_titles, plot_images
from tests.conftest import quick_among

CLASSES = ("cat", "dog", "owl", "crane")


def test_labels_are_named():
    assert label_titles(np.array([2, 0]), CLASSES) == ["owl", "cat"]
    assert label_titles(np.eye(4)[[3, 1]], CLASSES) == ["crane", "dog"]


def test_mixed_labels_are_named_by_their_shares():
    assert label_titles(np.array([[0.68, 0.32, 0, 0], [0, 0.5, 0, 0.5]]), CLASSES) == [
        "cat 0.7 / dog 0.3",
        "dog 0.5 / crane 0.5",
    ]
    assert label_titles(np.array([[0.3, 0.7]]), CLASSES[:2]) == ["dog 0.7 / cat 0.3"]


def test_what_smoothing_gives_to_all_is_not_named():
    mixed = np.array([[0.7, 0.3, 0, 0], [0, 0, 1, 0]], "float32")
    smoothed = kr.data.augment.label_smoothing(mixed, 0.4).numpy()
    assert label_titles(smoothed, CLASSES) == ["cat 0.5 / dog 0.3", "owl"]


def test_labels_of_other_shapes_are_refused():
    with pytest.raises(ValueError, match=r"labels must be integers \(N,\) or targets \(N, 4\). Received: float64 of"):
        label_titles(np.zeros((2, 5)), CLASSES)


@pytest.mark.parametrize("count", quick_among((1, 5, 16), 5))
def test_a_picture_shows_every_image_below_its_title(tmp_path, count):
    images = np.full((count, 24, 32, 3), (255, 0, 0), "uint8")
    plot_images(images, ["a name that is long enough 0.7 / for two lines 0.3"] * count, tmp_path / "grid.png")
    picture = tf.io.decode_png((tmp_path / "grid.png").read_bytes(), channels=3).numpy()
    red = (picture == (255, 0, 0)).all(-1)
    columns = int(np.ceil(np.sqrt(count)))
    starts = np.sum(np.diff(red.astype(int), axis=1) == 1, axis=1)
    assert starts.max() == columns
    assert np.sum(np.diff(red[:, red.any(0).argmax() + 5].astype(int)) == 1) == -(-count // columns)
    assert red.mean() > (0.6 * count / (columns * -(-count // columns)))
    dark = (picture < 100).all(-1)
    assert dark[: red.any(1).argmax()].sum() > 0  # a title


def test_images_of_one_channel_are_grey(tmp_path):
    images, labels = next(iter(kr.data.pipeline(kr.data.load("digits", "test"), 8, 4)))
    plot_images(images.numpy(), label_titles(labels.numpy(), tuple("0123456789")), tmp_path / "grid.png")
    picture = tf.io.decode_png((tmp_path / "grid.png").read_bytes(), channels=3).numpy()
    assert (picture == picture[..., :1]).all()
    assert len(np.unique(picture)) > 20


@pytest.mark.parametrize(
    ("images", "titles", "message"),
    [
        (np.zeros((2, 8, 8, 4), "uint8"), ["a", "b"], r"C 1 or 3. Received: uint8 images of shape \(2, 8, 8, 4\)"),
        (np.zeros((2, 8, 8, 3), "float32"), ["a", "b"], "images must be uint8 .* Received: float32"),
        (np.zeros((0, 8, 8, 3), "uint8"), [], "with N at least 1"),
        (np.zeros((2, 8, 8, 3), "uint8"), ["a"], "titles must have 2 entries, one for each image. Received: 1"),
    ],
)
def test_what_makes_no_picture_is_refused(tmp_path, images, titles, message):
    with pytest.raises(ValueError, match=message):
        plot_images(images, titles, tmp_path / "grid.png")
