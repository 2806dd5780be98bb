"""`draw`: an image with the objects that were found in it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from keras_resnet._internal.validation import printable
from keras_resnet.detection.finding import Found
from keras_resnet.plots.boxes import COLORS, LabeledBox, with_boxes
from keras_resnet.plots.style import shortened


def draw(image: np.ndarray, found: Found, classes: Sequence[str]) -> np.ndarray:
    """Draws boxes with the names of their classes and their probabilities on an image.

    Each class has a color; there are six, so the seventh class has the color of the first one. Labels do not cover each
    other: where there is no place for the label of a box, it is left out, that of the least certain box first.

    Args:
        image: pixels, uint8 (H, W, C) with 1 or 3 channels.
        found: the objects in it, with boxes in its pixels.
        classes: names of the classes.

    Returns:
        uint8 (H', W', 3): of the same size, or larger by a whole factor if the longer side of the image has less than
        480 pixels.

    Raises:
        ValueError: `image` has another shape, or a class has no name.
        TypeError: `image` is not uint8.

    Example:
        >>> import numpy as np
        >>> from keras_resnet.detection import Found, draw
        >>> cat = Found(np.array([[10, 10, 60, 50]]), np.array([0]), np.array([0.93]))
        >>> draw(np.zeros((80, 100, 3), "uint8"), cat, ["cat"]).shape
        (400, 500, 3)
    """
    image = np.asarray(image)
    if image.dtype != np.uint8:
        raise TypeError(f"image must be uint8. Received: an array of {image.dtype}")
    if image.ndim != 3 or image.shape[2] not in (1, 3) or not image.size:
        raise ValueError(f"image must be (H, W, 1) or (H, W, 3). Received: an array of the shape {image.shape}")
    if len(found.classes) and not 0 <= np.min(found.classes) <= np.max(found.classes) < len(classes):
        raise ValueError(
            f"classes must have a name for each class that was found. "
            f"Received: {len(classes)} names, and the class {np.max(found.classes)}"
        )
    names = [shortened(printable(name)) for name in classes]
    boxes = [
        LabeledBox(box, f"{names[number]} {score:.0%}", COLORS[number % len(COLORS)])
        for box, number, score in zip(*found, strict=True)
    ]
    order = np.argsort(-np.asarray(found.scores), kind="stable")
    return with_boxes(image, [boxes[row] for row in order])
