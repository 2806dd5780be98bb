"""Names of classes in annotations: where they come from, and the labels of names."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from keras_resnet._internal.validation import nearest, printable
from keras_resnet.classes import UNUSED

CLASSES_FILE = "classes.txt"  # one name a line, as labelImg has it


def checked_classes(classes: Sequence[str], where: str) -> tuple[str, ...]:
    """The names of classes, if there is at least one, and none twice but `keras_resnet.classes.UNUSED`.

    Args:
        classes: names.
        where: where they are from, for the error.

    Raises:
        ValueError: there are none, or one is there twice.
    """
    names = tuple(classes)
    used = [name for name in names if name != UNUSED]  # outputs of COCO's detectors that no category has
    if not used or len(set(used)) < len(used) or "" in used:
        raise ValueError(f"classes must be names, each once. Received: {list(names)[:20]} from {where}")
    return names


def classes_in(directory: Path) -> tuple[str, ...] | None:
    """The names in the file `classes.txt` of a directory; None if there is no such file.

    Raises:
        ValueError: the file has no names, or one twice, or is no text.
    """
    file = directory / CLASSES_FILE
    if not file.is_file():
        return None
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except ValueError as error:
        raise ValueError(f"{printable(file)} must be text in UTF-8, one name a line. Received: {error}") from error
    return checked_classes([line.strip() for line in lines if line.strip()], printable(file))


def labels_of(names: Iterable[str], classes: Sequence[str], where: str) -> list[int]:
    """The numbers of classes by their names.

    Args:
        names: names in an annotation.
        classes: all names.
        where: the file of the annotation, for the error.

    Raises:
        ValueError: a name is none of `classes`.
    """
    numbers = {name: number for number, name in enumerate(classes)}
    names = list(names)
    for name in names:
        if name not in numbers:
            raise ValueError(
                f"{where} must have objects of the classes {', '.join(classes[:20])}"
                f"{' and more' if len(classes) > 20 else ''}; correct the name, or add it to the classes."
                f"{nearest(name, classes)} Received: {name!r}"
            )
    return [numbers[name] for name in names]
