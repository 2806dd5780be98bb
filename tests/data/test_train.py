"""The training pipeline: epochs, shuffling, resuming, sharding and crops, for every kind of source."""

import functools

import numpy as np
import pytest
import tensorflow as tf

import keras_resnet as kr
from keras_resnet.data import augment, crops
from tests.conftest import quick_among
from tests.data.test_sources import write_png
from tests.data.test_tfrecords import write_shards

PER_CLASS = 11


def picture(number, side):
    return np.full((side, side + 2, 3), number, "uint8")


def array_split(_):
    images = np.stack([picture(number, 8) for number in range(2 * PER_CLASS)])
    return kr.data.from_arrays(images, np.arange(2 * PER_CLASS) // PER_CLASS, ("a", "b"))


def square_array_split(_):
    images = np.arange(2 * PER_CLASS, dtype="uint8")[:, None, None, None] * np.ones((1, 6, 6, 3), "uint8")
    return kr.data.from_arrays(images, np.arange(2 * PER_CLASS) // PER_CLASS, ("a", "b"))


def folder_split(folder):
    for number in range(2 * PER_CLASS):
        write_png(folder / "ab"[number // PER_CLASS] / f"{number:02}.png", (7 + number % 3, 9, 3), number)
    return kr.data.load(f"folder:{folder}", "all")


def tfrecord_split(folder):
    pictures = [picture(number, 7 + number % 3) for number in range(2 * PER_CLASS)]
    write_shards(folder, "train", pictures, [number // PER_CLASS for number in range(2 * PER_CLASS)], shards=3)
    return kr.data.load(f"tfrecord:{folder}", "train")


def dataset_split(_):
    pictures = [picture(number, 7 + number % 3) for number in range(2 * PER_CLASS)]
    dataset = tf.data.Dataset.from_generator(
        lambda: ((image, number // PER_CLASS) for number, image in enumerate(pictures)),
        output_signature=(tf.TensorSpec((None, None, 3), tf.uint8), tf.TensorSpec((), tf.int32)),
    )
    return kr.data.from_dataset(dataset, ("a", "b"))


SOURCES = {
    "arrays": array_split,
    "squares": square_array_split,
    "files": folder_split,
    "shards": tfrecord_split,
    "dataset": dataset_split,
}


# The other sources give the same batches.
QUICK = "arrays"


@pytest.fixture(params=quick_among(SOURCES, QUICK))
def split(request, tmp_path):
    return SOURCES[request.param](tmp_path)


@pytest.fixture
def crop(request):
    """Random crops, or None for "squares": without a crop, arrays use another code path, with all images in memory."""
    squares = request.node.callspec.id == "squares"
    return None if squares else functools.partial(crops.random_resized_crop, scale=(0.3, 1.0))


def take_batches(split, count, batch_size=4, **options):
    batches = kr.data.train_pipeline(split, 6, batch_size, **options)
    return [(images.copy(), targets.copy()) for images, targets in batches.take(count).as_numpy_iterator()]


def assert_same(some, others):
    assert len(some) == len(others)
    for batch, other in zip(some, others):
        for part, other_part in zip(batch, other):
            np.testing.assert_array_equal(part, other_part)


def numbers(batches):
    """The numbers of the pictures in batches. All pixels of each of the 22 pictures have its number as value."""
    return np.concatenate([images[:, 3, 3, 0] for images, _ in batches]).tolist()


def test_epochs_follow_each_other_each_in_another_order(split):
    batches = take_batches(split, 10)
    assert kr.data.steps_per_epoch(split, 4) == 5
    assert [images.shape for images, _ in batches] == [(4, 6, 6, 3)] * 10
    assert batches[0][0].dtype == np.uint8
    assert batches[0][1].dtype == np.float32
    first, second = numbers(batches[:5]), numbers(batches[5:])
    assert len(set(first)) == len(set(second)) == 20  # each epoch leaves out another two pictures
    assert first != second
    assert first != sorted(first)
    assert numbers(take_batches(split, 5, seed=1)) != first
    labels = np.concatenate([targets for _, targets in batches]).argmax(-1)
    assert labels.tolist() == [number // PER_CLASS for number in first + second]


# "files" use the same code as "arrays", and "dataset" the same as "shards". The next test, which runs for all sources,
# also starts in the middle of a training.
@pytest.mark.slow
@pytest.mark.parametrize("split", ["arrays", "squares", "shards"], indirect=True)
def test_a_run_goes_on_where_it_was_ended_whatever_the_global_seed(split, crop):
    options = {
        "crop": crop,
        "augmentations": (functools.partial(augment.pad_and_crop, pixels=1), augment.flip),
        "mixes": (mix_with_reversed,),
        "seed": 3,
    }
    tf.random.set_seed(1)
    uninterrupted = take_batches(split, 13, **options)
    tf.random.set_seed(2)
    for start in (3, 5, 11):  # within the first epoch, between two epochs, and in the third epoch
        assert_same(take_batches(split, 13 - start, start=start, **options), uninterrupted[start:])


def mix_with_reversed(images, targets, seed):
    share = tf.random.stateless_uniform((), seed)
    return images, share * targets + (1 - share) * targets[::-1]


@pytest.mark.slow
def test_processes_share_each_batch_row_by_row(split, crop):
    all_batches = take_batches(split, 13, crop=crop)
    parts = [take_batches(split, 5, crop=crop, shard=(index, 2), start=8) for index in (0, 1)]
    assert_same([tuple(map(np.concatenate, zip(*both))) for both in zip(*parts)], all_batches[8:])


# "squares" and "shards" stand for the two kinds of records, as in the test of resuming.
@pytest.mark.parametrize(
    "split",
    ["squares", *(pytest.param(name, marks=pytest.mark.slow) for name in ("arrays", "files", "shards", "dataset"))],
    indirect=True,
)
def test_repeated_images_are_in_one_batch_and_an_epoch_has_a_part_of_them(split):
    batches = take_batches(split, 10, repeated_augmentation=2)
    epochs = [[numbers([batch]) for batch in epoch] for epoch in (batches[:5], batches[5:])]
    for epoch in epochs:
        assert len({number for batch in epoch for number in batch}) == 10  # 5 batches of 4 / 2 images
        assert all(batch[:2] == batch[2:] and batch[0] != batch[1] for batch in epoch)
    assert epochs[0] != epochs[1]
    labels = np.concatenate([targets for _, targets in batches]).argmax(-1)
    assert labels.tolist() == [number // PER_CLASS for number in numbers(batches)]
    uneven = numbers(take_batches(split, 1, batch_size=8, repeated_augmentation=3))
    assert uneven == [*uneven[:3], *uneven[:3], *uneven[:2]]
    assert len(set(uneven)) == 3


@pytest.mark.slow
@pytest.mark.parametrize("split", ["squares", "arrays", "shards"], indirect=True)
def test_repeated_images_are_resumed_and_shared_between_processes(split, crop):
    options = {"batch_size": 8, "crop": crop, "repeated_augmentation": 3, "seed": 2}
    augmented = {**options, "augmentations": (functools.partial(augment.pad_and_crop, pixels=2), augment.flip)}
    assert kr.data.steps_per_epoch(split, 8) == 2
    assert_same(take_batches(split, 2, start=3, **augmented), take_batches(split, 5, **augmented)[3:])
    parts = [take_batches(split, 3, **options, shard=(index, 2)) for index in (0, 1)]
    assert_same([tuple(map(np.concatenate, zip(*both))) for both in zip(*parts)], take_batches(split, 3, **options))


def test_repeated_images_have_other_crops_and_augmentations():
    images = np.arange(22 * 64, dtype="uint16").reshape(22, 8, 8, 1).astype("uint8")
    split = kr.data.from_arrays(images, np.arange(22) % 2, ("a", "b"))
    random_crop = functools.partial(crops.random_resized_crop, scale=(0.3, 0.9))
    shift = functools.partial(augment.pad_and_crop, pixels=3)
    for options in ({"crop": random_crop}, {"augmentations": (shift,)}):
        ((batch, _),) = take_batches(split, 1, batch_size=16, repeated_augmentation=8, **options)
        for number in (0, 1):
            copies = batch[number::2]
            assert len({copy.tobytes() for copy in copies}) > 4


def images_of_an_epoch_elsewhere(size, processes, repeats):
    """What each process sees of an epoch in timm's `RepeatAugSampler` and torchvision's `RASampler`."""
    repeated = np.repeat(np.random.default_rng(0).permutation(size), repeats)
    return [repeated[process::processes][: size // 256 * 256 // processes] for process in range(processes)]


@pytest.mark.parametrize(("repeats", "processes"), [(4, 1), (3, 4), (4, 4)])
def test_an_epoch_of_repeated_images_has_as_many_as_in_timm_and_torchvision(repeats, processes):
    size, batch_size = 512, 64
    numbers = np.arange(size)
    pixels = np.stack([numbers % 256, numbers // 256], -1).astype("uint8")[:, None, None]
    split = kr.data.from_arrays(pixels, numbers % 2, ("a", "b"))
    steps = kr.data.steps_per_epoch(split, batch_size)
    ours = []
    for process in range(processes):
        batches = kr.data.train_pipeline(
            split, 1, batch_size, shard=(process, processes), repeated_augmentation=repeats
        )
        images = np.concatenate([images[:, 0, 0] for images, _ in batches.take(steps).as_numpy_iterator()])
        ours.append(images @ np.array([1, 256]))
    elsewhere = images_of_an_epoch_elsewhere(size, processes, repeats)
    assert np.size(ours) == np.size(elsewhere) == size
    # Their number is rounded up in each batch here, and once in an epoch there.
    different = len(np.unique(elsewhere))
    assert different <= len(np.unique(ours)) <= different + steps
    if processes == repeats:  # the copies of an image go to different processes
        assert all(len(np.unique(seen)) == len(seen) for seen in (*elsewhere, *ours))


@pytest.mark.slow  # traces all readers of files
def test_the_copies_of_a_corrupt_image_are_replaced(tmp_path):
    for number in range(8):
        write_png(tmp_path / "ab"[number % 2] / f"{number}.png", (6, 6, 3), 10 * number)
    (tmp_path / "a" / "2.png").write_bytes(b"no image")
    split = kr.data.load(f"folder:{tmp_path}", "all", on_corrupt="skip")
    batches = take_batches(split, 4, batch_size=8, repeated_augmentation=2)
    values = [numbers([batch]) for batch in batches]
    assert {len(batch) for batch in values} == {8}
    assert {number for batch in values for number in batch} <= {0, 10, 30, 40, 50, 60, 70}


def test_a_split_smaller_than_a_batch_is_one_batch(split):
    rest, held = split.hold_out(0.2)
    assert kr.data.steps_per_epoch(held, 16) == 1
    batches = take_batches(held, 3, batch_size=16)
    assert [len(images) for images, _ in batches] == [held.size] * 3
    assert len({tuple(numbers([batch])) for batch in batches}) > 1
    assert len({tuple(sorted(numbers([batch]))) for batch in batches}) == 1
    assert set(numbers(batches)) | set(numbers(take_batches(rest, 30))) == set(range(22))


def test_functions_draw_by_seeds_of_their_own_in_each_process():
    seeds = []

    def record_seed(images, seed):
        tf.py_function(lambda value: seeds.append(tuple(value.numpy().tolist())), [seed], [])
        return images

    mixes = (lambda images, targets, seed: (record_seed(images, seed), targets),)
    for index in (0, 1):
        take_batches(
            square_array_split(None), 4, augmentations=(record_seed, record_seed), mixes=mixes, shard=(index, 2)
        )
    assert len(set(seeds)) == len(seeds) >= 24
    assert len({key for key, _ in seeds}) == 3


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"start": -1}, ValueError, "start must be an integer of at least 0. Received: start=-1"),
        ({"seed": 0.5}, TypeError, "seed must be an integer"),
        ({"shard": (0, 3)}, ValueError, "batch_size must be a multiple of the 3 processes of shard. Received"),
        ({"shard": (2, 2)}, ValueError, "shard must be .index, count. with index below count. Received: shard=.2, 2."),
        ({"crop": "centre"}, TypeError, "crop must be a function or None. Received: crop='centre'"),
        ({"batch_size": 0}, ValueError, "batch_size must be an integer of at least 1"),
        (
            {"repeated_augmentation": 5},
            ValueError,
            "repeated_augmentation must be at most batch_size, 4. Received: repeated_augmentation=5",
        ),
        ({"repeated_augmentation": 0}, ValueError, "repeated_augmentation must be an integer of at least 1"),
    ],
)
def test_wrong_arguments_are_refused(options, error, message):
    with pytest.raises(error, match=message):
        take_batches(square_array_split(None), 1, **options)


# Crops


@pytest.mark.slow  # traces all readers of files
def test_the_centre_square_is_the_default(tmp_path):
    image = np.zeros((8, 16, 3), "uint8")
    image[:, 4:12] = 255
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "1.jpg").write_bytes(tf.io.encode_jpeg(image, quality=100).numpy())
    ((images, _),) = take_batches(kr.data.load(f"folder:{tmp_path}", "all"), 1)
    assert images.min() > 250


@tf.function(input_signature=[tf.TensorSpec(2, tf.int32)])
def hundred_crops(shape):
    return tf.map_fn(lambda number: crops.random_resized_crop(shape, tf.stack([7, number])), tf.range(100))


@pytest.mark.parametrize("shape", [(375, 500), (500, 30), (3, 400), (1, 1)])
def test_random_crops_lie_in_the_image_and_have_the_area_and_form_asked_for(shape):
    top, left, height, width = np.transpose(hundred_crops(shape))
    assert (top >= 0).all()
    assert (left >= 0).all()
    assert (height > 0).all()
    assert (width > 0).all()
    assert (top + height <= shape[0]).all()
    assert (left + width <= shape[1]).all()
    if shape == (375, 500):
        share = height * width / (375 * 500)
        assert share.min() < 0.15
        assert share.max() > 0.8
        assert 0.4 < share.mean() < 0.6
        assert (width / height > 3 / 4 - 0.02).all()
        assert (width / height < 4 / 3 + 0.02).all()
        assert len(set(top.tolist())) > 30


def test_where_no_draw_fits_the_largest_part_in_the_middle_is_taken():
    full_area = functools.partial(crops.random_resized_crop, scale=(1.0, 1.0))
    assert full_area(tf.constant([100, 1000]), tf.constant([0, 1])).numpy().tolist() == [0, 433, 100, 133]
    assert full_area(tf.constant([1000, 100]), tf.constant([0, 1])).numpy().tolist() == [433, 0, 133, 100]


@pytest.mark.parametrize(
    "wrong", [{"scale": (0, 1)}, {"scale": (0.5, 0.2)}, {"ratio": (2, 1)}, {"ratio": (0, 1)}, {"scale": 0.5}]
)
def test_ranges_of_crops_are_checked(wrong):
    with pytest.raises(ValueError, match=f"{next(iter(wrong))} must be .low, high."):
        crops.random_resized_crop(tf.constant([4, 4]), tf.constant([0, 1]), **wrong)


@pytest.mark.slow
def test_a_crop_of_a_jpeg_is_that_of_the_decoded_image(tmp_path, rng):
    # Smooth as photographs are, because of large parts not each pixel of a JPEG is decoded (tests/data/test_parts.py).
    image = tf.cast(tf.image.resize(rng.integers(0, 256, (3, 4, 3)), (60, 80), "bicubic"), tf.uint8)
    for kind, encode in (("jpg", functools.partial(tf.io.encode_jpeg, quality=100)), ("png", tf.io.encode_png)):
        (tmp_path / kind / "a").mkdir(parents=True)
        (tmp_path / kind / "a" / f"1.{kind}").write_bytes(encode(image).numpy())
    batches = [
        take_batches(kr.data.load(f"folder:{tmp_path / kind}", "all"), 4, crop=crops.random_resized_crop)
        for kind in ("jpg", "png")
    ]
    for (jpeg, _), (png, _) in zip(*batches):
        assert np.abs(jpeg.astype(int) - png).mean() < 3
