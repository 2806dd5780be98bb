"""`embed`: features of labelled and unlabelled images as files, and what they show."""

import csv

import keras
import numpy as np
import pytest

from tests import needs
from tests.cli.test_cli import invoke
from tests.data.test_sources import write_png


@pytest.fixture(scope="module")
def net(tmp_path_factory):
    """A file with a network of two features, the brightness and the rest to white, and three classes."""
    image = keras.Input((8, 8, 3))
    mean = keras.layers.GlobalAveragePooling2D()(image)
    features = keras.layers.Rescaling([1, 1, -1], [0, 0, 255])(mean)
    path = tmp_path_factory.mktemp("net") / "net.keras"
    keras.Model(image, keras.layers.Dense(3, "softmax")(features)).save(path)
    return path


@pytest.fixture
def photos(tmp_path):
    """Bright and dark images in two class folders; one image is in both splits, one is in the wrong folder."""
    for split, count in (("train", 12), ("test", 3)):
        for number in range(count):
            write_png(tmp_path / "photos" / split / "bright" / f"{number}.png", (8, 8, 3), 250 - 3 * number)
            write_png(tmp_path / "photos" / split / "dark" / f"{number}.png", (8, 8, 3), 3 * number + (split == "test"))
    write_png(tmp_path / "photos" / "train" / "dark" / "wrong.png", (8, 8, 3), 215)
    return tmp_path / "photos"


def embed(net, data, *options):
    return invoke("embed", data, "--model", net, *options)


@pytest.mark.slow
def test_features_of_all_splits_are_written_and_examined(net, photos, tmp_path):
    needs.import_package("cleanlab")
    result = embed(net, f"folder:{photos}", "--out", tmp_path / "e.npz", "--report", tmp_path / "report")
    assert result.exit_code == 0, result.exception
    file, *lines = result.stdout.splitlines()
    assert file == str(tmp_path / "e.npz")
    assert lines[0] == "31 images (25 train, 6 test), 3 features of each"
    assert lines[1].startswith("k-NN accuracy 100.00% (20 nearest train images of each test image")
    assert lines[2] == "linear-probe accuracy 100.00% (trained on train, measured on test)"
    assert lines[4] == "likely label errors: 1"
    assert lines[5:] == [str(tmp_path / "report")]
    with np.load(tmp_path / "e.npz", allow_pickle=False) as file:
        assert file["values"].shape == (31, 3)
        assert set(file["splits"]) == {"train", "test"}
    with (tmp_path / "report" / "label_errors.csv").open() as file:
        assert [row["image"] for row in csv.DictReader(file)] == [str(photos / "train" / "dark" / "wrong.png")]
    with (tmp_path / "report" / "duplicates.csv").open() as file:
        same = [row for row in csv.DictReader(file) if float(row["pixel difference"]) == 0]
    assert [(row["split"], row["other split"]) for row in same] == [("train", "test")] * 3
    again = embed(net, f"folder:{photos}", "--report", tmp_path / "report")
    assert "report must be a new or empty directory" in str(again.exception)


@pytest.mark.slow
def test_images_need_no_classes(net, photos, tmp_path):
    result = embed(net, photos / "train" / "dark", "--report", tmp_path / "report", "--out", tmp_path / "e.npz")
    assert result.exit_code == 0, result.exception
    assert result.stdout.splitlines()[:2] == [str(tmp_path / "e.npz"), "13 images (13 all), 3 features of each"]
    assert "note: the images have no classes, so there are no accuracies and no label errors" in result.stdout
    names = {path.name for path in (tmp_path / "report").iterdir()}
    assert names == {"metrics.json", "duplicates.csv", "neighbors.png", "map.png"}
    with np.load(tmp_path / "e.npz") as file:
        assert file["labels"].tolist() == [-1] * 13
        assert file["classes"].size == 0


@pytest.mark.slow
def test_one_split_is_enough_and_files_that_cannot_be_read_are_left_out(net, photos):
    (photos / "train" / "dark" / "5.png").write_bytes(b"no image")
    result = embed(net, f"folder:{photos}", "--split", "train", "--on-corrupt", "skip")
    lines = result.stdout.splitlines()
    assert lines[0] == "24 images (24 train), 3 features of each"
    assert "nearest other images)" in lines[1]
    assert "5 folds" in lines[2]


@pytest.mark.parametrize(
    ("data", "options", "message"),
    [
        ("folder:photos", ("--out", "e.csv"), "out must end in .npz. Received: 'e.csv'"),
        ("folder:photos", ("--out", "no/e.npz"), "out must be in a directory that exists. Received: 'no/e.npz'"),
        ("folder:photos", ("--out", "photos.npz"), "out must be a file. Received: 'photos.npz', which is a directory"),
        ("folder:photos", ("--report", "photos"), "report must be a new or empty directory"),
        ("folder:photos", ("--report", "a.txt/b"), "report must be a directory"),
        ("photoz", (), "data must be a directory of images, or digits, idx:DIR, tfds:NAME, folder:DIR or"),
        ("photos", ("--split", "test"), "split must be left out for a directory of images without classes"),
        ("empty", (), "empty must hold images"),
        ("tfrecord:empty", (), "data: empty must have files with train or training in their names. Received: none"),
    ],
)
def test_mistakes_are_said_before_the_computation(data, options, message, net, photos, monkeypatch):
    monkeypatch.chdir(photos.parent)
    (photos.parent / "photos.npz").mkdir()
    (photos.parent / "empty").mkdir()
    (photos.parent / "a.txt").write_text("")
    assert message in str(embed(net, data, *options).exception)
