"""What the features of a data set show, which files a report has, and what is said if something is missing."""

import csv
import json

import keras
import numpy as np
import pytest

import keras_resnet as kr
from keras_resnet.data.decode import to_square
from keras_resnet.evaluation import embeddings_report
from keras_resnet.evaluation.embeddings import Embeddings
from keras_resnet.evaluation.embeddings_report import Images, across, examine, write_embeddings, write_report
from tests import needs
from tests.data.test_sources import write_png


class Pixels:
    """Stands for `Images`: uniform images with these values, by the names of the images."""

    def __init__(self, part, values=None):
        self.values = dict(zip(part.names, range(0, 250, 4) if values is None else values))

    def named(self, names, finish=np.asarray):
        images = {name: np.full((8, 8, 1), self.values[name], "uint8") for name in names}
        return [(name, np.asarray(finish(image))) for name, image in images.items()]


def clusters(count=30, seed=0, prefix="", spread=8.0):
    labels = np.arange(count) % 2
    radians = np.deg2rad(90 * labels + np.random.default_rng(seed).normal(0, spread, count))
    values = np.stack([np.cos(radians), np.sin(radians)], 1).astype("float32")
    return Embeddings(values, labels, tuple(f"{prefix}{number}" for number in range(count)), ("a", "b"))


def examined(parts, **values):
    return examine(parts, {name: Pixels(part, values.get(name)) for name, part in parts.items()})


def test_the_train_split_is_for_training_and_the_test_split_for_measuring():
    train, test = clusters(), clusters(10, seed=1)
    assert examined({"train": train, "test": test})[:2] == (1, 1)
    assert examined({"train": train, "test": test._replace(labels=1 - test.labels)})[:2] == (0, 0)


def test_images_of_one_split_are_answered_by_the_others():
    needs.import_package("cleanlab")
    labels = clusters().labels.copy()
    labels[4] = 1
    found = examined({"all": clusters()._replace(labels=labels)})
    assert found.knn == found.probe == 29 / 30
    assert [(error.number, error.answer) for error in found.errors] == [(4, 0)]
    assert found.errors[0].probability > 0.5 > found.errors[0].label_probability
    assert found.notes == []


def test_images_with_the_same_features_are_duplicates_if_their_pixels_agree():
    values = np.array([[1, 0], [1, 0.001], [0, 1], [0.001, 1]], "float32")
    train = Embeddings(values, np.array([0, 0, 1, 1]), ("p", "q", "r", "s"), ("a", "b"))
    test = train.select([2])._replace(names=("t",))
    found = examined({"train": train, "test": test}, train=[10, 90, 200, 202], test=[200])
    pairs = [(pair.split, pair.number, pair.other_split, pair.other_number) for pair in found.pairs]
    assert pairs == [("train", 2, "test", 0), ("train", 2, "train", 3), ("train", 3, "test", 0)]
    assert [round(255 * pair.difference) for pair in found.pairs] == [0, 2, 2]
    assert across(found.pairs) == 2


@pytest.mark.parametrize(
    ("part", "note"),
    [
        (clusters()._replace(labels=np.full(30, -1), classes=()), "the images have no classes"),
        (clusters()._replace(labels=np.zeros(30, int)), "the images for training have one class only"),
    ],
)
def test_without_several_classes_duplicates_are_still_found(part, note):
    found = examined({"all": part}, all=[7] * 30)
    assert found.pairs
    assert (found.knn, found.probe, found.errors) == (None, None, None)
    assert len(found.notes) == 1
    assert found.notes[0].startswith(note)


def test_rare_classes_do_not_stop_the_search_for_label_errors():
    needs.import_package("cleanlab")
    labels = clusters().labels.copy()
    labels[[4, 8]] = 1, 2
    found = examined({"all": clusters()._replace(labels=labels, classes=("a", "b", "rare"))})
    assert [error.number for error in found.errors] == [4]
    assert found.notes == ["images of classes with fewer than 5 images were not searched for label errors: 1"]


def test_a_few_images_have_no_folds():
    found = examined({"all": clusters(4)})
    assert (found.probe, found.errors) == (None, None)
    assert found.notes[0] == "label errors were not searched for: fewer than two classes have 5 images"


def test_without_cleanlab_the_rest_is_there(monkeypatch):
    monkeypatch.setattr(embeddings_report, "has_cleanlab", lambda: False)
    found = examined({"all": clusters()})
    assert found.knn == found.probe == 1
    assert found.errors is None
    assert found.notes == ["label errors were not searched for: pip install cleanlab"]


def test_numpy_alone_reads_the_features(tmp_path):
    parts = {"train": clusters(6, prefix="dir/\udcff"), "test": clusters(4, seed=1)}
    write_embeddings(parts, tmp_path / "e.npz")
    with np.load(tmp_path / "e.npz", allow_pickle=False) as file:
        np.testing.assert_array_equal(file["values"][6:], parts["test"].values)
        assert file["labels"].tolist() == [0, 1, 0, 1, 0, 1, 0, 1, 0, 1]
        assert file["names"].tolist() == [*parts["train"].names, *parts["test"].names]
        assert file["splits"].tolist() == ["train"] * 6 + ["test"] * 4
        assert file["classes"].tolist() == ["a", "b"]


def test_a_report_has_lists_and_pictures(tmp_path):
    needs.import_package("cleanlab")
    labels = clusters().labels.copy()
    labels[4] = 1
    parts = {"train": clusters()._replace(labels=labels), "test": clusters(4, prefix="t\udcff", spread=0)}
    images = {"train": Pixels(parts["train"]), "test": Pixels(parts["test"], [9, 99, 9, 199])}
    assert write_report(parts, images, examine(parts, images), tmp_path) == []
    figures = json.loads((tmp_path / "metrics.json").read_text())
    assert figures["images"] == {"train": 30, "test": 4}
    assert (figures["features"], figures["knn_accuracy"], figures["label_errors"]) == (2, 1, 1)

    def rows(name):
        with (tmp_path / name).open(newline="") as file:
            return list(csv.DictReader(file))

    found = [row for row in rows("duplicates.csv") if row["split"] == "test"]
    assert [(row["image"], row["other image"], row["class"]) for row in found] == [("t\\xff0", "t\\xff2", "a")]
    assert found[0]["pixel difference"] == "0.000000"
    assert figures["duplicates"] == len(rows("duplicates.csv"))
    (error,) = rows("label_errors.csv")
    assert (error["image"], error["split"], error["class"], error["answer"]) == ("4", "train", "b", "a")
    assert {path.name for path in tmp_path.iterdir()} == {
        *("metrics.json", "duplicates.csv", "label_errors.csv", "label_errors.png", "neighbors.png", "map.png")
    }


def test_one_image_has_a_report_without_pictures(tmp_path):
    part = clusters(1)._replace(classes=(), labels=np.array([-1]))
    images = {"all": Pixels(part)}
    notes = write_report({"all": part}, images, examine({"all": part}, images), tmp_path)
    assert notes == ["one image has no neighbors and no map"]
    assert not (tmp_path / "map.png").exists()


def mean_of_pixels():
    image = keras.Input((4, 4, 1))
    return keras.Model(image, keras.layers.GlobalAveragePooling2D()(image))


def stream(values):
    import tensorflow as tf

    dataset = tf.data.Dataset.from_tensor_slices(values).map(lambda value: (tf.fill((4, 4, 1), value), 0))
    return kr.data.from_dataset(dataset, ("a",))


@pytest.mark.slow
def test_images_are_found_by_name_in_any_kind_of_split(tmp_path):
    values = np.array([5, 6, 7, 8], "uint8")
    for value in values:
        write_png(tmp_path / "a" / f"{value}.png", (4, 4, 1), value)
    (tmp_path / "a" / "50.png").write_bytes(b"no image")
    arrays = kr.data.from_arrays(np.tile(values[:, None, None, None], (1, 4, 4, 1)), np.zeros(4, int), ("a",))
    files = kr.data.load(f"folder:{tmp_path}", "all", on_corrupt="skip")
    model = mean_of_pixels()
    for split in (arrays, files, stream(values)):
        part = kr.evaluation.embed(model, split)
        assert part.values[:, 0].tolist() == [5, 6, 7, 8]
        found = dict(Images(model, split, to_square).named([part.names[3], part.names[1], part.names[3]]))
        assert {name: image[0, 0, 0] for name, image in found.items()} == {part.names[3]: 8, part.names[1]: 6}
        assert list(Images(model, split, to_square).named([])) == []
