"""Sources of labelled images: `load("digits", "train")`, `load("folder:photos", "test")` and others."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from keras_resnet._internal.validation import one_of
from keras_resnet.data import folders, framing, idx, tfrecords
from keras_resnet.data.constructors import from_arrays, from_files, make
from keras_resnet.data.corrupt import ON_CORRUPT
from keras_resnet.data.records import in_range
from keras_resnet.data.split import Split

SPLITS = ("train", "val", "test")
# Some data sets, for example ImageNet, publish labels of the validation split, and none of the test split.
TFDS_SPLITS = {"train": ("train",), "val": ("validation", "val"), "test": ("test", "validation", "val")}
ALL = "all"  # for a folder or a glob that is one split itself


def load(source: str, split: str, *, on_corrupt: str = "stop") -> Split:
    """Opens a split of a data set.

    Args:
        source: one of
            "digits": scikit-learn's 1,797 handwritten digits.
            "idx:DIR": a directory of files in MNIST's format.
            "tfds:NAME": a data set of TensorFlow Datasets.
            "folder:DIR": a directory with one folder for each class, in DIR itself or in the folders train, val and
            test in it; `keras_resnet.data.folders` lists the names that such folders can have.
            "tfrecord:PATTERN": TFRecord files with the features `image/encoded` and `image/class/label`. PATTERN is a
            directory whose files have `train`, `validation`, `val` or `test` in their names; or a glob with `{split}`
            in place of these words; or, for the split "all", a glob without `{split}`.
            `keras_resnet.data.tfrecords` explains how the classes get their names.
        split: "train", "val", "test" or "all". "test" is `val` if the source has no other test images, as ImageNet.
            "all" is every image of a folder of classes or of a glob, in a fixed order.
        on_corrupt: what to do about an image that cannot be read. "stop" (default) raises an error that names it.
            "skip" continues without it, writes a warning to the log `keras_resnet.data`, and adds it to
            `Split.skipped`.

    Returns:
        A `Split`.

    Raises:
        ValueError: `source` or `split` has another value, or the source cannot be read.

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
        hint = f"; type folder:{source}" if source and _is_directory(source) else ""
        raise ValueError(
            f"data must be digits, idx:DIR, tfds:NAME, folder:DIR or tfrecord:PATTERN. Received: {source!r}{hint}"
        )
    if split == ALL and kind not in ("folder", "tfrecord"):
        raise ValueError(
            "split must be 'train' or 'test' for this source; 'all' is for folder:DIR and tfrecord:PATTERN. "
            f"Received: split={split!r}, source={source!r}"
        )
    if split == "val" and kind in ("digits", "idx"):
        raise ValueError(
            "split must be 'train' or 'test' for this source, which has no validation images; "
            f"hold some out of 'train' with `Split.hold_out`. Received: split={split!r}, source={source!r}"
        )
    try:
        return SOURCES[kind](where, split, on_corrupt)
    except OSError as error:
        raise ValueError(f"data: cannot read {source}: {error}") from error


def splits_of(source: str) -> tuple[str, ...]:
    """The splits that a source has: "val" only if it is not the same as "test"; ("all",) for a glob of one split.

    Args:
        source: as in `load`.

    Raises:
        ValueError: the source cannot be read.

    Example:
        >>> from keras_resnet.data.sources import splits_of
        >>> splits_of("digits")
        ('train', 'test')
    """
    kind, _, where = source.partition(":")
    try:
        if kind == "tfrecord" and tfrecords.is_one_split(where):
            return (ALL,)
        found = PLACES_OF_SPLITS.get(kind, lambda where: dict.fromkeys(("train", "test"), True))(where)
    except (OSError, RuntimeError) as error:  # RuntimeError: no home directory for "~"
        raise ValueError(f"data: cannot read {source}: {error}") from error
    if found.get("val") and found.get("test") in (None, found["val"]):
        found["test"] = found.pop("val")
    return tuple(name for name in SPLITS if found.get(name))


def load_splits(source: str, *, on_corrupt: str = "stop") -> dict[str, Split]:
    """The splits for a training: "train", "test", and "val" if the source has one.

    Args:
        source, on_corrupt: as in `load`.

    Raises:
        ValueError: as in `load`.
    """
    names = ("train", "val", "test") if "val" in splits_of(source) else ("train", "test")
    return {name: load(source, name, on_corrupt=on_corrupt) for name in names}


def load_unlabelled(directory: str, *, on_corrupt: str = "stop") -> Split:
    """All images below a directory, without classes: each label is -1, and `Split.classes` is ().

    Args:
        directory: path of the directory.
        on_corrupt: as in `load`.

    Raises:
        ValueError: it is no directory, or has no images.
    """
    if not _is_directory(directory):
        raise ValueError(
            "data must be a directory of images, or digits, idx:DIR, tfds:NAME, folder:DIR or tfrecord:PATTERN. "
            f"Received: {directory!r}"
        )
    files = folders.images_below(Path(directory).expanduser())
    return from_files(files, [-1] * len(files), (), on_corrupt)


def class_indices(names: Sequence[str], known: Sequence[tuple[str, ...]]) -> list[int]:
    """Finds the classes of a data set among the classes of a model.

    An exact match of a name comes first. Without one, case is ignored and an underscore equals a space.

    Args:
        names: names of the data set's classes, for example `Split.classes`.
        known: for each class of the model all its names, for example `keras_resnet.classes.imagenet_classes()`.

    Returns:
        For each of `names` an index into `known`.

    Raises:
        ValueError: a name matches no class or several classes of the model, or two names match the same class.

    Example:
        >>> from keras_resnet.data.sources import class_indices
        >>> class_indices(["Golden_retriever", "n01"], [("n01", "tench"), ("n02", "golden retriever")])
        [1, 0]
    """
    exact, folded = _by_name(known, str), _by_name(known, _folded)
    matches = [exact.get(name) or folded.get(_folded(name), []) for name in names]
    if unknown := [name for name, indices in zip(names, matches) if not indices]:
        more = f" and {len(unknown) - 5} more" if len(unknown) > 5 else ""
        raise ValueError(
            f"data must have only classes of the model. Received: {', '.join(map(repr, unknown[:5]))}{more}, which the "
            "model does not have"
        )
    name_of_index: dict[int, str] = {}
    for name, indices in zip(names, matches):
        if len(indices) > 1:
            matching = " and ".join(f"{index} {known[index]}" for index in indices)
            raise ValueError(
                "data must have class names that each match one class of the model; use another name of the class. "
                f"Received: {name!r}, which matches {matching}"
            )
        if indices[0] in name_of_index:
            raise ValueError(
                "data must have each class of the model at most once. "
                f"Received: {name_of_index[indices[0]]!r} and {name!r}, which both are {known[indices[0]]}"
            )
        name_of_index[indices[0]] = name
    return list(name_of_index)


def renamed(split: Split, known: Sequence[tuple[str, ...]]) -> Split:
    """The split with the first names that a model has for its classes, if the model knows all of them."""
    try:
        indices = class_indices(split.classes, known)
    except ValueError:
        return split
    return dataclasses.replace(split, classes=tuple(known[index][0] for index in indices))


def _is_directory(path: str) -> bool:
    try:
        return Path(path).expanduser().is_dir()
    except (OSError, RuntimeError):  # a name that is too long, or "~" of an unknown user
        return False


def _by_name(known: Sequence[tuple[str, ...]], form: Callable[[str], str]) -> dict[str, list[int]]:
    """For each name, changed by `form`, the indices of the classes that have it."""
    indices: dict[str, list[int]] = {}
    for index, aliases in enumerate(known):
        for alias in {form(alias) for alias in aliases}:
            indices.setdefault(alias, []).append(index)
    return indices


def _folded(name: str) -> str:
    return name.replace("_", " ").casefold()


def _digits(_: str, split: str, __: str) -> Split:
    from sklearn.datasets import load_digits  # noqa: PLC0415
    from sklearn.model_selection import train_test_split  # noqa: PLC0415

    bunch = load_digits()
    # The test split is a fixed, stratified fifth: the accuracies of different runs are measured on the same images.
    parts = train_test_split(bunch.images, bunch.target, test_size=360, stratify=bunch.target, random_state=0)
    images, labels = parts[("train", "test").index(split) :: 2]
    return from_arrays((images * 255 / 16).astype("uint8")[..., None], labels, tuple(map(str, bunch.target_names)))


def _idx(where: str, split: str, _: str) -> Split:
    directory = Path(where).expanduser()
    images, labels = idx.read_idx(directory, split)
    return from_arrays(images[..., None], labels, idx.classes(directory, labels))


def _folder(where: str, split: str, on_corrupt: str) -> Split:
    return from_files(*folders.scan(Path(where).expanduser(), split), on_corrupt)


def _places_in_folder(where: str) -> dict[str, Any]:
    directory = Path(where).expanduser()
    return dict(folders.split_folders(directory)) or dict.fromkeys(("train", "test"), directory)


def _labelled_splits(where: str) -> dict[str, Any]:
    builder = tfds_builder(where)
    return {split: _labelled_split(builder, split) for split in TFDS_SPLITS}


def _tfrecord(where: str, split: str, on_corrupt: str) -> Split:
    shards, label_shards = tfrecords.find(where, split)
    labels = tfrecords.labels(shards[0].parent, label_shards)
    counts = tuple(map(framing.count, shards))
    records = tfrecords.stream(tuple(map(str, shards)), counts, tfrecords.parser(labels), tfrecords.explainer(labels))
    return make(records, labels.classes, 3, on_corrupt)


def _tfds(where: str, split: str, on_corrupt: str) -> Split:
    import tensorflow_datasets as tfds  # noqa: PLC0415

    builder = tfds_builder(where)
    labelled = _labelled_split(builder, split)
    features = builder.info.features
    if labelled is None or builder.info.supervised_keys is None or "label" not in features:
        raise ValueError(
            f"data: tfds:{where} must have images with labels in one of the splits {', '.join(TFDS_SPLITS[split])}. "
            f"Received: splits {list(builder.info.splits)}, features {list(features)}"
        )
    image, count = features["image"], features["label"].num_classes
    if image.np_dtype != np.uint8 or image.shape[-1] not in (1, 3):
        raise ValueError(
            f"data: tfds:{where} must have uint8 images of 1 or 3 channels. Received: {image.shape}, {image.np_dtype}"
        )
    # Files are read, instead of `as_dataset`: so images that training skips are not decoded.
    info = builder.info.splits[labelled]
    shards = tuple(map(str, info.filepaths))
    as_bytes = {"image": tfds.decode.SkipDecoding()}

    def parse(record: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        example = features.deserialize_example(record, decoders=as_bytes)
        return example["image"], in_range(tf.cast(example["label"], tf.int64), count)

    records = tfrecords.stream(
        shards, tuple(info.shard_lengths), parse, lambda shard, number: f"{shard}: record {number} cannot be read"
    )
    return make(records, features["label"].names, image.shape[-1], on_corrupt)


def tfds_builder(name: str) -> Any:
    """The prepared TensorFlow data set of this name."""
    import tensorflow_datasets as tfds  # noqa: PLC0415

    try:
        builder = tfds.builder(name)
        builder.download_and_prepare()
    except Exception as error:
        raise ValueError(f"data: cannot prepare the TensorFlow data set {name!r}: {error}") from error
    return builder


def _labelled_split(builder: Any, split: str) -> str | None:
    """The name that a TensorFlow data set has for a split; None if it has none with labels."""
    names = (name for name in TFDS_SPLITS[split] if name in builder.info.splits)
    return next((name for name in names if _has_labels(builder, name)), None)


def _has_labels(builder: Any, split: str) -> bool:
    """Whether the labels of a split are known. In ImageNet's test split all labels are -1."""
    if builder.info.supervised_keys is None or "label" not in builder.info.features:
        return True  # the caller raises an error for this
    first = next(iter(builder.as_dataset(split=f"{split}[:1]").as_numpy_iterator()), {"label": 0})
    return first["label"] >= 0


SOURCES: dict[str, Callable[[str, str, str], Split]] = {  # (where, split, on_corrupt)
    "digits": _digits,
    "idx": _idx,
    "tfds": _tfds,
    "folder": _folder,
    "tfrecord": _tfrecord,
}
# By kind of source, a function from what follows the kind to the splits, each with its folder, name or shards. "test"
# may be the same as "val". Other kinds have "train" and "test".
PLACES_OF_SPLITS: dict[str, Callable[[str], dict[str, Any]]] = {
    "folder": _places_in_folder,
    "tfrecord": tfrecords.shards_of_splits,
    "tfds": _labelled_splits,
}
