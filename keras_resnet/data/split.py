"""`Split`: labelled images of one split of a data set, wherever they come from; and those of the caller's own."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from keras_resnet._internal.validation import integer, number
from keras_resnet.data.corrupt import Damage, guarded, in_python
from keras_resnet.data.decode import decode, read_image
from keras_resnet.data.records import Indexed, Records, Stream, in_range


@dataclasses.dataclass(frozen=True)
class Split:
    """Labelled images of one split; made by `load`, `from_arrays`, `from_dataset` and `hold_out`.

    Attributes:
        records: what they are read from.
        classes: names; a label is an index into them.
        channels: 1 or 3, of every image.
        files: those of the images, in order, where each has one; else ().
        damage: what was found broken so far.
    """

    records: Records
    classes: tuple[str, ...]
    channels: int
    files: tuple[str, ...]
    damage: Damage

    @property
    def size(self) -> int:
        """How many images there are, corrupt ones among them."""
        return self.records.size

    @property
    def skipped(self) -> tuple[str, ...]:
        """What was wrong with each image skipped so far, here or in a part, beginning with its file's name; sorted."""
        return tuple(sorted(self.damage.skipped))

    @property
    def examples(self) -> tf.data.Dataset:
        """(uint8 (H, W, C), int64 label) of each image, in a fixed order; corrupt ones left out, or stopped at."""
        return self.read(lambda image: image)

    def read(self, finish: Callable[[tf.Tensor], tf.Tensor]) -> tf.data.Dataset:
        """`examples`, with a function that makes each image into another in the same parallel step."""

        found = self.damage.read(*_in_order(self.records, lambda content: finish(image_of(content, self.channels))))
        if self.damage.on_corrupt == "skip":
            return found.filter(lambda sound, _: sound).map(lambda _, example: example)
        # Said, because Keras warns where the size of a dataset is not known.
        return found.map(lambda _, example: example).apply(tf.data.experimental.assert_cardinality(self.size))

    def unreadable(self) -> list[str]:
        """What is wrong with the images whose reading was begun and not finished, read again one by one."""
        numbers = self.damage.unfinished
        if isinstance(self.records, Stream):
            numbers = np.flatnonzero(np.isin(self.records.kept, numbers))
        records, found = self.records.select(numbers), dict[int, str]()

        def report(number: np.ndarray) -> np.bool_:
            found[int(number)] = records.describe(int(number))
            return np.bool_(False)

        # An error that is not an image's comes again, and is not for this to explain.
        with contextlib.suppress(tf.errors.OpError):
            for _ in guarded(*_in_order(records, lambda content: image_of(content, self.channels)), in_python(report)):
                pass
        return [reason for _, reason in sorted(found.items())]

    def hold_out(self, share: float, seed: int = 0) -> tuple[Split, Split]:
        """Holds out a part, for choosing by it what the test split must not choose.

        Where labels are known (images in memory, folders) the same share of each class is drawn, at least one image
        of each that has two or more; of a stream every k-th record is taken.

        Args:
            share: of the images, in (0, 1).
            seed: of the draw.

        Returns:
            The rest and the part held out, each in the order of the whole.

        Raises:
            ValueError: `share` is not in (0, 1), or one of the two would be empty.

        Example:
            >>> import keras_resnet as kr
            >>> rest, held = kr.data.load("digits", "train").hold_out(0.2)
            >>> rest.size, held.size
            (1150, 287)
        """
        number("share", share, "(0, 1)")
        integer("seed", seed, minimum=0)
        if isinstance(self.records, Indexed):
            held = _of_each_class(self.records.labels, share, seed)
        else:
            part = Fraction(share).limit_denominator(1000)
            held = (np.arange(self.size) + seed) * part.numerator % part.denominator < part.numerator
        if held.all() or not held.any():
            raise ValueError(f"share must leave images in both parts of {self.size}. Received: share={share!r}")
        return self._part(np.flatnonzero(~held)), self._part(np.flatnonzero(held))

    def shard(self, index: int, count: int) -> Split:
        """Every `count`-th image from number `index` on: one of `count` parts that hold each image once.

        Example:
            >>> import keras_resnet as kr
            >>> [kr.data.load("digits", "test").shard(process, 2).size for process in (0, 1)]
            [180, 180]
        """
        return self if count == 1 else self._part(np.arange(integer("index", index, 0), self.size, count))

    def _part(self, numbers: np.ndarray) -> Split:
        files = tuple(self.files[number] for number in numbers) if self.files else ()
        records = self.records.select(numbers)
        damage = Damage(self.damage.on_corrupt, records.describe, self.damage)
        return dataclasses.replace(self, records=records, files=files, damage=damage)


def make(
    records: Records, classes: Sequence[str], channels: int, on_corrupt: str, files: tuple[str, ...] = ()
) -> Split:
    """A split of records of any kind."""
    return Split(records, tuple(classes), channels, files, Damage(on_corrupt, records.describe))


def _in_order(records: Records, finish: Callable[[tf.Tensor], tf.Tensor]) -> tuple[tf.data.Dataset, Callable[..., Any]]:
    """Rows of records, and the function that reads one."""

    def read(_: tf.Tensor, __: tf.Tensor, raw: Any) -> tuple[tf.Tensor, tf.Tensor]:
        content, label = records.read(raw)
        return finish(content), label

    return records.in_order().map(lambda number, raw: (number, number, raw)), read


def image_of(content: tf.Tensor, channels: int) -> tf.Tensor:
    """The pixels, uint8 (H, W, C), of an image or of the bytes of its file."""
    return decode(content, channels) if content.dtype == tf.string else content


def from_arrays(images: np.ndarray, labels: np.ndarray, classes: Sequence[str]) -> Split:
    """A split of images in memory.

    Args:
        images: uint8 (N, H, W, C).
        labels: integers (N), indices into `classes`.
        classes: their names.

    Returns:
        A `Split`.

    Raises:
        ValueError: `images` are not uint8 or of another shape, or `labels` are no integers, too few or out of range.

    Example:
        >>> import numpy as np, keras_resnet as kr
        >>> kr.data.from_arrays(np.zeros((4, 32, 32, 3), "uint8"), np.array([0, 1, 0, 1]), ("cat", "dog")).size
        4
    """
    images, labels = np.asarray(images), np.asarray(labels)
    if images.dtype != np.uint8:
        raise ValueError(f"images must be uint8, from 0 to 255. Received: {images.dtype}")
    if images.ndim != 4 or 0 in images.shape:
        raise ValueError(f"images must have the shape (N, H, W, C), none of them 0. Received: {images.shape}")
    if labels.shape != images.shape[:1]:
        raise ValueError(f"labels must be one for each of {len(images)} images. Received: shape {labels.shape}")
    whole = labels.astype("int64")
    if (whole != labels).any():
        raise ValueError(f"labels must be integers. Received: {labels.dtype}, {labels[whole != labels][0]} among them")
    if whole.min() < 0 or whole.max() >= len(classes):
        raise ValueError(
            f"labels must be in [0, {len(classes)}), indices into classes. Received: {whole.min()} to {whole.max()}"
        )
    records = Indexed(images, whole, lambda image: image, repr)
    return make(records, classes, images.shape[-1], "stop")


def from_files(files: Sequence[str], labels: Sequence[int], classes: Sequence[str], on_corrupt: str) -> Split:
    """A split of files of images, each with its label."""
    records = Indexed(np.array(files), np.array(labels, "int64"), tf.io.read_file, _what_is_wrong_with)
    return make(records, classes, 3, on_corrupt, tuple(files))


def from_dataset(dataset: tf.data.Dataset, classes: Sequence[str], size: int | None = None) -> Split:
    """A split of your own `tf.data.Dataset`.

    It must give the same examples in the same order each time that it is iterated over; shuffling, batching and
    augmentation are the pipelines' work. Resuming a training in mid-epoch passes over what was seen, which your
    dataset has to make again: `load` has sources that need not.

    Args:
        dataset: of (image, label): uint8 (H, W, C) with C known, of any height and width, and an integer scalar.
        classes: names; labels are indices into them.
        size: how many examples there are; None: as the dataset says, or, where it does not know, counted.

    Returns:
        A `Split`.

    Raises:
        ValueError: the examples are of another kind, or there are none.
        TypeError: `dataset` is no `tf.data.Dataset`, or `size` no integer.

    Example:
        >>> import numpy as np, tensorflow as tf, keras_resnet as kr
        >>> dataset = tf.data.Dataset.from_tensor_slices((np.zeros((4, 32, 32, 3), "uint8"), [0, 1, 0, 1]))
        >>> kr.data.from_dataset(dataset, ("cat", "dog")).size
        4
    """
    if not isinstance(dataset, tf.data.Dataset):
        raise TypeError(f"dataset must be a tf.data.Dataset. Received: {type(dataset).__name__}")
    spec: Any = dataset.element_spec
    wanted = "dataset must give pairs of an image, uint8 (H, W, C) with C known, and an integer label"
    if not (isinstance(spec, tuple) and len(spec) == 2 and all(isinstance(part, tf.TensorSpec) for part in spec)):
        raise ValueError(f"{wanted}. Received: {spec}")
    image, label = spec
    if image.dtype != tf.uint8 or image.shape.rank != 3 or not image.shape[-1]:
        raise ValueError(f"{wanted}. Received: images {image}")
    if not label.dtype.is_integer or label.shape.rank != 0:
        raise ValueError(f"{wanted}. Received: labels {label}")
    if size is None:
        known = int(dataset.cardinality())
        if known == tf.data.INFINITE_CARDINALITY:
            raise ValueError("dataset must end; training repeats it. Received: an endless one")
        counted = known if known >= 0 else int(dataset.reduce(np.int64(0), lambda count, _: count + 1))
        if not counted:
            raise ValueError("dataset must have at least one example. Received: an empty one")
        size = counted
    integer("size", size)
    count = len(classes)

    def parse(raw: tuple[tf.Tensor, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
        return raw[0], in_range(tf.cast(raw[1], tf.int64), count)

    def explain(_: str, number: int) -> str:
        return f"example {number} of dataset has a label outside of [0, {count})"

    width = image.shape.num_elements() or int(tf.size(next(iter(dataset))[0]))
    records = Stream(("",), (size,), lambda _: dataset, parse, explain, width, np.arange(size))
    return make(records, classes, image.shape[-1], "stop")


def _of_each_class(labels: np.ndarray, share: float, seed: int) -> np.ndarray:
    """Which images to hold out."""
    held = np.zeros(len(labels), bool)
    for label in np.unique(labels):
        of_class = np.random.default_rng([seed, label]).permutation(np.flatnonzero(labels == label))
        held[of_class[: min(max(round(share * len(of_class)), 1), len(of_class) - 1)]] = True
    return held


def _what_is_wrong_with(file: str) -> str:
    try:
        read_image(Path(file), 3)
    except ValueError as reason:
        return str(reason)
    return f"{file} could not be read when it was met, and can be now"
