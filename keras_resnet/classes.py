"""The classes of ImageNet-1k, CIFAR-10 and Fashion-MNIST, and what a network's scores say in their words."""

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


@functools.cache
def imagenet_classes() -> tuple[tuple[str, str], ...]:
    """The classes of ImageNet-1k (ILSVRC 2012) in the order of a network's outputs: WordNet id and English name.

    The name is the first lemma that WordNet has for the id. Two names, "crane" and "maillot", stand for two classes
    each; the ids are unique.

    Example:
        >>> from keras_resnet.classes import imagenet_classes
        >>> imagenet_classes()[207]
        ('n02099601', 'golden retriever')
    """
    text = importlib.resources.files("keras_resnet").joinpath("imagenet_classes.csv").read_text(encoding="utf-8")
    _, *rows = csv.reader(text.splitlines())
    return tuple((wordnet_id, name) for wordnet_id, name in rows)


def aliases(data: str, classes: int) -> Sequence[tuple[str, ...]]:
    """All names of each class of a data set, the one to show first; nothing where there are not so many, or none."""
    known: dict[str, list[tuple[str, ...]]] = {
        "imagenet": [(name, wordnet_id) for wordnet_id, name in imagenet_classes()],
        "cifar10": [(name,) for name in CIFAR10],
        # Its files have numbers for the classes, and no names.
        "fashion_mnist": [(name, str(number)) for number, name in enumerate(FASHION_MNIST)],
    }
    names = known.get(data, [])
    return names if len(names) == classes else ()


def names_of(data: str, classes: int) -> tuple[str, ...]:
    """The names of a data set's classes in the order of a network's outputs; their numbers where `aliases` has none."""
    return tuple(names[0] for names in aliases(data, classes)) or tuple(map(str, range(classes)))


def decode_predictions(scores: Any, top: int = 5) -> list[list[tuple[str, str, float]]]:
    """What a network with ImageNet's classes sees, as in keras.applications but for spaces instead of underscores.

    Args:
        scores: (N, 1000), probabilities or logits: an array, nested lists, or a tensor of the backend.
        top: how many classes to give for each image, 1 to 1000.

    Returns:
        For each image a list of `top` tuples (WordNet id, name, score), the best first; of equal scores that of the
        lower index.

    Raises:
        ValueError: `scores` is of another shape, or `top` out of its range.
        TypeError: `scores` is no array of numbers.

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
        raise ValueError(f"top must be at most {len(classes)}. Received: top={top}")
    array = _numbers(scores)
    if array.ndim != 2 or array.shape[1] != len(classes):
        raise ValueError(f"scores must be of shape (N, {len(classes)}). Received: {array.shape}")
    # Of the negative, so that equal scores stay in order and NaN comes last.
    best = np.argsort(-array, axis=1, kind="stable")[:, :top]
    return [[(*classes[i], float(row[i])) for i in indices] for row, indices in zip(array, best)]


def _numbers(scores: Any) -> np.ndarray:
    try:
        array = np.asarray(keras.ops.convert_to_numpy(scores))
    except (TypeError, ValueError, RuntimeError) as error:  # RuntimeError: torch's, of a tensor that requires grad
        raise TypeError(f"scores must be an array of numbers. Received: {type(scores).__name__}: {error}") from error
    if array.dtype.kind in "OSUc":
        raise TypeError(f"scores must be an array of real numbers. Received: {type(scores).__name__} of {array.dtype}")
    return array.astype("float64")  # exact, from bfloat16 too
