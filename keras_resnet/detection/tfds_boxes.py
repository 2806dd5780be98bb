"""Annotated images of TensorFlow Datasets, for example `voc/2007` and `coco/2017`."""

from __future__ import annotations

import functools
import itertools
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from keras_resnet.data.constructors import make
from keras_resnet.data.corrupt import CORES, LOGGER
from keras_resnet.data.framing import frames
from keras_resnet.data.records import Indexed
from keras_resnet.data.sources import TFDS_SPLITS, tfds_builder
from keras_resnet.data.tfrecords import open_shard
from keras_resnet.detection.annotations import AnnotatedSplit
from keras_resnet.detection.class_names import labels_of
from keras_resnet.detection.upright_boxes import Annotation, annotated_split, objects_of

CHECKED = 64  # examples of which one must have an object: COCO publishes the test images without any
ONE_BASED = ("voc",)  # data sets whose boxes are pixels of VOC, counted from 1, over the sides of the image


def load_tfds(name: str, split: str, classes: Sequence[str] | None, on_corrupt: str) -> AnnotatedSplit:
    """A split of a TensorFlow data set with boxes.

    The boxes and the places of all records are read once; then images are read from the files in any order.

    Args:
        name: name of a data set with the features `image` and `objects`, of which each has a `bbox` and a `label`.
        split: "train", "val" or "test"; "test" is `validation` if there are no other images with objects.
        classes: names of the classes, in the order of labels; None: those of the data set.
        on_corrupt: "stop" or "skip", for records and images that cannot be read.

    Raises:
        ValueError: the data set cannot be prepared, has no boxes, or has damaged records.
    """
    builder = tfds_builder(name)
    features = builder.info.features
    kinds = getattr(features["objects"], "feature", {}) if "objects" in features else {}
    if "image" not in features or not {"bbox", "label"} <= set(kinds):
        raise ValueError(
            f"data: tfds:{name} must have the features image and objects, with bbox and label. "
            f"Received: {list(features)}"
        )
    if builder.info.file_format.value != "tfrecord":  # whose records can be found and read in any order
        raise ValueError(
            f"data: tfds:{name} must be stored in TFRecord files. Received: {builder.info.file_format.value}"
        )
    names = kinds["label"].names
    classes = classes or tuple(names)
    labels = np.array(labels_of(names, classes, f"data: tfds:{name}"))
    read = functools.partial(_example, features)
    shards = _shards(builder, split, read)
    places, annotations, ids, damaged = [], [], [], []
    for shard, count in shards:
        found = list(itertools.islice(frames(Path(shard)), count))
        sound = set()
        for number, example in _examples(shard, count, read):
            sound.add(number)
            objects = objects_of(
                example["boxes"][:, [1, 0, 3, 2]], labels[example["labels"]], example["difficult"], example["crowd"]
            )
            annotations.append(Annotation(objects, (0, 0)))
            places.append(os.fsencode(f"{found[number].offset} {found[number].length} {shard}"))
            ids.append(int(example["id"]) if isinstance(example["id"], np.integer) else example["id"].decode())
        damaged += [f"{shard}: record {number} is damaged" for number in range(count) if number not in sound]
    if damaged and on_corrupt == "stop":
        raise ValueError(f"data: {damaged[0]}")
    for reason in damaged:
        LOGGER.warning("skipped: %s", reason)
    parse = {"image": _as_bytes()}
    records = Indexed(
        np.array(places),
        np.full(len(places), -1, "int64"),
        lambda place: features.deserialize_example(_record_at(place), decoders=parse)["image"],
        _why_unreadable,
    )
    return annotated_split(
        f"tfds:{name}, {split}",
        make(records, (), features["image"].shape[-1], on_corrupt),
        annotations,
        classes,
        ids,
        to_pixels=functools.partial(_pixels, 1.0 if builder.name in ONE_BASED else 0.0),
        damaged=damaged,
    )


def _shards(builder: Any, split: str, read: Callable[[tf.Tensor], Any]) -> list[tuple[str, int]]:
    """The files of a split that has objects, each with the number of its records."""
    for name in TFDS_SPLITS.get(split, (split,)):
        if name in builder.info.splits:
            info = builder.info.splits[name]
            shards = [(str(path), count) for path, count in zip(info.filepaths, info.shard_lengths)]
            first = itertools.islice(_examples(*shards[0], read), CHECKED)
            if any(len(example["labels"]) for _, example in first):
                return shards
    raise ValueError(
        f"split must be one of the data set that has objects. Received: split={split!r}; tfds:{builder.name} has "
        f"{', '.join(builder.info.splits)}"
    )


def _examples(shard: str, count: int, read: Callable[[tf.Tensor], Any]) -> Any:
    """The sound records of a file: pairs of a number and a dict of arrays."""
    records = open_shard(tf.constant(shard)).take(count).enumerate().filter(lambda _, record: record != "")
    return records.map(lambda number, record: (number, read(record)), CORES).as_numpy_iterator()


def _example(features: Any, record: tf.Tensor) -> dict[str, tf.Tensor]:
    """The objects of a record, without the pixels."""
    example = features.deserialize_example(record, decoders={"image": _as_bytes()})
    objects = example["objects"]
    none = tf.zeros_like(objects["label"], tf.bool)
    return {
        "boxes": objects["bbox"],
        "labels": objects["label"],
        "difficult": objects.get("is_difficult", none),
        "crowd": objects.get("is_crowd", none),
        "id": example.get("image/id", example.get("image/filename", tf.constant(""))),
    }


def _as_bytes() -> Any:
    import tensorflow_datasets as tfds  # noqa: PLC0415

    return tfds.decode.SkipDecoding()


def _pixels(first: float, boxes: np.ndarray, sides: np.ndarray) -> np.ndarray:
    """Boxes of fractions as boxes of pixels.

    Args:
        first: number of the first pixel of a row, 0 or 1.
        boxes: left, top, right and bottom, from 0 to 1, (n, 4).
        sides: height and width of the image.
    """
    return boxes * np.tile(sides[::-1], 2) - [first, first, 0, 0]


def _record_at(place: tf.Tensor) -> tf.Tensor:
    """The record at a place: number of the first byte, number of bytes, and name of the file."""
    return tf.ensure_shape(tf.numpy_function(_read, [place], tf.string), ())


def _read(place: bytes) -> bytes:
    offset, length, shard = place.split(b" ", 2)
    with Path(os.fsdecode(shard)).open("rb") as file:
        return os.pread(file.fileno(), int(length), int(offset))


def _why_unreadable(place: bytes) -> str:
    offset, _, shard = place.split(b" ", 2)
    return f"{os.fsdecode(shard)}: the image of the record at byte {int(offset)} cannot be read"
