"""`Split`: the labelled images of one split of a data set, from any source."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import tensorflow as tf

from keras_resnet._internal.validation import integer, number
from keras_resnet.data.corrupt import CorruptRecords, in_python, map_or_report
from keras_resnet.data.decode import decode
from keras_resnet.data.records import Indexed, Records, Stream


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
        return self._rows(self._pixels(finish), lambda number, image, label: (image, label))

    def numbered(self, finish: Callable[[tf.Tensor], tf.Tensor]) -> tf.data.Dataset:
        """`read` with the number of each image, an index into `files`.

        Args:
            finish: function from an image, uint8 (H, W, C), to the changed image.

        Returns:
            A dataset of (int64 number, changed image, int64 label).
        """
        return self._rows(self._pixels(finish), lambda number, image, label: (number, image, label))

    def stored(self, change: Callable[[tf.Tensor], tf.Tensor]) -> tf.data.Dataset:
        """`numbered` for what is stored: images are not decoded before the change.

        Args:
            change: function from the bytes of an image file, or from pixels, uint8 (H, W, C), where those are stored.

        Returns:
            A dataset of (int64 number, what `change` returns, int64 label).
        """
        return self._rows(change, lambda number, content, label: (number, content, label))

    def _pixels(self, finish: Callable[[tf.Tensor], tf.Tensor]) -> Callable[[tf.Tensor], tf.Tensor]:
        return lambda content: finish(image_of(content, self.channels))

    def _rows(self, change: Callable[[tf.Tensor], tf.Tensor], choose: Callable[..., Any]) -> tf.data.Dataset:
        rows = self.corrupt_records.read(*_in_order(self.records, change))
        if self.corrupt_records.on_corrupt == "skip":
            return rows.filter(lambda readable, _: readable).map(lambda _, row: choose(*row))
        # The size is set because Keras warns about a dataset of unknown size.
        return rows.map(lambda _, row: choose(*row)).apply(tf.data.experimental.assert_cardinality(self.size))

    def names_of(self, numbers: np.ndarray) -> tuple[str, ...]:
        """The names of the images with these numbers: their files, or the numbers if they are not single files."""
        return tuple(self.files[number] for number in numbers) if self.files else tuple(map(str, numbers.tolist()))

    def numbers_of(self, names: Sequence[str]) -> np.ndarray:
        """The numbers of the images with these names, integers (N,): the inverse of `names_of`."""
        places = {file: number for number, file in enumerate(self.files)}
        return np.array([places[name] if places else int(name) for name in names], "int64")

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
        return self.part(np.flatnonzero(~held)), self.part(np.flatnonzero(held))

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
        return self.part(np.arange(index, self.size, count))

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

    def part(self, numbers: np.ndarray) -> Split:
        """The images with these numbers. Images of folders and arrays may be in any order and repeated.

        Raises:
            ValueError: a number is not an integer from 0 to `size` - 1.
        """
        numbers = np.asarray(numbers)
        if numbers.size and not (numbers.dtype.kind in "iu" and numbers.min() >= 0 and numbers.max() < self.size):
            raise ValueError(f"numbers must be integers from 0 to {self.size - 1}. Received: {numbers!r:.200}")
        numbers = numbers.astype(np.int64)  # an empty list has no integers
        files = tuple(self.files[number] for number in numbers) if self.files else ()
        records = self.records.select(numbers)
        corrupt_records = CorruptRecords(self.corrupt_records.on_corrupt, records.describe, self.corrupt_records)
        return dataclasses.replace(self, records=records, files=files, corrupt_records=corrupt_records)


def _in_order(records: Records, finish: Callable[[tf.Tensor], tf.Tensor]) -> tuple[tf.data.Dataset, Callable[..., Any]]:
    """For `CorruptRecords.read`: rows (number, number, raw) of all records in order, and a function to read a row."""

    def read(_: tf.Tensor, number: tf.Tensor, raw: Any) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        content, label = records.read(raw)
        return number, finish(content), label

    return records.in_order().map(lambda number, raw: (number, number, raw)), read


def image_of(content: tf.Tensor, channels: int) -> tf.Tensor:
    """The pixels, uint8 (H, W, C), of `content`, which is pixels, or the bytes of a file that are decoded here."""
    return decode(content, channels) if content.dtype == tf.string else content


def _stratified(labels: np.ndarray, share: float, seed: int) -> np.ndarray:
    """Draws a fraction of each class; returns booleans (N,), True for an image that is held out."""
    held = np.zeros(len(labels), bool)
    for label in np.unique(labels):
        shuffled = np.random.default_rng([seed, label]).permutation(np.flatnonzero(labels == label))
        held[shuffled[: min(max(round(share * len(shuffled)), 1), len(shuffled) - 1)]] = True
    return held
