"""`Split`: the labelled images of one split of a data set, from any source; also from your own arrays or datasets."""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from keras_resnet._internal.validation import integer, number, printable
from keras_resnet.data.corrupt import CorruptRecords, in_python, map_or_report
from keras_resnet.data.decode import decode, read_image
from keras_resnet.data.records import Indexed, Records, Stream, in_range


@dataclasses.dataclass(frozen=True, repr=False)
class Split:
    """Labelled images of one split. `load`, `from_arrays`, `from_dataset` and `hold_out` make it.

    Attributes:
        records: the records that the images and labels are read from.
        classes: names of the classes; a label is an index into them.
        channels: number of channels of every image, 1 or 3.
        files: for each image the name of its file, in order; () if the images are not single files.
        corrupt_records: the corrupt images that were found until now.
    """

    records: Records
    classes: tuple[str, ...]
    channels: int
    files: tuple[str, ...]
    corrupt_records: CorruptRecords

    def __repr__(self) -> str:
        channels = f"{self.channels} channel{'s' if self.channels > 1 else ''}"
        return f"<Split: {self.size:,} images, {len(self.classes):,} classes, {channels}>"

    @property
    def size(self) -> int:
        """Number of images, including corrupt ones."""
        return self.records.size

    @property
    def skipped(self) -> tuple[str, ...]:
        """One reason for each image that was skipped until now, in this split or a part of it, in sorted order.

        A reason starts with the name of the file.
        """
        return tuple(sorted(self.corrupt_records.skipped))

    @property
    def examples(self) -> tf.data.Dataset:
        """A dataset of (uint8 (H, W, C), int64 label), in a fixed order.

        Corrupt images are skipped, or the first one stops the iteration with an error; `on_corrupt` of `load` decides.
        """
        return self.read(lambda image: image)

    def read(self, finish: Callable[[tf.Tensor], tf.Tensor]) -> tf.data.Dataset:
        """`examples` with a change of each image, which is made in the same parallel step as reading.

        Args:
            finish: function from an image, uint8 (H, W, C), to the changed image.

        Returns:
            A dataset of (changed image, int64 label).
        """
        rows = self.corrupt_records.read(
            *_in_order(self.records, lambda content: finish(image_of(content, self.channels)))
        )
        if self.corrupt_records.on_corrupt == "skip":
            return rows.filter(lambda readable, _: readable).map(lambda _, example: example)
        # The size is set because Keras warns about a dataset of unknown size.
        return rows.map(lambda _, example: example).apply(tf.data.experimental.assert_cardinality(self.size))

    def unreadable(self) -> list[str]:
        """One reason for each image that cannot be read, among those whose reading started but did not finish.

        The images are read again, one by one.
        """
        numbers = self.corrupt_records.unfinished
        if isinstance(self.records, Stream):
            numbers = np.flatnonzero(np.isin(self.records.kept, numbers))
        records, reasons = self.records.select(numbers), dict[int, str]()

        def report(number: np.ndarray) -> np.bool_:
            reasons[int(number)] = records.describe(int(number))
            return np.bool_(False)

        # An error that does not come from an image comes again here; this function cannot explain it.
        with contextlib.suppress(tf.errors.OpError):
            for _ in map_or_report(
                *_in_order(records, lambda content: image_of(content, self.channels)), in_python(report)
            ):
                pass
        return [reason for _, reason in sorted(reasons.items())]

    def hold_out(self, share: float, seed: int = 0) -> tuple[Split, Split]:
        """Divides the split into a rest and a held-out part, for example for validation.

        Use the held-out part to choose hyperparameters or the best epoch; the test split must not be used for that.

        If the labels are known (images in memory, folders), the same fraction of each class is drawn at random: at
        least one image of each class with two or more images. From a stream, records at regular distances are taken:
        every k-th record if `share` is 1 / k.

        Args:
            share: fraction of the images to hold out, in (0, 1).
            seed: random seed of the draw, at least 0; for a stream the offset of the records.

        Returns:
            (rest, held-out part), two `Split`s, each in the order of this split.

        Raises:
            ValueError: `share` is not in (0, 1), one of the two parts would be empty, or `seed` is below 0; or a
                dataset has another order in each iteration.
            TypeError: `share` is not a number, or `seed` is not an integer.

        Example:
            >>> import keras_resnet as kr
            >>> rest, held = kr.data.load("digits", "train").hold_out(0.2)
            >>> rest.size, held.size
            (1150, 287)
        """
        number("share", share, "(0, 1)")
        integer("seed", seed, minimum=0)
        self.check_order("give the validation images yourself")
        if isinstance(self.records, Indexed):
            held = _stratified(self.records.labels, share, seed)
        else:
            part = Fraction(share).limit_denominator(max(1000, self.size))
            held = (np.arange(self.size) + seed) * part.numerator % part.denominator < part.numerator
        if held.all() or not held.any():
            raise ValueError(
                f"share must put at least one of the {self.size} images into each of the two parts. "
                f"Received: share={share!r}"
            )
        return self._part(np.flatnonzero(~held)), self._part(np.flatnonzero(held))

    def with_channels(self, channels: int) -> Split:
        """The same images with another number of channels: files are decoded in gray or in color.

        Args:
            channels: 1 or 3.

        Returns:
            A `Split`.

        Raises:
            ValueError: `channels` is not 1 or 3; or the images are pixels in memory with another number of channels.

        Example:
            >>> import keras_resnet as kr
            >>> kr.data.load("digits", "test").with_channels(1).channels
            1
        """
        if channels == self.channels:
            return self
        (image, _), _ = self.records.in_order().map(lambda number, raw: (self.records.read(raw), number)).element_spec
        if image.dtype != tf.string or channels not in (1, 3):
            raise ValueError(
                f"channels must be {self.channels}, as the images have; image files can be read with 1 or 3. "
                f"Received: channels={channels}"
            )
        return dataclasses.replace(self, channels=channels)

    def shard(self, index: int, count: int) -> Split:
        """Every `count`-th image, from image `index` on. The `count` shards together hold each image once.

        Args:
            index: number of the shard, in [0, count).
            count: number of shards; 1 returns the split itself.

        Returns:
            A `Split`.

        Raises:
            ValueError: `index` is not in [0, count); or a dataset has another order in each iteration.

        Example:
            >>> import keras_resnet as kr
            >>> [kr.data.load("digits", "test").shard(process, 2).size for process in (0, 1)]
            [180, 180]
        """
        if integer("index", index, 0) >= integer("count", count):
            raise ValueError(f"index must be below count. Received: index={index}, count={count}")
        if count == 1:
            return self
        self.check_order("use one process")
        return self._part(np.arange(index, self.size, count))

    def check_order(self, otherwise: str) -> None:
        """Raises a `ValueError` if the images have another order in each iteration.

        Images are told apart by their numbers. In a dataset that is shuffled anew in each iteration, a held-out image
        has another number later, and is trained on. A stream's first images are read twice for this.

        Args:
            otherwise: what can be done with another order, for the error.
        """
        if isinstance(self.records, Stream) and not self.records.has_fixed_order:
            raise ValueError(
                "the dataset must give the same images in the same order in each iteration. Received: a dataset whose "
                "first images are others in the second iteration; type reshuffle_each_iteration=False in shuffle(), "
                "shuffle=False in image_dataset_from_directory (without its validation_split, which would then take "
                f"the last classes), and leave augmentation to the recipe; or {otherwise}"
            )

    def _part(self, numbers: np.ndarray) -> Split:
        files = tuple(self.files[number] for number in numbers) if self.files else ()
        records = self.records.select(numbers)
        corrupt_records = CorruptRecords(self.corrupt_records.on_corrupt, records.describe, self.corrupt_records)
        return dataclasses.replace(self, records=records, files=files, corrupt_records=corrupt_records)


def make(
    records: Records, classes: Sequence[str], channels: int, on_corrupt: str, files: tuple[str, ...] = ()
) -> Split:
    """A `Split` of records of any kind; the arguments are its attributes, and `on_corrupt` as in `load`."""
    return Split(records, tuple(classes), channels, files, CorruptRecords(on_corrupt, records.describe))


def _in_order(records: Records, finish: Callable[[tf.Tensor], tf.Tensor]) -> tuple[tf.data.Dataset, Callable[..., Any]]:
    """For `CorruptRecords.read`: rows (number, number, raw) of all records in order, and a function to read a row."""

    def read(_: tf.Tensor, __: tf.Tensor, raw: Any) -> tuple[tf.Tensor, tf.Tensor]:
        content, label = records.read(raw)
        return finish(content), label

    return records.in_order().map(lambda number, raw: (number, number, raw)), read


def image_of(content: tf.Tensor, channels: int) -> tf.Tensor:
    """The pixels, uint8 (H, W, C), of `content`, which is pixels, or the bytes of a file that are decoded here."""
    return decode(content, channels) if content.dtype == tf.string else content


def from_arrays(images: np.ndarray, labels: np.ndarray, classes: Sequence[str]) -> Split:
    """A split of images in memory.

    Args:
        images: uint8 (N, H, W, C) from 0 to 255, with no side of length 0.
        labels: integers (N,), indices into `classes`.
        classes: names of the classes.

    Returns:
        A `Split`.

    Raises:
        ValueError: `images` have another type or shape, or `labels` are not N integers in their range.

    Example:
        >>> import numpy as np, keras_resnet as kr
        >>> kr.data.from_arrays(np.zeros((4, 32, 32, 3), "uint8"), np.array([0, 1, 0, 1]), ("cat", "dog")).size
        4
    """
    images, labels = np.asarray(images), np.asarray(labels)
    if images.dtype != np.uint8:
        ends = f" from {images.min():.3g} to {images.max():.3g}" if images.size and images.dtype.kind in "fiu" else ""
        raise ValueError(
            "images must be uint8, from 0 to 255: raw pixels, which the models normalize themselves. "
            f"Received: {images.dtype}{ends}"
        )
    if images.ndim != 4 or 0 in images.shape:
        raise ValueError(f"images must have the shape (N, H, W, C), each number at least 1. Received: {images.shape}")
    if labels.shape != images.shape[:1]:
        raise ValueError(
            f"labels must have the shape {images.shape[:1]}, one label for each image. Received: shape {labels.shape}"
        )
    if labels.dtype.kind not in "biuf":
        raise ValueError(
            "labels must be integers, indices into classes; np.unique(labels, return_inverse=True) finds them. "
            f"Received: {labels.dtype}"
        )
    with np.errstate(invalid="ignore"):  # NaN is no integer, and refused in the next lines
        indices = labels.astype("int64")
    if (indices != labels).any():
        raise ValueError(
            f"labels must be integers. Received: {labels.dtype} with the value {labels[indices != labels][0]}"
        )
    if indices.min() < 0 or indices.max() >= len(classes):
        raise ValueError(
            f"labels must be indices into classes, in [0, {len(classes)}). Received: {indices.min()} to {indices.max()}"
        )
    records = Indexed(images, indices, lambda image: image, repr)
    return make(records, classes, images.shape[-1], "stop")


def from_files(files: Sequence[str], labels: Sequence[int], classes: Sequence[str], on_corrupt: str) -> Split:
    """A split of image files with 3 channels, with one label for each file; `on_corrupt` as in `load`."""
    # Names in bytes: a name on a disk need not be UTF-8, but TensorFlow encodes text as UTF-8.
    names = np.array([os.fsencode(file) for file in files])
    records = Indexed(names, np.array(labels, "int64"), tf.io.read_file, _why_unreadable)
    return make(records, classes, 3, on_corrupt, tuple(files))


def from_dataset(dataset: tf.data.Dataset, classes: Sequence[str], size: int | None = None) -> Split:
    """A split of your own `tf.data.Dataset`.

    The dataset must give the same examples in the same order in each iteration. Do not shuffle, batch or augment it:
    the pipelines do that. If training is resumed in the middle of an epoch, your dataset has to make again the examples
    that are skipped. The sources of `load` do not have to.

    Args:
        dataset: pairs (image, label). The image is uint8 (H, W, C) with C known, and of any height and width; the label
            is an integer scalar.
        classes: names of the classes; labels are indices into them.
        size: number of examples. None (default): the size that the dataset states; if it states none, the examples are
            counted.

    Returns:
        A `Split`.

    Raises:
        ValueError: the examples have another form, there are none, or the dataset is infinite.
        TypeError: `dataset` is not a `tf.data.Dataset`, or `size` is not an integer.

    Example:
        >>> import numpy as np, tensorflow as tf, keras_resnet as kr
        >>> dataset = tf.data.Dataset.from_tensor_slices((np.zeros((4, 32, 32, 3), "uint8"), [0, 1, 0, 1]))
        >>> kr.data.from_dataset(dataset, ("cat", "dog")).size
        4
    """
    if not isinstance(dataset, tf.data.Dataset):
        raise TypeError(f"dataset must be a tf.data.Dataset. Received: {type(dataset).__name__}")
    spec: Any = dataset.element_spec
    expected = "dataset must give pairs of an image, uint8 (H, W, C) with C known, and an integer label"
    if not (isinstance(spec, tuple) and len(spec) == 2 and all(isinstance(part, tf.TensorSpec) for part in spec)):
        raise ValueError(f"{expected}. Received: {spec}")
    image, label = spec
    if image.dtype != tf.uint8 or image.shape.rank != 3 or not image.shape[-1]:
        raise ValueError(f"{expected}. Received: images {image}")
    if not label.dtype.is_integer or label.shape.rank != 0:
        raise ValueError(f"{expected}. Received: labels {label}")
    count = len(classes)
    return stream_of(
        dataset, classes, size, lambda _, number: f"example {number} of dataset has a label outside of [0, {count})"
    )


def stream_of(
    dataset: tf.data.Dataset, classes: Sequence[str], size: int | None, explain: Callable[[str, int], str]
) -> Split:
    """The split of a dataset whose examples have the form that `from_dataset` asks for.

    Args:
        dataset, classes, size: as in `from_dataset`.
        explain: as in `Stream`.

    Raises:
        ValueError: the dataset has no examples, has them only once, or is infinite.
        TypeError: `size` is not an integer.
    """
    image = dataset.element_spec[0]
    width = image.shape.num_elements()
    cardinality = int(dataset.cardinality())
    if size is None and cardinality == tf.data.INFINITE_CARDINALITY:
        raise ValueError(
            "dataset must be finite: leave out `repeat()`, training repeats it. Received: an infinite dataset"
        )
    is_counted = size is None and cardinality < 0
    if is_counted:
        size = int(dataset.reduce(np.int64(0), lambda count, _: count + 1))
    size = cardinality if size is None else size
    if not size:
        raise ValueError("dataset must have at least one example. Received: an empty dataset")
    integer("size", size)
    if is_counted or not width:
        first = next(iter(dataset), None)
        if first is None:
            raise ValueError(
                "dataset must give its examples in each iteration. Received: a dataset that gives none in the second "
                "one; if it reads a generator, give a function that makes a new generator for each iteration"
            )
        width = int(tf.size(first[0]))
    count = len(classes)

    def parse(raw: tuple[tf.Tensor, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
        return raw[0], in_range(tf.cast(raw[1], tf.int64), count)

    records = Stream(("",), (size,), lambda _: dataset, parse, explain, width, np.arange(size))
    return make(records, classes, image.shape[-1], "stop")


def _stratified(labels: np.ndarray, share: float, seed: int) -> np.ndarray:
    """Draws a fraction of each class; returns booleans (N,), True for an image that is held out."""
    held = np.zeros(len(labels), bool)
    for label in np.unique(labels):
        shuffled = np.random.default_rng([seed, label]).permutation(np.flatnonzero(labels == label))
        held[shuffled[: min(max(round(share * len(shuffled)), 1), len(shuffled) - 1)]] = True
    return held


def _why_unreadable(name: bytes) -> str:
    file = Path(os.fsdecode(name))
    try:
        read_image(file, 3)
    except ValueError as reason:
        return str(reason)
    return f"{printable(file)} could not be read by the pipeline, and can be read now"
