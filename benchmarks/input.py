"""Images per second from JPEG files and from 32x32 images in memory, compared with pipelines from tf.data tutorials.

The photographs are real, cropped to 500x375 and encoded again with quality 95. They are parts of scikit-learn's two
photographs. If the BCCD data is next to this checkout, its micrographs are used too; they have fewer details, so they
are faster to decode.

Photographs of 12 megapixels are the same ones, enlarged, with noise that gives their files the 3 MB that cameras
write. They are read as they are, and as `kr.data.prepare` writes them. Their batches are small, and their turns long:
pipelines work ahead by some batches, and would take time from the turns of others. For both, a training of a ResNet-18
is compared with one that has a single batch in memory: the rest of a step is for images, which it waits for, or which
take processor time from it.
"""

from __future__ import annotations

import dataclasses
import functools
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from sklearn.datasets import load_sample_images

import keras_resnet as kr
from benchmarks.measure import ROUNDS, SECONDS, Rates, in_turns, repeated
from benchmarks.report import Report
from benchmarks.workers import Turn, workers
from keras_resnet.data import augment
from keras_resnet.data.corrupt import CORES
from keras_resnet.data.crops import center_square, random_resized_crop

BCCD = Path(__file__).parent.parent.parent / "shared" / "data" / "bccd" / "JPEGImages"
HEIGHT, WIDTH, SIZE = 375, 500, 224
FILES, BATCH = 64, 32
LARGE_FILES, LARGE, NOISE = 12, (3000, 4000), 5  # NOISE: largest change of a pixel in gray levels
LARGE_BATCH, LARGE_TURN = 4, 3.0  # LARGE_TURN: seconds, before the measurement of a turn and in it
AHEAD = 4  # batches that all pipelines fetch ahead; the limit stops them from fetching during the turns of others
SMALL, SMALL_BATCH = 20_000, 128
LABELS = np.arange(SMALL) % 10
Crop = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]  # shape (2,) and seed (2,) -> top, left, height, width


@dataclasses.dataclass(frozen=True)
class Amount:
    """How much is measured: the number of rounds."""

    rounds: int


FULL = Amount(ROUNDS)
QUICK = Amount(3)


def windows() -> list[np.ndarray]:
    """Parts of scikit-learn's photographs, which are 640x427; half of the parts are mirrored."""
    corners = np.random.default_rng(0).integers(0, (428 - HEIGHT, 641 - WIDTH), (FILES, 2))
    images = load_sample_images().images
    cut = [images[i % 2][top : top + HEIGHT, left : left + WIDTH] for i, (top, left) in enumerate(corners)]
    return [image[:, :: 1 - i // 2 % 2 * 2] for i, image in enumerate(cut)]


def micrographs() -> list[np.ndarray]:
    """BCCD's images, which are 640x480, resized to a smaller size; an empty list if the data is not there."""
    files = sorted(BCCD.glob("*.jpg"))[:FILES]
    decoded = (tf.io.decode_jpeg(file.read_bytes(), channels=3) for file in files)
    return [tf.image.resize(image, (HEIGHT, WIDTH), antialias=True).numpy().astype("uint8") for image in decoded]


def large() -> Iterator[np.ndarray]:
    """The photographs, enlarged to 12 megapixels, one after the other: together they take 400 MB."""
    random = np.random.default_rng(0)
    for image in windows()[:LARGE_FILES]:
        pixels = tf.image.resize(image, LARGE, "bicubic").numpy()
        pixels += random.integers(-NOISE, NOISE + 1, pixels.shape, "int8")
        yield np.clip(pixels, 0, 255).astype("uint8")


def naive(files: list[str], crop: Crop, batch: int) -> tf.data.Dataset:
    """The pipeline of tutorials: decode, convert to float32, crop, resize, mirror, with the parallelism they recommend.

    These are `decode_jpeg`, `convert_image_dtype`, a slice, `resize` and `random_flip_left_right` for each image in a
    map with AUTOTUNE, then `batch` and `prefetch`. The box of the slice comes from this package, which costs 2 % of the
    total time.
    """

    def image_of(number: tf.Tensor, file: tf.Tensor) -> tf.Tensor:
        image = tf.image.convert_image_dtype(tf.io.decode_jpeg(tf.io.read_file(file), channels=3), tf.float32)
        top, left, height, width = tf.unstack(crop(tf.shape(image)[:2], tf.stack([0, number])))
        image = tf.image.resize(image[top : top + height, left : left + width], (SIZE, SIZE))
        return tf.image.random_flip_left_right(image)

    dataset = tf.data.Dataset.from_tensor_slices(files).repeat().enumerate()
    return dataset.map(image_of, tf.data.AUTOTUNE).batch(batch).prefetch(AHEAD)


def decoding(files: list[str], batch: int) -> tf.data.Dataset:
    """The least work of any pipeline: read and decode all files, and pass on one pixel; with this package's options."""
    dataset = tf.data.Dataset.from_tensor_slices(files).repeat()
    options = tf.data.Options()
    options.autotune.enabled = False
    dataset = dataset.map(lambda file: tf.io.decode_jpeg(tf.io.read_file(file), channels=3)[0, 0], CORES)
    return dataset.batch(batch).prefetch(AHEAD).with_options(options)


def ours(source: str, crop: Crop, batch: int) -> tf.data.Dataset:
    """The training pipeline of this package, with crops and mirroring."""
    split = kr.data.load(source, "all")
    return kr.data.train_pipeline(split, SIZE, batch, crop=crop, augmentations=(augment.flip,))


def mapped() -> tf.data.Dataset:
    """Pads, crops and mirrors each image in float32, as in tutorials."""

    def augmented(image: tf.Tensor, label: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        image = tf.image.resize_with_crop_or_pad(tf.cast(image, tf.float32) / 255, 40, 40)
        return tf.image.random_flip_left_right(tf.image.random_crop(image, (32, 32, 3))), tf.one_hot(label, 10)

    return _batched(augmented)


def mapped_in_uint8() -> tf.data.Dataset:
    """The same as `mapped`, in uint8."""

    def augmented(image: tf.Tensor, label: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        image = tf.image.random_crop(tf.pad(image, ((4, 4), (4, 4), (0, 0))), (32, 32, 3))
        return tf.image.random_flip_left_right(image), tf.one_hot(label, 10)

    return _batched(augmented)


def _batched(augmented: Callable[[tf.Tensor, tf.Tensor], tuple[tf.Tensor, tf.Tensor]]) -> tf.data.Dataset:
    dataset = tf.data.Dataset.from_tensor_slices((tiles(), LABELS)).shuffle(10_000).repeat()
    return dataset.map(augmented, tf.data.AUTOTUNE).batch(SMALL_BATCH).prefetch(AHEAD)


def gather() -> tf.data.Dataset:
    """The training pipeline of this package for images in memory."""
    split = kr.data.from_arrays(tiles(), LABELS, tuple("0123456789"))
    steps = (functools.partial(augment.pad_and_crop, pixels=4), augment.flip)
    return kr.data.train_pipeline(split, 32, SMALL_BATCH, augmentations=steps)


def prepared(folder: Path) -> str:
    """Prepares the images of a folder; the source of the smaller ones."""
    directory = folder.with_name(f"{folder.name}, prepared")
    kr.data.prepare(f"folder:{folder}", directory)
    return f"tfrecord:{directory}/*.tfrecord"


def network() -> keras.Model:
    """The network whose training waits for images; the photographs are of one class, which makes no difference."""
    return kr.ResNet18(input_shape=(SIZE, SIZE, 3), classes=10)


def of_one_batch(build: Callable[[], tf.data.Dataset]) -> tf.data.Dataset:
    """The first batch again and again: there is nothing to wait for."""
    return tf.data.Dataset.from_tensors(next(iter(build()))).repeat()


def trained(build: Callable[[], tf.data.Dataset]) -> Turn:
    """A turn of a training in a plain loop; it returns images per second."""
    model = network()
    optimizer = keras.optimizers.SGD(1e-3, 0.9)
    optimizer.build(model.trainable_variables)
    loss_of = keras.losses.SparseCategoricalCrossentropy()

    @tf.function
    def step(images: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            loss = loss_of(tf.argmax(targets, 1), model(images, training=True))
        optimizer.apply(tape.gradient(loss, model.trainable_variables), model.trainable_variables)
        return loss

    return pulled(build, LARGE_BATCH, LARGE_TURN, LARGE_TURN, lambda batch: float(step(*batch)))


def pulled(
    build: Callable[[], tf.data.Dataset],
    batch: int,
    before: float = SECONDS / 2,
    measured: float = SECONDS,
    use: Callable[[Any], object] = lambda batch: None,
) -> Turn:
    """A turn of an endless pipeline, whose iterator is kept between turns; it returns images per second.

    Some time passes before the measurement begins. In this time the pipeline uses up the batches that it fetched
    during the turns of others, and the other pipelines finish fetching ahead and become idle. The end of an iterator
    is not timed, because it stalls if tf.data tunes itself.

    Args:
        build: makes the pipeline.
        batch: images in a batch.
        before: seconds before the measurement.
        measured: seconds of the measurement.
        use: function that gets each batch.
    """
    iterator = iter(build())

    def pulls(seconds: float) -> float:
        return repeated(batch, lambda: use(next(iterator)), seconds)

    def turn(*_: object) -> float:
        pulls(before)
        return pulls(measured)

    return turn


def run(report: Report, amount: Amount) -> None:
    """Measures the pipelines for image files and for 32x32 images in memory."""
    with tempfile.TemporaryDirectory() as directory:
        for name, images in {"photographs": windows(), "micrographs": micrographs()}.items():
            if not images:
                report.leave_out(name, "../shared/data with the BCCD images is not next to this repository")
                continue
            folder = Path(directory, name)
            files = written(images, folder / "all")
            of_files = {
                "naive": functools.partial(naive, files, random_resized_crop, BATCH),
                "naive centre": functools.partial(naive, files, center_square, BATCH),
                "decoding alone": functools.partial(decoding, files, BATCH),
                "random crop": functools.partial(ours, f"folder:{folder}", random_resized_crop, BATCH),
                "centre": functools.partial(ours, f"folder:{folder}", center_square, BATCH),
            }
            rates = _in_turns(report, of_files, BATCH, amount.rounds)
            report.compare(name, rates, "decoding alone", "images")
            for own, peer in (("random crop", "naive"), ("centre", "naive centre")):
                report.add(f"{name}, {own} over {peer}", rates[own].over(rates[peer]))
        _measure_large(report, Path(directory, "large"), amount.rounds)
    of_arrays = {"map": mapped, "map in uint8": mapped_in_uint8, "keras_resnet": gather}
    rates = _in_turns(report, of_arrays, SMALL_BATCH, amount.rounds)
    report.compare("32x32", rates, "map", "images")
    report.add("32x32, keras_resnet over map in uint8", rates["keras_resnet"].over(rates["map in uint8"]))


def _measure_large(report: Report, folder: Path, rounds: int) -> None:
    """Measures pipelines for photographs of 12 megapixels, and trainings that wait for them."""
    files, case = written(large(), folder / "all"), "12 megapixels"
    crop = random_resized_crop
    as_they_are = functools.partial(ours, f"folder:{folder}", crop, LARGE_BATCH)
    of_prepared = functools.partial(ours, prepared(folder), crop, LARGE_BATCH)
    pipelines = {
        "naive": functools.partial(naive, files, crop, LARGE_BATCH),
        "decoding alone": functools.partial(decoding, files, LARGE_BATCH),
        "random crop": as_they_are,
        "prepared": of_prepared,
    }
    rates = _in_turns(report, pipelines, LARGE_BATCH, rounds, LARGE_TURN, LARGE_TURN)
    report.compare(case, rates, "naive", "images")
    trainings = {
        "one batch": functools.partial(of_one_batch, of_prepared),
        "as they are": as_they_are,
        "prepared": of_prepared,
    }
    with workers(
        {name: functools.partial(trained, build) for name, build in trainings.items()}, report.leave_out
    ) as started:
        steps = in_turns(started, rounds)
    report.compare(f"{case}, ResNet18", steps, "one batch", "images")
    for name in ("as they are", "prepared"):
        report.add(f"{case}, share of a step of ResNet18 for images, {name}", 1 - steps[name].over(steps["one batch"]))


def _in_turns(
    report: Report,
    pipelines: Mapping[str, Callable[[], tf.data.Dataset]],
    batch: int,
    rounds: int,
    before: float = SECONDS / 2,
    measured: float = SECONDS,
) -> dict[str, Rates]:
    subjects = {name: functools.partial(pulled, build, batch, before, measured) for name, build in pipelines.items()}
    with workers(subjects, report.leave_out) as started:
        return in_turns(started, rounds)


def written(images: Iterable[np.ndarray], folder: Path) -> list[str]:
    """Writes the images as JPEG files and returns their paths."""
    folder.mkdir(parents=True)
    for number, image in enumerate(images):
        content = tf.io.encode_jpeg(np.ascontiguousarray(image), quality=95).numpy()
        (folder / f"{number}.jpg").write_bytes(content)
    return sorted(map(str, folder.iterdir()))


def tiles() -> np.ndarray:
    """Squares of 32x32 pixels from the photographs."""
    photographs = np.stack(windows()).reshape(-1, WIDTH, 3)[: 32 * (FILES * HEIGHT // 32)]
    cut = photographs.reshape(-1, 32, WIDTH, 3)[:, :, : WIDTH // 32 * 32].reshape(-1, 32, WIDTH // 32, 32, 3)
    return np.resize(cut.swapaxes(1, 2).reshape(-1, 32, 32, 3), (SMALL, 32, 32, 3))
