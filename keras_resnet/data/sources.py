"""Sources: where labelled images come from. `load("digits", "train")`, `load("folder:photos", "test")` ..."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from keras_resnet._internal.validation import one_of
from keras_resnet.data import folders, idx, tfrecords
from keras_resnet.data.corrupt import ON_CORRUPT
from keras_resnet.data.records import in_range
from keras_resnet.data.split import Split, from_arrays, from_files, make

SPLITS = ("train", "test")
ALL = "all"  # of a folder or a glob that is itself one split


def load(source: str, split: str, *, on_corrupt: str = "stop") -> Split:
    """Opens a split of a data set.

    Args:
        source: "digits" (scikit-learn's 1,797 handwritten digits), "idx:DIR" (files in MNIST's format),
            "tfds:NAME" (TensorFlow Datasets), "folder:DIR" (one folder a class), or "tfrecord:PATTERN" (files of
            examples with the features `image/encoded` and `image/class/label`): a directory whose files have `train`,
            and `test`, `validation` or `val`, in their names, or a glob with `{split}` in place of those, or, for
            "all", a glob without. How classes are named: `keras_resnet.data.tfrecords`.
        split: "train" or "test"; or "all": every image of a folder of classes or of a glob, in a fixed order.
        on_corrupt: what to do about an image that cannot be read: "stop" ends what is being done, with its name;
            "skip" goes on without it, says so in the log `keras_resnet.data` and lists it in `Split.skipped`.

    Returns:
        A `Split`.

    Raises:
        ValueError: no such source or split, or nothing readable there.

    Example:
        >>> import keras_resnet as kr
        >>> digits = kr.data.load("digits", "test")
        >>> digits.size, digits.classes[:3], digits.examples.element_spec[0].shape
        (360, ('0', '1', '2'), TensorShape([8, 8, 1]))
    """
    one_of("split", split, (*SPLITS, ALL))
    one_of("on_corrupt", on_corrupt, ON_CORRUPT)
    kind, _, where = source.partition(":")
    if kind not in SOURCES or bool(where) is (kind == "digits"):
        raise ValueError(
            f"data must be digits, idx:DIR, tfds:NAME, folder:DIR or tfrecord:PATTERN. Received: {source!r}"
        )
    if split == ALL and kind not in ("folder", "tfrecord"):
        raise ValueError(
            "split must be 'train' or 'test' here; 'all' is for folder:DIR and tfrecord:PATTERN. "
            f"Received: {split!r}, {source!r}"
        )
    try:
        return SOURCES[kind](where, split, on_corrupt)
    except OSError as error:
        raise ValueError(f"data: cannot read {source}: {error}") from error


def class_indices(names: Sequence[str], known: Sequence[tuple[str, ...]]) -> list[int]:
    """Finds a data set's classes among those of a model; case and underscores for spaces matter only between two.

    Args:
        names: of the data set's classes, such as `Split.classes`.
        known: for each class of the model all its names, such as `keras_resnet.classes.imagenet_classes()`.

    Returns:
        For each of `names` an index into `known`.

    Raises:
        ValueError: a name is not known, or is one of several classes, or two are of one.

    Example:
        >>> from keras_resnet.data.sources import class_indices
        >>> class_indices(["Golden_retriever", "n01"], [("n01", "tench"), ("n02", "golden retriever")])
        [1, 0]
    """
    exact, folded = _by_name(known, str), _by_name(known, _folded)
    indices = [exact.get(name) or folded.get(_folded(name), []) for name in names]
    if unknown := [name for name, found in zip(names, indices) if not found]:
        more = f" and {len(unknown) - 5} more" if len(unknown) > 5 else ""
        raise ValueError(
            f"data must have classes that the model knows. Received: {', '.join(map(repr, unknown[:5]))}{more}, which "
            "are not"
        )
    taken: dict[int, str] = {}
    for name, found in zip(names, indices):
        if len(found) > 1:
            fitting = " and ".join(f"{index} {known[index]}" for index in found)
            raise ValueError(f"data must have classes that each fit one. Received: {name!r}, which fits {fitting}")
        if found[0] in taken:
            raise ValueError(f"data must have each class once. Received: {taken[found[0]]!r} and {name!r}")
        taken[found[0]] = name
    return list(taken)


def _by_name(known: Sequence[tuple[str, ...]], form: Callable[[str], str]) -> dict[str, list[int]]:
    """The classes that have a name, in a form of it."""
    found: dict[str, list[int]] = {}
    for index, aliases in enumerate(known):
        for alias in {form(alias) for alias in aliases}:
            found.setdefault(alias, []).append(index)
    return found


def _folded(name: str) -> str:
    return name.replace("_", " ").casefold()


def _digits(_: str, split: str, __: str) -> Split:
    from sklearn.datasets import load_digits  # noqa: PLC0415
    from sklearn.model_selection import train_test_split  # noqa: PLC0415

    bunch = load_digits()
    # One fixed, stratified fifth is held out, so that figures of different runs are of the same images.
    parts = train_test_split(bunch.images, bunch.target, test_size=360, stratify=bunch.target, random_state=0)
    images, labels = parts[SPLITS.index(split) :: 2]
    return from_arrays((images * 255 / 16).astype("uint8")[..., None], labels, tuple(map(str, bunch.target_names)))


def _idx(where: str, split: str, _: str) -> Split:
    directory = Path(where).expanduser()
    images, labels = idx.read_idx(directory, split)
    return from_arrays(images[..., None], labels, idx.classes(directory, labels))


def _folder(where: str, split: str, on_corrupt: str) -> Split:
    return from_files(*folders.scan(Path(where).expanduser(), split), on_corrupt)


def _tfrecord(where: str, split: str, on_corrupt: str) -> Split:
    shards, names = tfrecords.find(where, split)
    labels = tfrecords.labels(shards[0].parent, names)
    counts = tuple(map(tfrecords.count, shards))
    records = tfrecords.stream(tuple(map(str, shards)), counts, tfrecords.parser(labels), tfrecords.explainer(labels))
    return make(records, labels.classes, 3, on_corrupt)


def _tfds(where: str, split: str, on_corrupt: str) -> Split:
    import tensorflow_datasets as tfds  # noqa: PLC0415

    try:
        builder = tfds.builder(where)
        builder.download_and_prepare()
    except Exception as error:
        raise ValueError(f"data: cannot prepare the TensorFlow data set {where!r}: {error}") from error
    # Some data sets, ImageNet the best known, publish the labels of their validation split only.
    names = {"train": ("train",), "test": ("test", "validation")}[split]
    found = [name for name in names if name in builder.info.splits and _has_labels(builder, name)]
    features = builder.info.features
    if not found or builder.info.supervised_keys is None or "label" not in features:
        raise ValueError(
            f"data: tfds:{where} must have images with labels in one of the splits {', '.join(names)}. "
            f"Received: splits {list(builder.info.splits)}, features {list(features)}"
        )
    image, count = features["image"], features["label"].num_classes
    if image.np_dtype != np.uint8 or image.shape[-1] not in (1, 3):
        raise ValueError(
            f"data: tfds:{where} must have uint8 images of 1 or 3 channels. Received: {image.shape}, {image.np_dtype}"
        )
    # Read as files, not by `as_dataset`, so that what training passes over is not decoded.
    info = builder.info.splits[found[0]]
    shards = tuple(map(str, info.filepaths))
    as_bytes = {"image": tfds.decode.SkipDecoding()}

    def parse(record: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        example = features.deserialize_example(record, decoders=as_bytes)
        return example["image"], in_range(tf.cast(example["label"], tf.int64), count)

    records = tfrecords.stream(
        shards, tuple(info.shard_lengths), parse, lambda shard, number: f"{shard}: record {number} cannot be read"
    )
    return make(records, features["label"].names, image.shape[-1], on_corrupt)


def _has_labels(builder: Any, split: str) -> bool:
    """Whether a split's labels are known: ImageNet's test split has -1 for all."""
    if builder.info.supervised_keys is None or "label" not in builder.info.features:
        return True  # and that will be said
    first = next(iter(builder.as_dataset(split=f"{split}[:1]").as_numpy_iterator()), {"label": 0})
    return first["label"] >= 0


SOURCES: dict[str, Callable[[str, str, str], Split]] = {  # (where, split, on_corrupt)
    "digits": _digits,
    "idx": _idx,
    "tfds": _tfds,
    "folder": _folder,
    "tfrecord": _tfrecord,
}
