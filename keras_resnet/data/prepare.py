"""`prepare`: photographs are turned upright and shrunk once, and written to TFRecord files that train quickly."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import tensorflow as tf

from keras_resnet._internal.atomic_files import atomic_write, writing
from keras_resnet._internal.exclusive import exclusive
from keras_resnet._internal.validation import directory as checked_directory
from keras_resnet._internal.validation import integer, printable
from keras_resnet.data import tfrecords
from keras_resnet.data.corrupt import name_corrupt_files
from keras_resnet.data.decode import decode, resize_shorter_side
from keras_resnet.data.prepared import ASKED, Prepared, stored_in
from keras_resnet.data.records import Indexed, Stream
from keras_resnet.data.sources import load, splits_of
from keras_resnet.data.split import Split

SHORTER_SIDE, QUALITY = 512, 92  # unless others are asked for
SHARD_BYTES = 100_000_000
LONGEST = 65_500  # pixels of a side that libjpeg encodes
FILES = ("folder", "tfrecord")  # sources that look for images in all of their directory
SEED = 0  # of the order of the images
LOCK = ".lock"  # hidden, as all files that are not part of the result


def prepare(
    source: str,
    directory: str | os.PathLike[str],
    *,
    shorter_side: int = SHORTER_SIDE,
    quality: int = QUALITY,
    on_corrupt: str = "stop",
    progress: Callable[[str, int, int], None] = lambda split, done, images: None,
) -> Prepared:
    """Writes the images of a data set to TFRecord files, large ones smaller, so that training decodes them quickly.

    An image with a shorter side of more than `shorter_side` pixels is turned upright, resized (bilinear, antialiased)
    and written as JPEG. All others keep their bytes, and so do the few whose longer side would still be too long for a
    JPEG; pixels in memory become PNG files. Files get about 100 MB. Train with `tfrecord:DIRECTORY`; splits and names
    of classes stay. As all TFRecord files, they are read with 3 channels.
    If the call is killed, the same call goes on after the last finished file; until then `load` refuses the directory.

    Args:
        source: where the images are, as in `load`.
        directory: directory to write; new, empty, or with an unfinished preparation of the same source. It must not be
            in the directory of the source, where it would be taken for images of a class.
        shorter_side: the shorter side, in pixels, to which larger images are shrunk, from 1 to 65,500. Twice the side
            of the network's images leaves room for random crops.
        quality: JPEG quality, from 1 to 100.
        on_corrupt: as in `load`; with "skip" the result lists the images that were left out.
        progress: called for each image with the split, the number of images that were read, and the number of all.

    Returns:
        What the directory holds.

    Raises:
        ValueError: an argument has another value; the directory holds something else, or another process prepares
            images in it; an image cannot be read; or a name of a class cannot be stored in a line of text.
        TypeError: `shorter_side` or `quality` is not an integer.
        OSError: a file cannot be written, for example on a full disk; the same call goes on later.

    Example:
        >>> import keras_resnet as kr
        >>> kr.data.prepare("folder:photos", "photos-512").images  # doctest: +SKIP
        {'train': 1600, 'test': 400}
        >>> train = kr.data.load("tfrecord:photos-512", "train")  # doctest: +SKIP
    """
    path = checked(source, directory, shorter_side, quality)
    splits = {name: load(source, name, on_corrupt=on_corrupt) for name in splits_of(source)}
    images, shards = {name: split.size for name, split in splits.items()}, {name: list[int]() for name in splits}
    new = Prepared(source, shorter_side, quality, images, _digest(splits), shards, [])
    _opened(path, new)  # a directory with something else is not even locked
    lines = _lines(next(iter(splits.values())).classes)
    change = functools.partial(shrunk, shorter_side=shorter_side, quality=quality)
    root = Path(source.partition(":")[2]).expanduser()
    with writing(path):
        path.mkdir(parents=True, exist_ok=True)
    with exclusive(path, "preparation", LOCK):
        state = _opened(path, new)
        for left in path.glob(".*.tfrecord"):  # by a call that was killed
            left.unlink()
        state.write(path)
        with atomic_write(path / tfrecords.LABEL_FILES[0]) as temporary:
            temporary.write_text(lines, encoding="utf-8")
        for name, split in splits.items():
            if state.read(name) < split.size:
                _write_split(path, state, name, split, change, root, functools.partial(progress, name))
    if len(state.skipped) == sum(images.values()):
        raise ValueError(
            "source must have images that can be read. "
            f"Received: {len(state.skipped):,} that cannot; the first: {state.skipped[0]}"
        )
    return state


def checked(source: str, directory: str | os.PathLike[str], shorter_side: int, quality: int) -> Path:
    """The directory as a path. Raises what `prepare` raises before it reads the source."""
    for name, value, most in (("shorter_side", shorter_side, LONGEST), ("quality", quality, 100)):
        if integer(name, value) > most:
            raise ValueError(f"{name} must be from 1 to {most:,}. Received: {name}={value}")
    path = checked_directory("directory", directory)
    kind, _, where = source.partition(":")
    with contextlib.suppress(OSError, RuntimeError):  # no such user, or a name that is too long: `load` says so
        if kind in FILES and path.resolve().is_relative_to(Path(where).expanduser().resolve()):
            raise ValueError(
                "directory must not be in the directory of the source. "
                f"Received: {printable(path)} in {printable(where)}"
            )
    return path


def shrunk(content: tf.Tensor, shorter_side: int, quality: int) -> tf.Tensor:
    """The bytes of an image file; those of a smaller upright JPEG if its shorter side is too long, and a JPEG can be.

    Args:
        content: scalar string, the bytes of an image file; or pixels, uint8 (H, W, C), which become a PNG file.
        shorter_side: the shorter side, in pixels, to which larger images are shrunk.
        quality: JPEG quality, from 1 to 100.

    Raises:
        tf.errors.InvalidArgumentError: the image cannot be decoded.
    """
    is_file = content.dtype == tf.string
    image = decode(content, 3) if is_file else content  # also to find out whether it can be read
    sides = tf.cast(tf.shape(image)[:2], tf.int64)
    shorter, longer = tf.reduce_min(sides), tf.reduce_max(sides)
    return tf.cond(
        (shorter > shorter_side) & (longer * shorter_side // shorter <= LONGEST),
        lambda: tf.io.encode_jpeg(resize_shorter_side(image, shorter_side), quality=quality, optimize_size=True),
        lambda: content if is_file else tf.io.encode_png(image),
    )


def _opened(path: Path, new: Prepared) -> Prepared:
    """The state of a preparation in this directory; `new` if there is none, or if no file of it is finished."""
    if not path.is_dir() or all(entry.name.startswith(".") for entry in path.iterdir()):
        return new
    stored = stored_in(path)
    if stored is None:
        raise ValueError(f"directory must be new or empty. Received: {printable(path)} with other files")
    if not any(stored.shards.values()):
        return new
    for name in ASKED:
        before, now = getattr(stored, name), getattr(new, name)
        if before != now:
            begun = f"with which {printable(path)} was begun; or choose another directory"
            if name in ("images", "names"):
                raise ValueError(f"source must have the images {begun}. Received: {new.source!r} with other images")
            raise ValueError(f"{name} must be {before!r}, {begun}. Received: {name}={now!r}")
    return stored


def _digest(splits: Mapping[str, Split]) -> str:
    """A digest of the names and sizes of all files, or else shards, in their order."""
    digest = hashlib.sha256()
    for split in splits.values():
        for name in split.files or (split.records.shards if isinstance(split.records, Stream) else ()):
            size = Path(name).stat().st_size if Path(name).is_file() else -1
            digest.update(b"%s\0%d\0" % (os.fsencode(name), size))
        digest.update(b"\0")
    return digest.hexdigest()


def _lines(classes: tuple[str, ...]) -> str:
    """The content of classes.txt, with numbers, because a name may itself look like a number and a name."""
    for name in classes:
        is_text = name.encode(errors="ignore").decode() == name
        if not is_text or name.splitlines() != [name.strip()]:
            raise ValueError(
                "data: the name of a class must be a line of UTF-8 that does not begin or end with a space. "
                f"Received: {name[:100]!r}"
            )
    return "".join(f"{label}:{name}\n" for label, name in enumerate(classes))


def _write_split(
    path: Path,
    state: Prepared,
    name: str,
    split: Split,
    change: Callable[[tf.Tensor], tf.Tensor],
    root: Path,
    progress: Callable[[int, int], None],
) -> None:
    """Writes the files of a split that are not finished."""
    order = np.arange(split.size)
    is_indexed = isinstance(split.records, Indexed)
    if is_indexed:
        # Folders are in the order of their classes; a training shuffles only some thousand records of a file.
        order = np.random.default_rng(SEED).permutation(split.size)
    start = state.read(name)
    rest = split.part(order[start:])
    first = start if is_indexed else 0  # a stream counts from its beginning
    rows = rest.stored(change).as_numpy_iterator()
    while state.read(name) < split.size:
        records, size, read = list[bytes](), 0, split.size  # the last images may be skipped
        with name_corrupt_files(rest):
            for number, content, label in rows:
                file = os.path.relpath(rest.files[number], root) if rest.files else ""
                records.append(_example(content, int(label), split.classes[label], file))
                size += len(records[-1])
                progress(first + int(number) + 1, split.size)
                if size >= SHARD_BYTES:
                    read = first + int(number) + 1
                    break
        _write_shard(path / f"{name}-{len(state.shards[name]):05}.tfrecord", records)
        state.shards[name].append(read)
        state.skipped = sorted({*state.skipped, *rest.skipped})
        state.write(path)


def _write_shard(path: Path, records: list[bytes]) -> None:
    # TensorFlow raises its own errors on a full disk.
    with (
        atomic_write(path) as temporary,
        writing(path, tf.errors.OpError),
        tf.io.TFRecordWriter(str(temporary)) as writer,
    ):
        for record in records:
            writer.write(record)


def _example(content: bytes, label: int, name: str, file: str) -> bytes:
    def feature(value: str | bytes) -> tf.train.Feature:
        coded = value if isinstance(value, bytes) else os.fsencode(value)
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=[coded]))

    features = {
        "image/encoded": feature(content),
        "image/class/label": tf.train.Feature(int64_list=tf.train.Int64List(value=[label])),
        "image/class/text": feature(name),
        "image/filename": feature(file),
    }
    # Without this the order of the features is another one in each process.
    return tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString(deterministic=True)
