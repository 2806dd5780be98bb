"""Data sources and pipelines, on real images if shared/ is there. Other files test decoding and augmentation."""

import functools
import gzip
import struct

import numpy as np
import pytest
import tensorflow as tf

import keras_resnet as kr
from keras_resnet.classes import imagenet_classes
from keras_resnet.data import folders
from keras_resnet.data.decode import resize_and_crop
from keras_resnet.data.sources import SOURCES, class_indices, from_arrays, renamed
from tests import needs
from tests.conftest import FASHION


def pairs(split):
    return list(split.examples.as_numpy_iterator())


# Sources


def test_every_source_is_tested():
    assert set(SOURCES) == {"digits", "idx", "tfds", "folder", "tfrecord"}


@pytest.mark.slow
def test_digits_are_split_once_and_for_all():
    train, test = kr.data.load("digits", "train"), kr.data.load("digits", "test")
    assert (train.size, test.size) == (1437, 360)
    assert train.classes == test.classes == tuple("0123456789")
    train_pairs, test_pairs = pairs(train), pairs(test)
    again = kr.data.load("digits", "test").examples.take(8)
    assert [int(label) for _, label in test_pairs[:8]] == [int(label) for _, label in again.as_numpy_iterator()]
    image, _ = train_pairs[0]
    assert image.shape == (8, 8, 1)
    assert image.dtype == np.uint8
    assert max(image.max() for image, _ in train_pairs) == 255
    train_images = {image.tobytes() for image, _ in train_pairs}
    assert not train_images & {image.tobytes() for image, _ in test_pairs}
    counts = np.bincount([label for _, label in test_pairs])
    assert counts.min() >= 34


@pytest.mark.slow
@needs.fashion_mnist
def test_idx_reads_fashion_mnist():
    train, test = (kr.data.load(f"idx:{FASHION}", split) for split in ("train", "test"))
    assert (train.size, test.size, train.channels) == (60_000, 10_000, 1)
    image, label = next(train.examples.as_numpy_iterator())
    assert image.shape == (28, 28, 1)
    assert label == 9  # the first image is an ankle boot


def write_idx(path, array, opener=open):
    with opener(path, "wb") as file:
        file.write(bytes((0, 0, 8, array.ndim)) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes())


def spoil_gzip(file):
    packed = bytearray(gzip.compress(file.read_bytes()))
    packed[10] = 0x07  # a block type that deflate does not define
    file.with_name(f"{file.name}.gz").write_bytes(packed)
    file.unlink()


@pytest.fixture
def idx_dir(tmp_path, rng):
    images = rng.integers(0, 256, (6, 5, 4)).astype("uint8")
    labels = np.array([0, 1, 2, 0, 1, 2], "uint8")
    write_idx(tmp_path / "train-images-idx3-ubyte", images)
    write_idx(tmp_path / "train-labels-idx1-ubyte.gz", labels, gzip.open)
    return tmp_path, images, labels


def test_idx_reads_plain_and_gzipped_files(idx_dir):
    folder, images, labels = idx_dir
    split = kr.data.load(f"idx:{folder}", "train")
    assert split.classes == ("0", "1", "2")
    np.testing.assert_array_equal([image[..., 0] for image, _ in pairs(split)], images)
    np.testing.assert_array_equal([label for _, label in pairs(split)], labels)


def test_idx_takes_the_names_of_classes_from_a_file(idx_dir):
    (idx_dir[0] / "classes.txt").write_text("cat\ndog\n\nowl\n")
    assert kr.data.load(f"idx:{idx_dir[0]}", "train").classes == ("cat", "dog", "owl")
    (idx_dir[0] / "classes.txt").write_text("cat\ndog\n")
    with pytest.raises(ValueError, match="must name at least 3 classes, one on each line. Received: 2 names"):
        kr.data.load(f"idx:{idx_dir[0]}", "train")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda file: file.unlink(), "must have train-images-idx3-ubyte or .*.gz. Received: no such file"),
        (lambda file: file.write_bytes(file.read_bytes()[:-1]), "for each element of the shape .* Received: 119 bytes"),
        (lambda file: file.write_bytes(b"PK" + file.read_bytes()), "must be an IDX file of unsigned bytes"),
        (lambda file: file.write_bytes(b""), "must be an IDX file of unsigned bytes"),
        (lambda file: write_idx(file, np.zeros((5, 5, 4), "uint8")), "5 images, 6 labels"),
        (lambda file: file.rename(f"{file}.gz"), "cannot read .*ubyte.gz"),
        (spoil_gzip, "cannot read .*ubyte.gz: Error -3"),
    ],
)
def test_idx_says_what_is_wrong_with_a_file(idx_dir, spoil, message):
    spoil(idx_dir[0] / "train-images-idx3-ubyte")
    with pytest.raises(ValueError, match=message):
        kr.data.load(f"idx:{idx_dir[0]}", "train")


def write_png(path, shape=(9, 7, 3), value=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(tf.io.encode_png(np.full(shape, value, "uint8")).numpy())


@pytest.mark.slow
def test_folders_hold_out_a_fixed_fifth_of_each_class(tmp_path):
    for name, count in (("cat", 10), ("dog", 15)):
        for number in range(count):
            write_png(tmp_path / name / f"{number}.png")
    (tmp_path / "cat" / "notes.txt").write_text("no image")
    train, test = (kr.data.load(f"folder:{tmp_path}", split) for split in ("train", "test"))
    assert train.classes == test.classes == ("cat", "dog")
    assert np.bincount([label for _, label in pairs(train)]).tolist() == [8, 12]
    assert np.bincount([label for _, label in pairs(test)]).tolist() == [2, 3]
    files = [set(folders.scan(tmp_path, split)[0]) for split in ("train", "test")]
    assert not files[0] & files[1]
    assert pairs(train)[0][0].shape == (9, 7, 3)


@pytest.mark.parametrize("name", ["test", "val", "validation"])
def test_folders_keep_a_split_that_is_there(tmp_path, name):
    for split, count in (("train", 3), (name, 2)):
        for kind in ("a", "b"):
            for number in range(count):
                write_png(tmp_path / split / kind / f"{number}.png")
    assert kr.data.load(f"folder:{tmp_path}", "train").size == 6
    assert kr.data.load(f"folder:{tmp_path}", "test").size == 4


@pytest.mark.slow
def test_classes_are_mixed_in_training_and_held_out_from_the_smallest(tmp_path):
    for name in ("a", "train"):  # "train" is a legal class name
        for number in range(4):
            write_png(tmp_path / name / f"{number}.png")
    train, test = (kr.data.load(f"folder:{tmp_path}", split) for split in ("train", "test"))
    assert (train.size, test.size, train.classes) == (6, 2, ("a", "train"))
    labels = [int(label) for _, label in pairs(train)]
    assert labels not in ([0, 0, 0, 1, 1, 1], [1, 1, 1, 0, 0, 0])
    assert labels == [int(label) for _, label in pairs(kr.data.load(f"folder:{tmp_path}", "train"))]


def test_all_of_a_folder_is_every_image_class_by_class(tmp_path):
    for name, count in (("b", 7), ("a", 3), ("train", 1)):  # "train" is a legal class name
        for number in range(count):
            write_png(tmp_path / name / f"{number}.png")
    split = kr.data.load(f"folder:{tmp_path}", "all")
    assert (split.size, split.classes) == (11, ("a", "b", "train"))
    assert [int(label) for _, label in pairs(split)] == [0] * 3 + [1] * 7 + [2]
    assert list(split.files) == sorted(split.files)
    parts = [kr.data.load(f"folder:{tmp_path}", name).files for name in ("train", "test")]
    assert sorted(parts[0] + parts[1]) == sorted(split.files)


def test_all_is_for_one_split_of_a_folder(tmp_path):
    write_png(tmp_path / "train" / "cat" / "1.png")
    write_png(tmp_path / "val" / "cat" / "1.png")
    with pytest.raises(
        ValueError, match=f"give {tmp_path}/train or {tmp_path}/val. Received: {tmp_path}, which contains"
    ):
        kr.data.load(f"folder:{tmp_path}", "all")
    assert kr.data.load(f"folder:{tmp_path}/val", "all").size == 1
    for source in ("digits", "idx:DIR", "tfds:mnist"):
        with pytest.raises(
            ValueError, match=f"'all' is for folder:DIR and tfrecord:PATTERN. Received: split='all', source='{source}'"
        ):
            kr.data.load(source, "all")


def test_folders_say_what_is_missing(tmp_path):
    with pytest.raises(ValueError, match="a directory with one folder for each class. Received: .*none, which is not"):
        kr.data.load(f"folder:{tmp_path / 'none'}", "train")
    with pytest.raises(ValueError, match="Received: no folders, no images"):
        kr.data.load(f"folder:{tmp_path}", "train")
    (tmp_path / "cat").mkdir()
    with pytest.raises(ValueError, match="Received: 1 folder, no images"):
        kr.data.load(f"folder:{tmp_path}", "train")
    write_png(tmp_path / "train" / "cat" / "1.png")
    with pytest.raises(ValueError, match="must have a folder test or val with the classes, next to train"):
        kr.data.load(f"folder:{tmp_path}", "test")
    write_png(tmp_path / "test" / "dog" / "1.png")
    with pytest.raises(ValueError, match=r"must have no classes besides those of .*train. Received: also \['dog'\]"):
        kr.data.load(f"folder:{tmp_path}", "test")


@pytest.fixture
def tiny_tfds(tmp_path, monkeypatch):
    """A small TensorFlow data set; the test prepares it."""
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    import tensorflow_datasets as tfds

    monkeypatch.setattr(tfds.core.constants, "DATA_DIR", str(tmp_path), raising=False)

    class TinyBlobs(tfds.core.GeneratorBasedBuilder):
        VERSION = tfds.core.Version("1.0.0")

        def _info(self):
            features = {
                "image": tfds.features.Image(shape=(8, 8, 3)),
                "label": tfds.features.ClassLabel(names=["x", "y"]),
            }
            return self.dataset_info_from_configs(
                features=tfds.features.FeaturesDict(features), supervised_keys=("image", "label")
            )

        def _split_generators(self, dl_manager):
            return {
                "train": self._generate_examples(range(6)),
                "validation": self._generate_examples(range(4)),
                "test": self._generate_examples([7, 8, 9], label=-1),  # like ImageNet's test split
            }

        def _generate_examples(self, numbers, label=None):
            for number in numbers:
                image = np.full((8, 8, 3), number, "uint8")
                yield number, {"image": image, "label": number % 2 if label is None else label}

    yield tmp_path
    tfds.core.registered._DATASET_REGISTRY.pop("tiny_blobs", None)


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_tfds_reads_a_prepared_data_set_from_splits_with_labels(tiny_tfds):
    train, test = (kr.data.load("tfds:tiny_blobs", split) for split in ("train", "test"))
    assert (train.size, test.size, train.classes, train.channels) == (6, 4, ("x", "y"), 3)
    assert sorted((int(image[0, 0, 0]), int(label)) for image, label in pairs(test)) == [(0, 0), (1, 1), (2, 0), (3, 1)]


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_tfds_names_a_data_set_that_it_cannot_prepare():
    with pytest.raises(ValueError, match="cannot prepare the TensorFlow data set 'no_such_thing'"):
        kr.data.load("tfds:no_such_thing", "train")


@pytest.mark.parametrize("source", ["", "digits:here", "idx", "idx:", "mnist", "folder"])
def test_an_unknown_source_is_named_with_those_that_there_are(source):
    with pytest.raises(
        ValueError, match="must be digits, idx:DIR, tfds:NAME, folder:DIR or tfrecord:PATTERN. Received:"
    ):
        kr.data.load(source, "train")


def test_a_directory_that_cannot_be_read_is_named():
    with pytest.raises(ValueError, match="data: cannot read folder:xxx.*File name too long"):
        kr.data.load("folder:" + "x" * 5000, "train")


def test_an_unknown_split_is_named():
    with pytest.raises(ValueError, match="split must be one of 'train', 'val', 'test', 'all'. Received: split='dev'"):
        kr.data.load("digits", "dev")


# Finding the classes of a data set among the classes of a model


def test_classes_are_found_by_any_of_their_names():
    assert class_indices(["n02099601", "TENCH", "toilet_tissue"], imagenet_classes()) == [207, 0, 999]
    assert class_indices([], imagenet_classes()) == []


def test_classes_that_are_not_known_are_named():
    with pytest.raises(
        ValueError,
        match=r"only classes of the model. Received: 'a', 'b', 'c', 'd', 'e' and 2 more, which the model does not",
    ):
        class_indices([*"abcdefg", "tench"], imagenet_classes())


def test_a_name_of_two_classes_is_refused():
    with pytest.raises(ValueError, match=r"'Crane', which matches 134 \('n02012849', 'crane'\) and 517 \('n03126707'"):
        class_indices(["tench", "Crane"], imagenet_classes())


# Pipelines


def numbered_split(count, side=4):
    images = np.arange(count, dtype="uint8")[:, None, None, None] * np.ones((1, side, side, 1), "uint8")
    return from_arrays(images, np.arange(count), tuple(map(str, range(count))))


def test_evaluation_gives_every_image_once_and_in_order():
    batches = list(kr.data.pipeline(numbered_split(10), 4, 4).as_numpy_iterator())
    assert [images.shape for images, _ in batches] == [(4, 4, 4, 1), (4, 4, 4, 1), (2, 4, 4, 1)]
    assert np.concatenate([labels for _, labels in batches]).tolist() == list(range(10))
    assert np.concatenate([images[:, 0, 0, 0] for images, _ in batches]).tolist() == list(range(10))


@pytest.mark.slow
def test_images_of_any_size_make_one_batch(tmp_path):
    for number, shape in enumerate([(5, 9, 3), (12, 6, 3), (7, 7, 3)]):
        write_png(tmp_path / "train" / "a" / f"{number}.png", shape, value=number)
    ((images, _),) = kr.data.pipeline(kr.data.load(f"folder:{tmp_path}", "train"), 8, 4).as_numpy_iterator()
    assert images.shape == (3, 8, 8, 3)
    assert sorted(images[:, 0, 0, 0].tolist()) == [0, 1, 2]


@pytest.mark.slow
def test_a_pipeline_resizes_as_it_is_told():
    image = np.zeros((1, 8, 8, 1), "uint8")
    image[:, 1:7, 1:7] = 255
    resize = functools.partial(resize_and_crop, crop_pct=0.5, interpolation="bicubic")
    split = from_arrays(image, np.zeros(1), ("square",))
    (((whole,), _),) = kr.data.pipeline(split, 4, 1).as_numpy_iterator()
    (((centre,), _),) = kr.data.pipeline(split, 4, 1, resize=resize).as_numpy_iterator()
    assert whole[0, 0] < 128
    np.testing.assert_array_equal(centre, np.full((4, 4, 1), 255))


@pytest.mark.parametrize(("size", "batch_size"), [(0, 4), (4, 0)])
def test_sizes_below_one_are_refused(size, batch_size):
    with pytest.raises(ValueError, match="must be an integer of at least 1"):
        kr.data.pipeline(numbered_split(4), size, batch_size)


def test_classes_get_the_names_that_a_model_has_for_them():
    split = kr.data.from_arrays(np.zeros((2, 4, 4, 1), "uint8"), np.array([0, 1]), ("1", "0"))
    known = [("T-shirt", "0"), ("Trouser", "1"), ("Bag", "2")]
    assert renamed(split, known).classes == ("Trouser", "T-shirt")
    assert renamed(split, known[:1]) is renamed(split, ()) is split
