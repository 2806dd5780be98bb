"""The detections of a detector in all images of a split, and how good they are."""

from __future__ import annotations

import keras
import numpy as np

from keras_resnet.data.corrupt import name_corrupt_files
from keras_resnet.detection.annotations import AnnotatedSplit
from keras_resnet.detection.batches import evaluation_batches
from keras_resnet.detection.design import Design
from keras_resnet.detection.evaluation import Evaluation, evaluate
from keras_resnet.detection.faster_rcnn import check_design, classes_of
from keras_resnet.detection.finding import Found, found_in


def predict(
    detector: keras.Model, split: AnnotatedSplit, design: Design, batch_size: int = 4
) -> tuple[list[int], list[Found]]:
    """The objects in the images of a split.

    Args:
        detector: a model of `FasterRCNN`.
        split: the images.
        design: the design of the detector.
        batch_size: number of images that are computed together.

    Returns:
        The numbers of the images in the split, in ascending order, without those that were skipped because they are
        corrupt; and for each of them its objects, with boxes in pixels of the image.

    Raises:
        ValueError: the split has another number of classes than the detector, the detector has another design, or an
            image is corrupt, and the split does not skip such images.
    """
    check_design(detector, design)
    if classes_of(detector) != len(split.classes):
        raise ValueError(
            f"split must have the {classes_of(detector)} classes of the detector; load it with the classes of the "
            f"training images, load(..., classes=train.classes). Received: {len(split.classes)} classes, "
            f"{', '.join(split.classes[:20])}"
        )
    found: dict[int, Found] = {}
    with name_corrupt_files(split):
        for batch in evaluation_batches(split, design, batch_size):
            of_batch = found_in(detector, batch["images"], batch["sizes"], batch["factors"].numpy())
            found |= zip(batch["numbers"].numpy().tolist(), of_batch, strict=True)
    numbers = sorted(found)
    return numbers, [found[number] for number in numbers]


def evaluate_split(detector: keras.Model, split: AnnotatedSplit, design: Design, batch_size: int = 4) -> Evaluation:
    """How good a detector is on the images of a split.

    Args:
        detector, split, design, batch_size: as for `predict`.

    Returns:
        The evaluation; its `map50` is PASCAL VOC's mean average precision.

    Example:
        >>> from keras_resnet.detection import FPN, evaluate_split, load
        >>> evaluate_split(detector, load("voc:photos", "test"), FPN).map50  # doctest: +SKIP
    """
    return evaluate_readable(detector, split, design, batch_size)[0]


def evaluate_readable(
    detector: keras.Model, split: AnnotatedSplit, design: Design, batch_size: int = 4
) -> tuple[Evaluation, AnnotatedSplit]:
    """`evaluate_split`, and the images that it is of: a report needs their names and pixels.

    Args:
        detector, split, design, batch_size: as for `predict`.

    Returns:
        The evaluation, and the part of the split without the images that were skipped because they are corrupt. Image i
        of the evaluation is image i of that part.

    Raises:
        ValueError: all images of the split are corrupt.
    """
    numbers, found = predict(detector, split, design, batch_size)
    if not numbers:
        raise ValueError(f"data: a split must have readable images. Received: {'; '.join(split.skipped):.200}")
    readable = split.part(np.array(numbers))
    return evaluate(found, readable.objects, split.classes), readable


def pixels_of(split: AnnotatedSplit, number: int) -> np.ndarray:
    """The pixels of an image of a split, upright, uint8 (H, W, C).

    Args:
        split: the images.
        number: the number of the image, from 0.

    Raises:
        ValueError: the image cannot be read.
    """
    for _, image, _ in split.images.part(np.array([number])).numbered(lambda image: image):
        return image.numpy()
    raise ValueError(f"image {number} of the split must be readable. Received: {'; '.join(split.skipped)[:200]}")
