"""Boxes as people annotated them become boxes in upright images; impossible ones are dropped and counted.

Most programs for annotation, and the readers of torchvision and of COCO, count pixels as a file stores them. A
photograph that is stored on its side is turned upright when it is decoded (`data.orientation`), so its boxes are
turned with it. An annotation also says the sides of its image: if these are the sides of the upright image, and not
those of the stored one, its boxes are upright already. Where both have the same sides, as in a photograph that is
stored upside down, the other turned images of the split decide.
"""

from __future__ import annotations

import collections
import logging
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from keras_resnet.data import headers, jpeg
from keras_resnet.data.binary import unless
from keras_resnet.data.corrupt import name_corrupt_files
from keras_resnet.data.orientation import MIRRORED, SIDEWAYS, UPSIDE_DOWN, orientation
from keras_resnet.data.split import Split
from keras_resnet.detection.annotations import AnnotatedSplit, Objects

LOGGER = logging.getLogger("keras_resnet.data")
# Why a box is dropped, in the order in which the reasons are looked for.
NOT_FINITE, SWAPPED, FLAT, OUTSIDE = "not four numbers", "corners swapped", "without area", "outside of the image"
FRACTION = 1.001  # boxes whose coordinates are all below it are fractions of their images, with errors of rounding
ROUNDING = 1.0  # pixels by which a box is outside of its image without a word: programs count from 0 or from 1


class Annotation(NamedTuple):
    """The objects of an image as an annotation has them.

    Attributes:
        objects: the objects; boxes of any numbers, float (n, 4).
        sides: height and width of the image, as the annotation has them; (0, 0) if it does not say them.
    """

    objects: Objects
    sides: tuple[int, int]


def objects_of(
    boxes: Sequence[Sequence[float]] | np.ndarray,
    labels: Sequence[int],
    difficult: Sequence[bool] | None = None,
    crowd: Sequence[bool] | None = None,
) -> Objects:
    """The objects of an image from lists.

    Args:
        boxes: four numbers for each object.
        labels: the class of each.
        difficult, crowd: see `Objects`; None: False for all.
    """
    none = [False] * len(labels)
    return Objects(
        np.array(boxes, "float64").reshape(-1, 4),
        np.array(labels, "int32"),
        np.array(none if difficult is None else difficult, bool),
        np.array(none if crowd is None else crowd, bool),
    )


def annotated_split(
    name: str,
    images: Split,
    annotations: Sequence[Annotation],
    classes: Sequence[str],
    ids: Sequence[int | str],
    *,
    to_pixels: Callable[[np.ndarray, np.ndarray], np.ndarray] = lambda boxes, sides: boxes,
    category_ids: Sequence[int] | None = None,
    dropped: collections.Counter[str] | None = None,
    damaged: Sequence[str] = (),
) -> AnnotatedSplit:
    """The split of images and their annotations. What was dropped is written to the log, once.

    Args:
        name: the name of the split for the log.
        images: the images; an image whose header cannot be read is skipped, or stops this function.
        annotations: one for each image.
        classes: names of the classes.
        ids: for each image its number or name in the data set.
        to_pixels: function from the boxes of an annotation, and height and width of the stored image, to boxes in
            pixels.
        category_ids: for each class its number in the data set; None: 0, 1, 2 and so on.
        dropped: annotations that the reader did not use, by reason.
        damaged: reasons of images that the reader left out.

    Raises:
        ValueError: an image cannot be read, and `on_corrupt` of `images` is "stop"; or boxes are fractions of their
            images.
    """
    numbers, stored_sides, orientations = _stored(images)
    if not len(numbers):
        raise ValueError(f"data: {name} must have images that can be read. Received: none")
    counts, cut, others = collections.Counter(dropped or {}), 0, 0
    objects, sides = [], []
    uprights = [stored[::-1] if turn in SIDEWAYS else stored for stored, turn in zip(stored_sides, orientations)]
    signs = [_is_upright(annotations[number].sides, *of) for number, *of in zip(numbers, stored_sides, uprights)]
    # What the split counts where the sides of an annotation fit both; without another sign, pixels of the stored image.
    conventions = set(signs) - {None}
    all_upright, unclear = conventions == {True}, 0
    for number, stored, upright, turn, sign in zip(numbers, stored_sides, uprights, orientations, signs):
        annotation = annotations[number]
        others += 0 not in annotation.sides and annotation.sides not in {tuple(stored), tuple(upright)}
        boxes = to_pixels(annotation.objects.boxes, stored)
        if sign is None:
            unclear += turn != 1 and len(boxes) > 0 and len(conventions) != 1
        if not (all_upright if sign is None else sign):
            boxes = turned(boxes, upright, turn)
        kept, reasons, number_cut = within(annotation.objects._replace(boxes=boxes), upright)
        counts.update(reasons)
        cut += number_cut
        objects.append(kept)
        sides.append(upright)
    if 0 < max((found.boxes.max(initial=0.0) for found in objects), default=0.0) <= FRACTION:
        raise ValueError(
            f"data: {name} must have boxes in pixels of their images. Received: coordinates from 0 to 1; multiply "
            "those of x by the width of the image, and those of y by its height"
        )
    _tell(name, counts, cut, others, unclear)
    return AnnotatedSplit(
        images.part(numbers),
        tuple(objects),
        np.array(sides, "int32").reshape(-1, 2),
        tuple(classes),
        tuple(ids[number] for number in numbers),
        tuple(range(len(classes)) if category_ids is None else category_ids),
        dict(counts),
        (*damaged, *images.skipped),
    )


def _is_upright(sides: tuple[int, int], stored: np.ndarray, upright: np.ndarray) -> bool | None:
    """Whether an annotation counts pixels of the upright image, and not of the stored one.

    Args:
        sides: height and width as the annotation has them.
        stored, upright: those of the image. None is returned if both or neither are the annotation's.
    """
    fits = sides == tuple(upright)
    return None if fits == (sides == tuple(stored)) else fits


def turned(boxes: np.ndarray, sides: Sequence[int], stored: int) -> np.ndarray:
    """Boxes of a stored image as boxes of the upright one, in the steps of `data.orientation.upright`.

    Args:
        boxes: left, top, right and bottom in the stored image, (n, 4).
        sides: height and width of the upright image.
        stored: the orientation of the file, 1 to 8 as in EXIF.

    Returns:
        (n, 4).

    Example:
        >>> import numpy as np
        >>> from keras_resnet.detection.upright_boxes import turned
        >>> turned(np.array([[0, 0, 30, 10]]), (40, 20), 6).tolist()  # its left side becomes the upper one
        [[10, 0, 20, 30]]
    """
    left, top, right, bottom = boxes.T
    height, width = sides
    if stored in SIDEWAYS:
        left, top, right, bottom = top, left, bottom, right
    if stored in UPSIDE_DOWN:
        top, bottom = height - bottom, height - top
    if stored in MIRRORED:
        left, right = width - right, width - left
    return np.stack([left, top, right, bottom], axis=1)


def within(objects: Objects, sides: Sequence[int]) -> tuple[Objects, collections.Counter[str], int]:
    """The objects whose boxes are possible, cut at the border of the image.

    Args:
        objects: the objects of an image, boxes of any numbers.
        sides: height and width of the image.

    Returns:
        The objects that are left, the number of dropped ones by reason, and the number of boxes of which more than a
        pixel was cut off.
    """
    boxes, limits = objects.boxes, np.array([*sides[::-1], *sides[::-1]], "float64")
    with np.errstate(invalid="ignore"):
        clipped = np.clip(boxes, 0, limits)
        tests = {
            NOT_FINITE: ~np.isfinite(boxes).all(axis=1),
            SWAPPED: (boxes[:, 2:] < boxes[:, :2]).any(axis=1),
            FLAT: (boxes[:, 2:] == boxes[:, :2]).any(axis=1),
            OUTSIDE: (clipped[:, 2:] <= clipped[:, :2]).any(axis=1),
        }
        is_cut = (np.abs(clipped - boxes) > ROUNDING).any(axis=1)
    reasons: collections.Counter[str] = collections.Counter()
    kept = np.ones(len(boxes), bool)
    for reason, is_wrong in tests.items():
        reasons[reason] += int((kept & is_wrong).sum())
        kept &= ~is_wrong
    chosen = Objects(clipped.astype("float32"), *objects[1:])
    return Objects(*(column[kept] for column in chosen)), +reasons, int((kept & is_cut).sum())


def _stored(images: Split) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The numbers of the images that have a readable header, their height and width, and their orientation."""
    with name_corrupt_files(images):
        rows = [(number, *header) for number, header, _ in images.stored(_header).as_numpy_iterator()]
    numbers, sides, orientations = zip(*rows) if rows else ((), (), ())
    return np.array(numbers, "int64"), np.array(sides, "int32").reshape(-1, 2), np.array(orientations, "int32")


# A function of TensorFlow, so that its graph is made once for all splits.
@tf.function(input_signature=[tf.TensorSpec((), tf.string)], autograph=False)
def _header(content: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Height and width of an image file as it is stored, int32 (2,), and its orientation.

    The graph raises an error if the file must not be decoded.
    """
    sides = tf.cond(tf.io.is_jpeg(content), lambda: jpeg.checked_sides(content), lambda: _sides_of_other(content))
    return sides, orientation(content)


def _sides_of_other(content: tf.Tensor) -> tf.Tensor:
    header = headers.read_header(content)
    sides = headers.sides_of(header)
    refused = headers.refusal(content, header)
    unknown = tf.where(tf.reduce_min(sides) < 1, "image must be a JPEG, PNG, BMP, WebP or GIF", "")
    return tf.cast(unless(tf.where(refused == "", unknown, refused), sides), tf.int32)


def _tell(name: str, dropped: collections.Counter[str], cut: int, others: int, unclear: int) -> None:
    if dropped:
        LOGGER.warning(
            "%s: %s dropped: %s",
            name,
            f"{dropped.total()} box{'es' if dropped.total() > 1 else ''}",
            ", ".join(f"{count} {reason}" for reason, count in dropped.items()),
        )
    if cut:
        LOGGER.warning("%s: boxes cut at the border of the image: %d", name, cut)
    if others:
        LOGGER.warning(
            "%s: annotations that state another width or height than their image has: %d; their boxes are not changed; "
            "if the images were resized, resize the boxes too",
            name,
            others,
        )
    if unclear:
        LOGGER.warning(
            "%s: images that are stored turned or mirrored (EXIF), whose annotations do not say whether boxes are "
            "those of the stored or of the upright image: %d; they are taken as those of the stored one",
            name,
            unclear,
        )
