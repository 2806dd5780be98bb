"""Arrays and datasets, in the forms that people give to `keras.Model.fit`, are a `Split`, or an error that helps."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_resnet.data import from_arrays, from_dataset
from keras_resnet.data.as_split import as_split
from keras_resnet.data.corrupt import name_corrupt_files
from tests.conftest import quick_among
from tests.data.test_sources import pairs, write_png

CLASSES = ("cat", "dog", "owl")
PIXELS = (np.arange(6 * 4 * 5 * 3) % 256).astype("uint8").reshape(6, 4, 5, 3)
LABELS = np.array([0, 1, 2, 2, 1, 0])
ONE_HOT = np.eye(3)[LABELS]


def dataset(images, labels):
    return tf.data.Dataset.from_tensor_slices((images, labels))


def check(split, images=PIXELS, labels=LABELS, classes=CLASSES):
    assert (split.size, split.channels, split.classes) == (len(images), images.shape[-1], classes)
    shown = pairs(split)
    np.testing.assert_array_equal([image for image, _ in shown], images)
    assert [label for _, label in shown] == labels.tolist()


@pytest.mark.parametrize(
    ("images", "labels"),
    [
        (PIXELS, LABELS),
        (PIXELS.astype("float32"), LABELS[:, None]),
        (PIXELS + 0.25, ONE_HOT),
        (PIXELS.astype("int64"), LABELS.astype("float32")),
        (tf.constant(PIXELS), tf.constant(ONE_HOT, tf.int32)),
        (PIXELS.tolist(), LABELS.tolist()),
    ],
    ids=["uint8", "float", "fractions", "integers", "tensors", "lists"],
)
def test_arrays_are_a_split(images, labels):
    if isinstance(images, np.ndarray) and images.dtype == "float64":
        images = np.minimum(images, 255)
    check(as_split("train", (images, labels), CLASSES))


def test_gray_images_need_no_axis_of_channels():
    check(as_split("train", [PIXELS[..., 0], LABELS], CLASSES), PIXELS[..., :1])


DATASETS = {
    "single": lambda: dataset(PIXELS, LABELS),
    "single one-hot": lambda: dataset(PIXELS.astype("float32"), ONE_HOT),
    "batches": lambda: dataset(PIXELS, LABELS).batch(4),
    "batches one-hot": lambda: dataset(PIXELS + np.float32(0.25), ONE_HOT).map(clip).batch(4),
    "batches of columns": lambda: dataset(PIXELS.astype("int32"), LABELS[:, None].astype("float32")).batch(4),
    "unknown size": lambda: dataset(PIXELS, LABELS).filter(lambda *_: True).batch(4),
}


def clip(image, label):
    return tf.minimum(image, 255), label


@pytest.mark.parametrize("name", quick_among(DATASETS, "batches one-hot"))
def test_datasets_are_a_split(name):
    check(as_split("train", DATASETS[name](), CLASSES))


@pytest.mark.slow
@pytest.mark.parametrize("batches", [lambda data: data, lambda data: data.batch(4)])
def test_datasets_of_gray_images_need_no_axis_of_channels(batches):
    check(as_split("train", batches(dataset(PIXELS[..., 0], LABELS)), CLASSES), PIXELS[..., :1])


@pytest.fixture
def folder(tmp_path):
    """Images of one color: 0 to 5 of the class "a", and 10 to 15 of the class "b"."""
    for start, name in enumerate("ab"):
        for number in range(6):
            write_png(tmp_path / name / f"{number}.png", (6, 6, 3), 10 * start + number)
    return tmp_path


def image_dataset(folder, **options):
    options = {"image_size": (4, 4), "batch_size": 5, "shuffle": False, "verbose": False, **options}
    return keras.utils.image_dataset_from_directory(folder, **options)


@pytest.mark.slow
@pytest.mark.parametrize("label_mode", ["int", "categorical", "binary"])
def test_an_image_dataset_of_keras_is_a_split_with_its_class_names(folder, label_mode):
    data = image_dataset(folder, label_mode=label_mode)
    split = as_split("train", data, CLASSES)
    colors = np.array([*range(6), *range(10, 16)])
    check(split, np.tile(colors[:, None, None, None], (4, 4, 3)), np.repeat([0, 1], 6), ("a", "b"))
    assert as_split("train", data.take(1), ("a", "b")).size == 5  # what `take` returns does not know the files


def refused(data, message, error=ValueError):
    with pytest.raises(error, match=message):
        as_split("validation", data, CLASSES)


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (PIXELS / 255, LABELS, "^validation: images must be uint8, from 0 to 255: .* Received: float64 from 0 to 1"),
        (PIXELS / 127.5 - 1, LABELS, "Received: float64 from -1 to 1"),
        (PIXELS.astype("int16") * 2, LABELS, "Received: int16 from 0 to 510"),
        (np.full((6, 4, 5, 3), np.nan), LABELS, "Received: float64 from nan to nan"),
        (PIXELS, np.array(["cat"] * 6), "labels must be integers, .* return_inverse=True.* Received: <U3"),
        (PIXELS, np.eye(4)[LABELS], r"one-hot vectors of 3 classes. Received: labels of shape \(6, 4\)"),
        (PIXELS, ONE_HOT * 0.9, r"one-hot vectors with one 1 and otherwise 0. Received: \[0.9 0.  0. \]"),
        (PIXELS, LABELS + 1, "labels must be indices into classes, in .0, 3.. Received: 1 to 3"),
        (PIXELS, LABELS + np.nan, "labels must be integers. Received: float64 with the value nan"),
        ([PIXELS[0], PIXELS[0, 1:]], [0, 1], "images must be an array. Received: list"),
        (PIXELS, None, r"Received: shape \(\)"),
    ],
)
def test_arrays_that_would_be_misread_are_refused(images, labels, message):
    refused((images, labels), message)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (PIXELS, r"^validation must be a Split .* Received: ndarray; put images and labels in a pair: \(x, y\)"),
        ((PIXELS, LABELS, LABELS), "Received: a tuple of 3 values; weights of images are not supported"),
        (iter(()), "a pair .images, labels. of arrays, or a tf.data.Dataset of such pairs. Received: tuple_iterator"),
    ],
)
def test_what_is_no_data_is_refused(data, message):
    refused(data, message, TypeError)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (
            lambda: dataset(PIXELS / np.float32(255), LABELS),
            "images must be raw pixels, .* Received: images from 0 to 1",
        ),
        (lambda: tf.data.Dataset.from_tensor_slices(PIXELS).batch(2), "must give pairs of images.* Received: Tensor"),
        (lambda: tf.data.Dataset.zip(*[dataset(PIXELS, LABELS)] * 2), "must give pairs of images"),
        (lambda: dataset(PIXELS, np.eye(4)[LABELS]), r"one-hot vectors of 3 classes. Received: labels .*shape=\(4,\)"),
        (lambda: dataset(LABELS, LABELS).batch(2), "must give pairs of images.* Received: images"),
        (lambda: dataset(PIXELS, ["cat"] * 6), "Received: labels .*string"),
        (lambda: dataset(PIXELS, LABELS).batch(2).repeat(), "must be finite: leave out `repeat..`"),
    ],
    ids=["scaled", "no labels", "four", "other classes", "no images", "names", "endless"],
)
def test_datasets_that_would_be_misread_are_refused(data, message):
    refused(data(), message)


@pytest.mark.slow
def test_a_dataset_of_a_generator_that_ends_is_refused():
    generator = iter([(PIXELS[0], 0), (PIXELS[1], 1)])
    spec = tf.TensorSpec((4, 5, 3), tf.uint8), tf.TensorSpec((), tf.int32)
    refused(
        tf.data.Dataset.from_generator(lambda: generator, output_signature=spec),
        "must give its examples in each iteration. .* give a function that makes a new generator",
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        ((PIXELS // 2).astype("int8") - np.int8(1), LABELS, "example 0 of the dataset has pixels outside of .0, 255."),
        (PIXELS.astype("float32") * 2, LABELS, "example 2 of the dataset has pixels outside of .0, 255."),
        (PIXELS, ONE_HOT * [1, 1, 0.9], "example 2 of the dataset has a label that is not one of 3 classes"),
        (PIXELS, LABELS + 0.5, "example 0 of the dataset has a label that is not one of 3 classes"),
        (PIXELS, LABELS + 1, "example 2 of the dataset has a label that is not one of 3 classes"),
    ],
)
def test_an_example_of_a_dataset_that_is_wrong_is_named_when_it_is_read(images, labels, message):
    split = as_split("train", dataset(images, labels).batch(4), CLASSES)
    with pytest.raises(ValueError, match=message), name_corrupt_files(split):
        pairs(split)


# Order


def numbered(count):
    return dataset(np.arange(count, dtype="uint8").reshape(-1, 1, 1, 1), np.arange(count) % 2)


@pytest.mark.parametrize("batch", [None, 8])
def test_nothing_is_held_out_of_a_dataset_whose_order_changes(batch):
    data = numbered(40).shuffle(40)
    split = as_split("train", data if batch is None else data.batch(batch), ("cat", "dog"))
    with pytest.raises(ValueError, match="the same order in each iteration. .* reshuffle_each_iteration=False"):
        split.hold_out(0.5)


@pytest.mark.slow
def test_images_are_held_out_of_a_dataset_that_is_shuffled_once():
    data = numbered(40).shuffle(40, reshuffle_each_iteration=False).batch(8)
    rest, held = as_split("train", data, ("cat", "dog")).hold_out(0.5)
    first, second = ({int(image[0, 0, 0]) for image, _ in pairs(part)} for part in (rest, held))
    assert (len(first), len(second), first & second) == (20, 20, set())


@pytest.mark.slow
def test_a_shuffled_image_dataset_of_keras_gives_no_held_out_images(folder):
    with pytest.raises(
        ValueError, match="shuffle=False in image_dataset_from_directory .*; or give the validation images"
    ):
        as_split("train", image_dataset(folder, shuffle=True, seed=1), CLASSES).hold_out(0.5)
    as_split("train", image_dataset(folder), CLASSES).hold_out(0.5)


@pytest.mark.slow
def test_the_shards_of_a_dataset_whose_order_changes_are_refused_too():
    split = from_dataset(numbered(40).shuffle(40), ("cat", "dog"))
    with pytest.raises(ValueError, match="the same order in each iteration"):
        split.shard(0, 2)


def test_images_in_memory_have_a_fixed_order():
    from_arrays(PIXELS, LABELS, CLASSES).check_order("")
