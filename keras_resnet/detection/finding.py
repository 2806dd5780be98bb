"""The objects in images of any size, and in image files."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np

from keras_resnet._internal.validation import integer
from keras_resnet.data.constructors import from_files
from keras_resnet.detection.design import Design
from keras_resnet.detection.faster_rcnn import check_design
from keras_resnet.detection.resizing import batch_of, check_pixels


class Found(NamedTuple):
    """The objects in an image, the most certain first.

    Attributes:
        boxes: left, top, right and bottom in pixels of the image, float32 (n, 4).
        classes: numbers of the classes, from 0, int32 (n).
        scores: probabilities, float32 (n).
    """

    boxes: np.ndarray
    classes: np.ndarray
    scores: np.ndarray


class InFile(NamedTuple):
    """The upright pixels of an image file, uint8 (H, W, 3), and the objects in them."""

    pixels: np.ndarray
    found: Found


def find(detector: keras.Model, images: Sequence[np.ndarray], design: Design, batch_size: int = 4) -> list[Found]:
    """The objects in images of any size.

    Args:
        detector: a model of `FasterRCNN`.
        images: raw pixels, 0 to 255, (H, W, C) each; colors are red, green and blue. OpenCV gives blue first:
            `image[..., ::-1]` turns it.
        design: the design of the detector: its `shorter` and `longer` say how images are resized.
        batch_size: number of images that are computed together.

    Returns:
        The objects of each image.

    Raises:
        ValueError: an image has another shape, or has pixels that are not raw ones from 0 to 255; the model is no
            detector, or was built with another design; or `batch_size` is below 1.
        TypeError: `design` is not a `Design`.

    Example:
        >>> from keras_resnet.detection import FPN, find
        >>> find(detector, [image], FPN)[0].boxes  # doctest: +SKIP
    """
    check_design(detector, design)
    integer("batch_size", batch_size)
    channels = detector.input["images"].shape[-1]
    images = [_checked(image, number, channels) for number, image in enumerate(images)]
    found: list[Found] = []
    for start in range(0, len(images), batch_size):
        part = images[start : start + batch_size]
        found += found_in(detector, *batch_of(part, design.shorter, design.longer))
    return found


def find_in_files(
    detector: keras.Model, files: Sequence[str | os.PathLike[str]], design: Design, batch_size: int = 4
) -> Iterator[tuple[Path, InFile | ValueError]]:
    """The objects in image files, of any number: the pixels of only a few are in memory.

    Args:
        detector: a model of `FasterRCNN` for images with 3 channels.
        files: paths of image files: JPEG, PNG, BMP, WebP or GIF. Photographs are turned upright.
        design: the design of the detector.
        batch_size: number of images that are computed together.

    Yields:
        Each file, in order, with its pixels and objects, or with a `ValueError` that names it if it cannot be read.

    Raises:
        ValueError, TypeError: as `find`.

    Example:
        >>> from keras_resnet.detection import find_in_files, open_run
        >>> run, detector = open_run("runs/cells")  # doctest: +SKIP
        >>> for file, answer in find_in_files(detector, ["a.jpg", "b.jpg"], run.task.design):  # doctest: +SKIP
        ...     print(file, answer if isinstance(answer, ValueError) else answer.found.boxes)
    """
    integer("batch_size", batch_size)
    paths = [Path(file) for file in files]
    # One pipeline for all files: to build one takes 2 seconds of processor time, to read a small image 0.01.
    split = from_files([str(path) for path in paths], [-1] * len(paths), (), "skip")
    rows, done = split.numbered(lambda image: image).as_numpy_iterator(), 0

    def skipped(numbers: range) -> Iterator[tuple[Path, ValueError]]:
        return ((paths[number], ValueError(split.corrupt_records.describe(number))) for number in numbers)

    while batch := list(itertools.islice(rows, batch_size)):
        numbers, images, _ = zip(*batch)
        for number, image, found in zip(numbers, images, find(detector, images, design, batch_size), strict=True):
            yield from skipped(range(done, number))
            yield paths[number], InFile(image, found)
            done = number + 1
    yield from skipped(range(done, len(paths)))


def _checked(image: Any, number: int, channels: int) -> np.ndarray:
    """An image as an array, if a detector takes it."""
    array = np.asarray(image)
    if array.ndim != 3 or array.shape[2] != channels or not array.size or array.dtype.kind not in "uif":
        raise ValueError(
            f"images must be a list of images (H, W, {channels}) of raw pixels; put a single one in a list. "
            f"Received: as image {number} an array of {array.dtype} of the shape {array.shape}"
        )
    return check_pixels(f"image {number}", array)


def found_in(detector: keras.Model, images: Any, sizes: Any, factors: np.ndarray) -> list[Found]:
    """The objects in the images of a batch.

    Args:
        detector: a model of `FasterRCNN`.
        images, sizes, factors: the batch, see `resizing.Batch`.

    Returns:
        The objects of each image, with boxes in pixels of the original.
    """
    # Not `detector.predict`: it would keep the graph that it traced, also if a training changes how layers compute.
    outputs = detector({"images": images, "sizes": sizes})
    answer = {name: keras.ops.convert_to_numpy(value) for name, value in outputs.items()}
    of_corners = np.tile(factors[:, ::-1], 2)  # of x and y, twice
    return [
        Found(boxes[:count] / own, classes[:count], scores[:count])
        for boxes, classes, scores, count, own in zip(
            *(answer[name] for name in ("boxes", "classes", "scores", "found")), of_corners, strict=True
        )
    ]
