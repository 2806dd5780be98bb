"""Annotations in the layout of PASCAL VOC: an XML file for each image."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree
from xml.parsers import expat

import numpy as np

from keras_resnet._internal.validation import printable
from keras_resnet.data.constructors import from_files
from keras_resnet.data.corrupt import LOGGER
from keras_resnet.data.folders import SUFFIXES
from keras_resnet.detection.annotations import AnnotatedSplit
from keras_resnet.detection.class_names import classes_in, labels_of
from keras_resnet.detection.upright_boxes import Annotation, annotated_split, objects_of

MOST_BYTES = 10_000_000  # of an annotation; a box takes 300
ALL = "all"
LISTS = "ImageSets/Main"
SIDES = ("xmin", "ymin", "xmax", "ymax")
FLAGS = {"": False, "0": False, "false": False, "1": True, "true": True}


class Read(NamedTuple):
    """What an XML file says.

    Attributes:
        file: the image.
        names: the classes of the objects.
        boxes: left, top, right and bottom as they are in the file, float (n, 4).
        difficult: which objects are hard to recognise.
        sides: height and width of the image; (0, 0) if the file does not say them.
    """

    file: str
    names: list[str]
    boxes: np.ndarray
    difficult: list[bool]
    sides: tuple[int, int]


def load_voc(directory: Path, split: str, classes: Sequence[str] | None, on_corrupt: str) -> AnnotatedSplit:
    """A split of a directory with the folders `Annotations`, `JPEGImages` and `ImageSets/Main`.

    PASCAL counts pixels from 1, and the last one is inside: xmin=1 and xmax=W is the whole image. So a box becomes
    (xmin - 1, ymin - 1, xmax, ymax), as in Detectron2. Its width is then xmax - xmin + 1, as in the evaluation of VOC's
    development kit. Boxes with xmin=xmax are made by a click without moving the mouse in programs for annotation: they
    have no area, and are dropped.

    Args:
        directory: path of the directory.
        split: the name of a file in `ImageSets/Main`, without its suffix; "test" is `val` if there is no `test`. "all"
            is each file in `Annotations`.
        classes: names of the classes; None: those in `classes.txt` in the directory, or else all names in the
            annotations, sorted, which gives VOC's own order.
        on_corrupt: "stop" or "skip", for images and annotations that are missing or cannot be read.

    Raises:
        ValueError: something is missing or damaged, or an annotation has another class.
    """
    stems = _stems(directory, split)
    images = _images(directory / "JPEGImages")
    classes = classes or classes_in(directory) or _names_in(directory)
    files, annotations, ids, damaged = [], [], [], []
    for stem in stems:
        try:
            read = read_annotation(directory / "Annotations" / f"{stem}.xml", images)
        except ValueError as error:
            if on_corrupt == "stop":
                raise ValueError(f"data: {error}") from error
            LOGGER.warning("skipped: %s", error)
            damaged.append(str(error))
            continue
        labels = labels_of(read.names, classes, f"data: {printable(directory / 'Annotations' / stem)}.xml")
        objects = objects_of(_continuous(read.boxes), labels, read.difficult)
        files.append(read.file)
        annotations.append(Annotation(objects, read.sides))
        ids.append(stem)
    if not files:
        raise ValueError(f"data: {printable(directory)} must have annotated images for {split!r}. Received: none")
    split_of_files = from_files(files, [-1] * len(files), (), on_corrupt)
    name = f"{printable(directory)}, {split}"
    return annotated_split(name, split_of_files, annotations, classes, ids, damaged=damaged)


def splits_of_voc(directory: Path) -> list[str]:
    """The names of the splits that a directory has: those of the files in `ImageSets/Main`, but for `CLASS_SPLIT`."""
    lists = sorted(path.stem for path in (directory / LISTS).glob("*.txt"))
    return [name for name in lists if name.rpartition("_")[2] not in set(lists) - {name}]


def _stems(directory: Path, split: str) -> list[str]:
    """The names of the annotations of a split, without their suffix."""
    if not (directory / "Annotations").is_dir():
        raise ValueError(
            "data: voc: must be followed by a directory with the folders Annotations and JPEGImages. "
            f"Received: {printable(directory)}"
        )
    if split == ALL:
        return sorted(path.stem for path in (directory / "Annotations").glob("*.xml"))
    lists = splits_of_voc(directory)
    file = directory / LISTS / f"{'val' if split == 'test' and 'test' not in lists else split}.txt"
    if not file.is_file():
        raise ValueError(
            f"split must be the name of a file in {printable(directory / LISTS)}, or 'all'. "
            f"Received: split={split!r}; there are {', '.join(lists) or 'none'}"
        )
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except ValueError as error:
        raise ValueError(f"data: {printable(file)} must be text in UTF-8. Received: {error}") from error
    return [line.strip() for line in lines if line.strip()]


def _images(directory: Path) -> dict[str, str]:
    """The image files of a folder by their names, without and with suffix."""
    if not directory.is_dir():
        raise ValueError(f"data: {printable(directory)} must be a folder of images. Received: there is none")
    files: dict[str, str] = {}
    with os.scandir(directory) as entries:
        for entry in sorted(entries, key=lambda entry: entry.name):
            name = Path(entry.name)
            if name.suffix.lower() in SUFFIXES:
                files[entry.name] = entry.path
                files.setdefault(name.stem, entry.path)
    return files


def _names_in(directory: Path) -> tuple[str, ...]:
    """All classes in the annotations of a directory, sorted. Annotations that cannot be read are left out."""
    names: set[str] = set()
    for file in (directory / "Annotations").glob("*.xml"):
        try:
            names.update(_text(element, "name", file) for element in parse(file).findall("object"))
        except ValueError:  # the split that has it names it
            continue
    if not names:
        raise ValueError(f"data: {printable(directory / 'Annotations')} must have objects. Received: none")
    if len({name.casefold() for name in names}) < len(names):
        LOGGER.warning(
            "%s: classes that differ only in upper and lower case: %s", printable(directory), ", ".join(sorted(names))
        )
    return tuple(sorted(names))


def read_annotation(file: Path, images: dict[str, str]) -> Read:
    """What an XML file says.

    Args:
        file: path of the file.
        images: paths of image files by their names, without and with suffix. The image of an annotation has its name,
            as in torchvision; if there is none, or there are several, the element `filename` names it.

    Raises:
        ValueError: the file cannot be read, or its image is missing. The error names the file.
    """
    root = parse(file)
    named = root.findtext("filename", "").strip()
    own = images.get(named) if Path(named).stem == file.stem else None  # of a.jpg and a.png, the one that is named
    image = own or images.get(file.stem) or images.get(named) or images.get(Path(named).stem)
    if image is None:
        raise ValueError(
            f"{printable(file)} must belong to an image in JPEGImages. Received: no file {file.stem!r} "
            f"({' '.join(SUFFIXES)})" + (f", and the missing {named!r}, which it names" if named else "")
        )
    elements = root.findall("object")
    return Read(
        image,
        [_text(element, "name", file) for element in elements],
        np.array([_box(element, file) for element in elements], "float64").reshape(-1, 4),
        [_flag(element, file) for element in elements],
        (_pixels(root, "size/height"), _pixels(root, "size/width")),
    )


def parse(file: Path) -> ElementTree.Element:
    """The root of an XML file. A file with a document type is refused: its entities could fill the memory.

    Args:
        file: path of the file.

    Raises:
        ValueError: the file cannot be read or is no annotation. The error names the file.
    """
    builder, parser = ElementTree.TreeBuilder(), expat.ParserCreate()
    parser.StartElementHandler = builder.start
    parser.EndElementHandler = builder.end
    parser.CharacterDataHandler = builder.data
    parser.StartDoctypeDeclHandler = _refuse
    try:
        with file.open("rb") as opened:
            content = opened.read(MOST_BYTES + 1)
        if len(content) > MOST_BYTES:
            raise ValueError(f"more than {MOST_BYTES // 10**6} MB")
        parser.Parse(content, True)
        root = builder.close()
        if root.tag != "annotation":
            raise ValueError(f"the element <{root.tag}> in place of <annotation>")
        return root
    except OSError as error:
        raise ValueError(f"cannot read {printable(file)}: {error.strerror}") from error
    except (ValueError, expat.ExpatError) as error:
        raise ValueError(f"{printable(file)} must be an annotation of PASCAL VOC. Received: {error}") from error


def _refuse(*_: object) -> None:
    raise ValueError("a document type (<!DOCTYPE>), which annotations do not have")


def _text(element: ElementTree.Element, path: str, file: Path) -> str:
    text = element.findtext(path, "").strip()
    if not text:
        raise ValueError(f"{printable(file)} must have a <{path}> in each object. Received: none in one of them")
    return text


def _flag(element: ElementTree.Element, file: Path) -> bool:
    """Whether an object is difficult."""
    text = element.findtext("difficult", "").strip().lower()
    if text not in FLAGS:
        raise ValueError(f"{printable(file)} must have 0 or 1 in each <difficult>. Received: {text!r}")
    return FLAGS[text]


def _box(element: ElementTree.Element, file: Path) -> list[float]:
    """The four numbers of a box; NaN for those that are not there, as in objects that have only a polygon."""
    texts = [element.findtext(f"bndbox/{side}", "nan") for side in SIDES]
    try:
        return [float(text) for text in texts]
    except ValueError as error:
        raise ValueError(f"{printable(file)} must have numbers in each bndbox. Received: {texts}") from error


def _pixels(root: ElementTree.Element, path: str) -> int:
    """A side of the image; 0 if the file does not say it."""
    try:
        side = float(root.findtext(path, "0"))
    except ValueError:
        return 0
    return int(side) if math.isfinite(side) else 0


def _continuous(boxes: np.ndarray) -> np.ndarray:
    """Boxes of pixels from 1, the last one inside, as boxes of continuous coordinates; those without area stay so."""
    shift = boxes[:, :2] < boxes[:, 2:]
    return np.concatenate([boxes[:, :2] - shift, boxes[:, 2:]], axis=1)
