"""The class names of ImageNet-1k, CIFAR-10, Fashion-MNIST and COCO, and the decoding of predictions to names."""

from __future__ import annotations

import csv
import functools
import importlib.resources
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from keras_resnet._internal.validation import integer

CIFAR10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
FASHION_MNIST = (
    *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
    *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
)

UNUSED = "N/A"  # name of the ids of COCO that belong to no category, as in torchvision
COCO = (  # by id: the first one has the id 1
    *("person", "bicycle", "car", "motorcycle", "airplane", "bus", "train", "truck", "boat", "traffic light"),
    *("fire hydrant", UNUSED, "stop sign", "parking meter", "bench", "bird", "cat", "dog", "horse", "sheep"),
    *("cow", "elephant", "bear", "zebra", "giraffe", UNUSED, "backpack", "umbrella", UNUSED, UNUSED),
    *("handbag", "tie", "suitcase", "frisbee", "skis", "snowboard", "sports ball", "kite", "baseball bat"),
    *("baseball glove", "skateboard", "surfboard", "tennis racket", "bottle", UNUSED, "wine glass", "cup", "fork"),
    *("knife", "spoon", "bowl", "banana", "apple", "sandwich", "orange", "broccoli", "carrot", "hot dog", "pizza"),
    *("donut", "cake", "chair", "couch", "potted plant", "bed", UNUSED, "dining table", UNUSED, UNUSED, "toilet"),
    *(UNUSED, "tv", "laptop", "mouse", "remote", "keyboard", "cell phone", "microwave", "oven", "toaster", "sink"),
    *("refrigerator", UNUSED, "book", "clock", "vase", "scissors", "teddy bear", "hair drier", "toothbrush"),
)


@functools.cache
def imagenet_classes() -> tuple[tuple[str, str], ...]:
    """The classes of ImageNet-1k (ILSVRC 2012), in the order of a network's outputs.

    The name of a class is the first lemma of its WordNet id. The ids are unique; of the names, "crane" and "maillot"
    belong to two classes each.

    Returns:
        For each of the 1,000 classes (WordNet id, English name).

    Example:
        >>> from keras_resnet.classes import imagenet_classes
        >>> imagenet_classes()[207]
        ('n02099601', 'golden retriever')
    """
    text = importlib.resources.files("keras_resnet").joinpath("imagenet_classes.csv").read_text(encoding="utf-8")
    _, *rows = csv.reader(text.splitlines())
    return tuple((wordnet_id, name) for wordnet_id, name in rows)


def aliases(data: str, classes: int) -> Sequence[tuple[str, ...]]:
    """All names of each class of a data set; the first name of a class is for display.

    Args:
        data: name of the data set: "imagenet", "cifar10", "fashion_mnist" or "coco".
        classes: number of outputs of the network.

    Returns:
        For each class a tuple of names; () for another data set, or if it does not have `classes` classes.
    """
    known: dict[str, list[tuple[str, ...]]] = {
        "imagenet": [(name, wordnet_id) for wordnet_id, name in imagenet_classes()],
        "cifar10": [(name,) for name in CIFAR10],
        # The files of Fashion-MNIST have numbers instead of names.
        "fashion_mnist": [(name, str(number)) for number, name in enumerate(FASHION_MNIST)],
        "coco": [(name,) for name in COCO],
    }
    names = known.get(data, [])
    return names if len(names) == classes else ()


def names_of(data: str, classes: int) -> tuple[str, ...]:
    """The class names of a data set, in the order of a network's outputs; "0", "1", ... if `aliases` has no names."""
    return tuple(names[0] for names in aliases(data, classes)) or tuple(map(str, range(classes)))


def decode_predictions(scores: Any, top: int = 5) -> list[list[tuple[str, str, float]]]:
    """Names the best classes of the predictions of a network with ImageNet's 1,000 classes.

    It matches `decode_predictions` of keras.applications; but names have spaces instead of underscores.

    Args:
        scores: probabilities or logits (N, 1000): an array, nested lists, or a tensor of the backend.
        top: number of classes for each image, from 1 to 1000.

    Returns:
        For each image a list of `top` tuples (WordNet id, name, score), the highest score first. If scores are equal,
        the class with the lower index is first.

    Raises:
        ValueError: `scores` has another shape, or `top` is outside its range.
        TypeError: `scores` is not an array of real numbers, or `top` is not an integer.

    Example:
        >>> import numpy as np
        >>> from keras_resnet.classes import decode_predictions
        >>> scores = np.zeros((1, 1000))
        >>> scores[0, [207, 281]] = 0.75, 0.25
        >>> decode_predictions(scores, top=2)
        [[('n02099601', 'golden retriever', 0.75), ('n02123045', 'tabby', 0.25)]]
    """
    classes = imagenet_classes()
    if integer("top", top) > len(classes):
        raise ValueError(f"top must be an integer of at most {len(classes)}. Received: top={top}")
    array = _as_numbers(scores)
    if array.ndim != 2 or array.shape[1] != len(classes):
        raise ValueError(f"scores must have the shape (N, {len(classes)}). Received: shape {array.shape}")
    # The sign is changed, so that a stable sort keeps the order of equal scores and puts NaN last.
    best = np.argsort(-array, axis=1, kind="stable")[:, :top]
    return [[(*classes[i], float(row[i])) for i in indices] for row, indices in zip(array, best)]


def _as_numbers(scores: Any) -> np.ndarray:
    try:
        array = np.asarray(keras.ops.convert_to_numpy(scores))
    except (TypeError, ValueError, RuntimeError) as error:  # torch raises RuntimeError if a tensor requires grad
        raise TypeError(f"scores must be an array of numbers. Received: {type(scores).__name__}: {error}") from error
    if array.dtype.kind in "OSUc":
        raise TypeError(f"scores must be an array of real numbers. Received: {type(scores).__name__} of {array.dtype}")
    return array.astype("float64")  # exact for all types, also for bfloat16
