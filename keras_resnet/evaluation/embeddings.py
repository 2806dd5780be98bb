"""Features of images at work: neighbors, a probe, duplicates, likely label errors, a map in two dimensions.

The features are what a network gives to its classifier. Distances are cosine distances.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import keras
import numpy as np

from keras_resnet._internal.validation import integer, number
from keras_resnet.data.as_split import Data, as_split, numbered
from keras_resnet.data.corrupt import name_corrupt_files
from keras_resnet.data.decode import to_square
from keras_resnet.data.pipeline import Resize, numbered_pipeline
from keras_resnet.evaluation.accuracy import in_channels_of
from keras_resnet.inputs import square_side
from keras_resnet.runtime.grouped_convolutions import without_xla

NEIGHBORS = 20  # of k-nearest-neighbor classification, as in DINO (arXiv:2104.14294)
SAME = 0.9999  # cosine similarity of features from which two images are taken for the same
FOLDS = 5


class Embeddings(NamedTuple):
    """Features of the images of a split, in order.

    Attributes:
        values: features, float32 (N, D).
        labels: class of each image, integers (N,).
        names: name of each image: its file, or its number.
        classes: names of the classes.
    """

    values: np.ndarray
    labels: np.ndarray
    names: tuple[str, ...]
    classes: tuple[str, ...]


def embed(model: keras.Model, split: Data, batch_size: int = 64, *, resize: Resize = to_square) -> Embeddings:
    """The features that a network gives to its classifier, for each image of a split.

    Args:
        model: a model that takes square images (N, H, W, C) with fixed sides, and ends in a dense layer; or a model
            with the output (N, D) without one, for example with `include_top=False, pooling="avg"`.
        split: the images, in any form that `keras_resnet.evaluation.evaluate` takes.
        batch_size: images per batch.
        resize: function that resizes an image, as in `keras_resnet.data.pipeline`.

    Returns:
        The features with labels and names of the images.

    Raises:
        ValueError: the model does not fit the images, or has no features (N, D); or a file is not a readable image.

    Example:
        >>> import keras_resnet as kr
        >>> model = kr.ResNet20(input_shape=(8, 8, 1))
        >>> kr.evaluation.embed(model, kr.data.load("digits", "test")).values.shape
        (360, 64)
    """
    network = without_classifier(model)
    size = square_side(network)
    images = in_channels_of(network, as_split("split", split, numbered(model.outputs[0].shape[-1])))
    parts = []
    with name_corrupt_files(images), without_xla(network):
        for numbers, pixels, labels in numbered_pipeline(images, size, batch_size, resize).as_numpy_iterator():
            parts.append((numbers, network.predict_on_batch(pixels)[: len(pixels)].astype("float32"), labels))
    numbers, values, labels = map(np.concatenate, zip(*parts, strict=True))
    return Embeddings(values, labels, images.names_of(numbers), images.classes)


def without_classifier(model: keras.Model) -> keras.Model:
    """The model up to the input of its last dense layer; the model itself if it has none.

    Raises:
        ValueError: what is left has no output (N, D).
    """
    dense = next((layer for layer in reversed(model.layers) if isinstance(layer, keras.layers.Dense)), None)
    features = model if dense is None else keras.Model(model.inputs, dense.input)
    shape = features.outputs[0].shape
    if len(features.outputs) != 1 or len(shape) != 2:
        raise ValueError(f"model must have features (N, D) before its classifier. Received: an output {shape}")
    return features


def neighbors(embeddings: Embeddings, of: Embeddings, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The most similar images for each image.

    Args:
        embeddings: the images among which the neighbors are found.
        of: the images whose neighbors are found.
        count: number of neighbors of each image.

    Returns:
        Numbers of images of `embeddings`, integers (N, count), and their cosine similarities, float (N, count), the
        most similar first. If both arguments are the same object, an image is not its own neighbor.
    """
    from sklearn.neighbors import NearestNeighbors  # noqa: PLC0415  (its import takes a second)

    same = of is embeddings
    count = min(integer("count", count), len(embeddings.values) - same)
    search = NearestNeighbors(metric="cosine").fit(_unit(embeddings.values))
    if same:
        distances, numbers = search.kneighbors(n_neighbors=count)  # without the image itself
    else:
        distances, numbers = search.kneighbors(_unit(of.values), count)
    return numbers, 1 - distances


def knn_accuracy(train: Embeddings, test: Embeddings, count: int = NEIGHBORS) -> float:
    """Fraction of the test images whose class is that of most of their `count` nearest training images."""
    from sklearn.neighbors import KNeighborsClassifier  # noqa: PLC0415

    classifier = KNeighborsClassifier(min(count, len(train.labels)), metric="cosine")
    return float(classifier.fit(_unit(train.values), train.labels).score(_unit(test.values), test.labels))


def probe_accuracy(train: Embeddings, test: Embeddings) -> float:
    """Fraction of the test images that a linear classifier on the features answers right."""
    return float(_probe().fit(train.values, train.labels).score(test.values, test.labels))


def duplicates(
    one: Embeddings, other: Embeddings | None = None, similarity: float = SAME
) -> list[tuple[int, int, float]]:
    """Pairs of images with nearly the same features: an image that is there twice, or in two splits.

    Args:
        one: images of a split.
        other: images of another split; None: pairs in `one` are found.
        similarity: smallest cosine similarity of a pair, in (0, 1].

    Returns:
        Numbers of the images in `one` and in `other`, with their similarity, the most similar pair first. An
        image is in at most ten pairs.
    """
    number("similarity", similarity, "(0, 1]")
    found, similarities = neighbors(one if other is None else other, one, 10)
    pairs = {
        (index, int(match)): float(value)
        for index, (matches, values) in enumerate(zip(found, similarities, strict=True))
        for match, value in zip(matches, values, strict=True)
        if value >= similarity and (other is not None or index < match or index not in found[match])
    }
    return sorted(((*pair, value) for pair, value in pairs.items()), key=lambda row: (-row[2], row[:2]))


def label_errors(embeddings: Embeddings, seed: int = 0) -> np.ndarray:
    """Numbers of the images whose labels are probably wrong, the most doubtful first.

    A linear classifier on the features answers each image after training on others (five folds); cleanlab's confident
    learning (arXiv:1911.00068) finds the labels that contradict its answers.

    Args:
        embeddings: the images; each class has at least five.
        seed: seed of the folds.

    Raises:
        ValueError: cleanlab is not installed, or a class has fewer than five images.
    """
    from sklearn.model_selection import StratifiedKFold, cross_val_predict  # noqa: PLC0415

    try:
        from cleanlab.filter import find_label_issues  # noqa: PLC0415
    except ImportError:
        raise ValueError("label errors are found by cleanlab: pip install cleanlab") from None
    present, labels = np.unique(embeddings.labels, return_inverse=True)
    if (smallest := np.bincount(labels).min()) < FOLDS:
        raise ValueError(
            f"embeddings must have at least {FOLDS} images of each class. Received: {smallest} of one class"
        )
    if len(present) < 2:
        raise ValueError(f"embeddings must have at least two classes. Received: {len(present)}")
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=seed)
    answers = cross_val_predict(_probe(), embeddings.values, labels, cv=folds, method="predict_proba")
    return find_label_issues(labels, answers, return_indices_ranked_by="self_confidence")


def project(embeddings: Embeddings, seed: int = 0) -> np.ndarray:
    """A map of the images in two dimensions by t-SNE, float (N, 2): similar images are near each other."""
    from sklearn.manifold import TSNE  # noqa: PLC0415

    count = len(embeddings.values)
    method = TSNE(perplexity=min(30, max(1, (count - 1) / 3)), metric="cosine", init="random", random_state=seed)
    return method.fit_transform(_unit(embeddings.values))


def _probe() -> Any:
    from sklearn.linear_model import LogisticRegression  # noqa: PLC0415
    from sklearn.pipeline import make_pipeline  # noqa: PLC0415
    from sklearn.preprocessing import StandardScaler  # noqa: PLC0415

    return make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))


def _unit(values: np.ndarray) -> np.ndarray:
    return values / np.maximum(np.linalg.norm(values, axis=-1, keepdims=True), 1e-12)
