"""Annotations in COCO's format: one JSON file for all images of a split."""

from __future__ import annotations

import collections
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from keras_resnet._internal.json_files import read_object
from keras_resnet._internal.validation import printable
from keras_resnet.data.constructors import from_files
from keras_resnet.data.folders import SPLIT_NAMES
from keras_resnet.detection.annotations import AnnotatedSplit
from keras_resnet.detection.class_names import checked_classes, labels_of
from keras_resnet.detection.upright_boxes import Annotation, annotated_split, objects_of

ALL = "all"
OFFICIAL = "annotations/instances_{split}*.json"  # of COCO: instances_train2017.json, with the folder train2017
ROBOFLOW = "_annotations.coco.json"  # beside the images of a split
CHECKED = 100  # images that are looked for in a folder: some may be missing
NO_BOX = [float("nan")] * 4
NO_IMAGE = "of an image that is not listed"


class Place(NamedTuple):
    """A file of annotations, and where its images may be.

    Attributes:
        file: the JSON file.
        folders: folders of images, the most likely first.
    """

    file: Path
    folders: tuple[Path, ...]


def load_coco(path: Path, split: str, classes: Sequence[str] | None, on_corrupt: str) -> AnnotatedSplit:
    """A split of COCO, or of a data set in its format.

    COCO's ids of categories and images have gaps. Labels are 0, 1, 2 and so on, in the order of the ids of the
    categories; `AnnotatedSplit.category_ids` and `ids` have the ids, which a file of results needs.

    Args:
        path: a JSON file, whose images are beside it, in the folder `images` beside it, or, as those of COCO, in the
            folder `train2017` next to that of `instances_train2017.json`; or a directory with such files: COCO's, or
            Roboflow's with `train/_annotations.coco.json`.
        split: "train", "val" or "test" for a directory; "test" is `val` if there is no `test`. "all" for a file.
        classes: names of the classes, in the order of labels; None: those of the file.
        on_corrupt: "stop" or "skip", for images that are missing or cannot be read.

    Raises:
        ValueError: something is missing, or the file has another form.
    """
    place = _place(path, split)
    where = f"data: {printable(place.file)}"
    content = read_object(place.file)
    categories = _rows(content, "categories", ("id", "name"), where)
    if any(type(row["id"]) is not int for row in categories):
        raise ValueError(f"{where}: ids of categories must be integers. Received: {[row['id'] for row in categories]}")
    categories.sort(key=lambda row: row["id"])
    images = _by_id(_rows(content, "images", ("id", "file_name"), where), where)
    names = [str(row["name"]) for row in categories]
    # Roboflow's files may have a class twice: first as the group above all classes, which no annotation has.
    classes = classes or checked_classes(tuple(dict.fromkeys(names)), printable(place.file))
    labels = dict(zip((row["id"] for row in categories), labels_of(names, classes, where), strict=True))
    found: dict[Any, list[dict[str, Any]]] = {number: [] for number in images}
    dropped: collections.Counter[str] = collections.Counter()
    for row in _rows(content, "annotations", ("image_id", "category_id"), where):
        if row["category_id"] not in labels:
            raise ValueError(f"{where}: category_id must be the id of a category. Received: {row['category_id']!r}")
        if row["image_id"] in found:
            found[row["image_id"]].append(row)
        else:
            dropped[NO_IMAGE] += 1
    if not images:
        raise ValueError(f"{where} must have images. Received: none")
    file_names = [str(row["file_name"]) for row in images.values()]
    folder = _folder(place, file_names[:CHECKED])
    files = [str(folder / name) for name in file_names]
    annotations = [
        Annotation(
            objects_of(
                [_corners(row.get("bbox")) for row in found[number]],
                [labels[row["category_id"]] for row in found[number]],
                crowd=[_flag(row, where) for row in found[number]],
            ),
            (_pixels(image.get("height")), _pixels(image.get("width"))),
        )
        for number, image in images.items()
    ]
    id_of = {label: number for number, label in labels.items()}
    return annotated_split(
        printable(place.file),
        from_files(files, [-1] * len(files), (), on_corrupt),
        annotations,
        classes,
        list(images),
        category_ids=[id_of.get(label, -1) for label in range(len(classes))],
        dropped=dropped,
    )


def _place(path: Path, split: str) -> Place:
    if path.is_file():
        if split != ALL:
            raise ValueError(
                "split must be 'all' for a JSON file, which is one split; a part can be held out with "
                f"`AnnotatedSplit.hold_out`. Received: split={split!r}, {printable(path)}"
            )
        year = re.sub("^instances_", "", path.stem)
        above = path.parent.parent
        return Place(path, (path.parent, path.parent / "images", above / year, above / "images" / year, above))
    names = [split, "val"] if split == "test" else [split]
    for name in names:
        official = sorted(path.glob(OFFICIAL.format(split=name)))
        if len(official) > 1:
            raise ValueError(
                f"data: {printable(path)} must have one file for {name!r}; type coco:FILE.json for one of them. "
                f"Received: {', '.join(file.name for file in official)}"
            )
        folders = [path / folder for folder in SPLIT_NAMES.get(name, ())]
        roboflow = [folder / ROBOFLOW for folder in folders if (folder / ROBOFLOW).is_file()]
        for file in (*official, *roboflow[:1]):
            return _place(file, ALL)
    raise ValueError(
        f"data: coco: must be followed by a JSON file, or by a directory with {OFFICIAL.format(split=split)} or "
        f"{split}/{ROBOFLOW}. Received: {printable(path)}, split={split!r}"
    )


def _folder(place: Place, names: Sequence[str]) -> Path:
    """The folder of the images: the first that has one of some images."""
    for folder in place.folders:
        if any((folder / name).is_file() for name in names):
            return folder
    raise ValueError(
        f"data: {printable(place.file)} names the image {names[0]!r}, which must be in one of the folders "
        f"{', '.join(map(printable, place.folders))}. Received: it is in none of them"
    )


def _rows(content: dict[str, Any], name: str, keys: Sequence[str], where: str) -> list[dict[str, Any]]:
    """A list of the file, of objects that have all of `keys`."""
    rows = content.get(name)
    if not isinstance(rows, list):
        raise ValueError(f"{where} must have a list of {name}, as COCO's instances_*.json. Received: {list(content)}")
    for row in rows:
        if not isinstance(row, dict) or any(isinstance(row.get(key), (dict, list, type(None))) for key in keys):
            raise ValueError(f"{where}: each of {name} must have {' and '.join(keys)}. Received: {row!r:.200}")
    return rows


def _by_id(images: list[dict[str, Any]], where: str) -> dict[Any, dict[str, Any]]:
    found = {row["id"]: row for row in images}
    if len(found) < len(images):
        counts = collections.Counter(row["id"] for row in images)
        raise ValueError(f"{where}: each image must have its own id. Received: {counts.most_common(1)[0][0]!r} twice")
    [(name, most)] = collections.Counter(str(row["file_name"]) for row in images).most_common(1) or [("", 0)]
    if most > 1:
        raise ValueError(
            f"{where}: each image must be there once, with all of its objects: an object of the other row would be "
            f"learned as background. Received: file_name {name!r} {most} times"
        )
    return found


def _corners(box: Any) -> list[float]:
    """Left, top, right and bottom of COCO's left, top, width and height; NaN for what is no box."""
    if not isinstance(box, list) or len(box) != 4 or not all(type(side) in (int, float) for side in box):
        return NO_BOX
    try:
        left, top, width, height = map(float, box)
    except OverflowError:  # an integer of hundreds of digits
        return NO_BOX
    return [left, top, left + width, top + height]


def _pixels(side: Any) -> int:
    """A side of the image, also if it is written as 640.0; 0 if the file does not say it."""
    whole = type(side) is int or (type(side) is float and side.is_integer())
    return int(side) if whole else 0


def _flag(row: dict[str, Any], where: str) -> bool:
    """Whether an annotation is a crowd."""
    value = row.get("iscrowd", 0)
    if value not in (0, 1, None):
        raise ValueError(f"{where}: iscrowd must be 0 or 1. Received: {value!r}")
    return bool(value)
