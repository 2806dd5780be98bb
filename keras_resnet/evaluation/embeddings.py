"""Features of images at work: neighbors, a probe, duplicates, likely label errors, a map in two dimensions.

The features are what a network gives to its classifier. Distances are cosine distances.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import keras
import numpy as np

from keras_resnet._internal.keras_graph import functional_graph, producer
from keras_resnet._internal.validation import integer, number, printable
from keras_resnet.data.as_split import Data, as_split, numbered
from keras_resnet.data.corrupt import name_corrupt_files
from keras_resnet.data.decode import to_square
from keras_resnet.data.pipeline import Resize, numbered_pipeline
from keras_resnet.evaluation.accuracy import in_channels_of
from keras_resnet.explain.arguments import outputs_for
from keras_resnet.inputs import square_side
from keras_resnet.runtime.grouped_convolutions import without_xla

NEIGHBORS = 20  # of k-nearest-neighbor classification, as in DINO (arXiv:2104.14294)
SAME = 0.9999  # cosine similarity of features from which two images are taken for the same
FOLDS = 5
ROUNDING = 1e-6  # of the similarity of two images that are the same
AFTER_CLASSIFIER = (keras.layers.Activation, keras.layers.Softmax, keras.layers.Dropout)


class Embeddings(NamedTuple):
    """Features of the images of a split, in order.

    Attributes:
        values: features, float32 (N, D).
        labels: class of each image, integers (N,); -1 for an image without a class.
        names: name of each image: its file, or its number.
        classes: names of the classes; () if the images have none.
    """

    values: np.ndarray
    labels: np.ndarray
    names: tuple[str, ...]
    classes: tuple[str, ...]

    def select(self, rows: Sequence[int] | np.ndarray) -> Embeddings:
        """The images with these numbers, in this order."""
        names = tuple(self.names[row] for row in rows)
        return Embeddings(self.values[rows], self.labels[rows], names, self.classes)


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
        ValueError: the model does not fit the images, has no features (N, D), or gives features that are not finite;
            or a file is not a readable image.

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
            features = outputs_for(network, pixels)[: len(pixels)]
            if not (finite := np.isfinite(features).all(axis=1)).all():
                name = printable(images.names_of(numbers[~finite])[0])
                raise ValueError(f"model must give finite features. Received: NaN or infinity for image {name}")
            parts.append((numbers, features, labels))
    if not parts:
        raise ValueError(f"split must have at least one readable image. Received: {images}, all of them corrupt")
    numbers, values, labels = map(np.concatenate, zip(*parts, strict=True))
    return Embeddings(values, labels, images.names_of(numbers), images.classes)


def without_classifier(model: keras.Model) -> keras.Model:
    """The model up to the input of its classifier, a dense layer at its end; the model itself if it has none.

    Raises:
        ValueError: what is left has no output (N, D).
    """
    graph = functional_graph(model)
    node = producer(graph.outputs[0])
    while isinstance(node.operation, AFTER_CLASSIFIER):
        node = producer(node.input_tensors[0])
    features = model
    if isinstance(node.operation, keras.Model):  # a model inside a model
        features = keras.Model(graph.input, without_classifier(node.operation)(node.input_tensors[0]))
    elif isinstance(node.operation, keras.layers.Dense):
        features = keras.Model(graph.input, node.input_tensors[0])
    shape = features.outputs[0].shape
    if len(features.outputs) != 1 or len(shape) != 2:
        raise ValueError(f"model must have features (N, D) before its classifier. Received: an output {shape}")
    return features


def neighbors(embeddings: Embeddings, of: Embeddings, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The most similar images for each image.

    The images are compared in blocks, so that 50,000 images need little memory.

    Args:
        embeddings: the images among which the neighbors are found.
        of: the images whose neighbors are found.
        count: number of neighbors of each image, at least 1; of fewer images all are neighbors.

    Returns:
        Numbers of images of `embeddings`, integers (N, count), and their cosine similarities, float (N, count), the
        most similar first. If both arguments are the same object, an image is not its own neighbor.

    Raises:
        ValueError: `count` is below 1.
        TypeError: `count` is not an integer.

    Example:
        >>> import numpy as np, keras_resnet as kr
        >>> values = np.array([[1, 0], [0, 1], [1, 0.1]], "float32")
        >>> images = kr.evaluation.Embeddings(values, np.array([0, 1, 0]), ("a", "b", "c"), ("cat", "dog"))
        >>> kr.evaluation.neighbors(images, images, 1)[0].tolist()
        [[2], [2], [0]]
    """
    from sklearn.neighbors import NearestNeighbors  # noqa: PLC0415  (its import takes a second)

    same = of is embeddings
    count = min(integer("count", count), len(embeddings.values) - same)
    if count == 0:  # one image has no other one
        return np.zeros((len(of.values), 0), int), np.zeros((len(of.values), 0))
    # Of vectors of length 1 the squared distance is 2 - 2 * similarity. scikit-learn computes distances block by block,
    # and keeps the nearest ones; of its cosines it keeps whole rows.
    search = NearestNeighbors(algorithm="brute").fit(_unit(embeddings.values))
    if same:
        distances, numbers = search.kneighbors(n_neighbors=count)  # without the image itself
    else:
        distances, numbers = search.kneighbors(_unit(of.values), count)
    return numbers, 1 - distances.astype("float64") ** 2 / 2


def knn_accuracy(train: Embeddings, test: Embeddings, count: int = NEIGHBORS) -> float:
    """Fraction of the test images whose class is that of most of their nearest training images.

    Args:
        train: the training images.
        test: the test images. If both are the same object, an image is not its own neighbor.
        count: number of neighbors of each image, at least 1.

    Returns:
        A fraction in [0, 1].

    Example:
        >>> import numpy as np, keras_resnet as kr
        >>> values = np.array([[1, 0], [0, 1], [1, 0.1]], "float32")
        >>> images = kr.evaluation.Embeddings(values, np.array([0, 1, 0]), ("a", "b", "c"), ("cat", "dog"))
        >>> kr.evaluation.knn_accuracy(images, images.select([0, 1]), count=1)
        1.0
    """
    from scipy.stats import mode  # noqa: PLC0415

    numbers, _ = neighbors(train, test, count)
    answers = mode(train.labels[numbers], axis=1).mode  # of two classes with as many neighbors the first one
    return float(np.mean(answers == test.labels))


def probe_accuracy(train: Embeddings, test: Embeddings) -> float:
    """Fraction of the test images that a linear classifier on the features answers right.

    Args:
        train: images of at least two classes, with which the classifier is trained.
        test: images that it answers.

    Returns:
        A fraction in [0, 1].

    Raises:
        ValueError: the training images have one class only.

    Example:
        >>> import numpy as np, keras_resnet as kr
        >>> values = np.array([[1, 0], [0, 1], [1, 0.1]], "float32")
        >>> images = kr.evaluation.Embeddings(values, np.array([0, 1, 0]), ("a", "b", "c"), ("cat", "dog"))
        >>> kr.evaluation.probe_accuracy(images, images)
        1.0
    """
    _check_classes(train)
    with _unfinished_probes():
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
        Numbers of the images in `one` and in `other`, with their similarity, the most similar pair first. Each image
        is compared with its ten nearest ones only, so of more than ten copies not all pairs are there.

    Raises:
        ValueError: `similarity` is not in (0, 1].
        TypeError: `similarity` is not a number.

    Example:
        >>> import numpy as np, keras_resnet as kr
        >>> values = np.array([[1, 0], [0, 1], [2, 0]], "float32")
        >>> images = kr.evaluation.Embeddings(values, np.array([0, 1, 0]), ("a", "b", "c"), ("cat", "dog"))
        >>> kr.evaluation.duplicates(images)
        [(0, 2, 1.0)]
    """
    number("similarity", similarity, "(0, 1]")
    found, similarities = neighbors(one if other is None else other, one, 10)
    pairs = []
    for index, place in np.argwhere(similarities >= similarity - ROUNDING).tolist():
        match = int(found[index, place])
        if other is not None or index < match or index not in found[match]:  # a pair in one split is found twice
            pairs.append((index, match, float(similarities[index, place])))
    return sorted(pairs, key=lambda row: (-row[2], row[:2]))


def held_out_probabilities(embeddings: Embeddings, seed: int = 0) -> np.ndarray:
    """What a linear classifier on the features answers for each image after training on other images (five folds).

    Args:
        embeddings: the images; each class that has images has at least five.
        seed: seed of the folds.

    Returns:
        Probabilities, float (N, classes that have images), in the order of `np.unique(embeddings.labels)`.

    Raises:
        ValueError: there is one class only, or a class has fewer than five images.

    Example:
        >>> import numpy as np, keras_resnet as kr
        >>> rng = np.random.default_rng(0)
        >>> values = rng.normal(np.repeat([[0.0, 3.0], [3.0, 0.0]], 20, axis=0), 1).astype("float32")
        >>> images = kr.evaluation.Embeddings(values, np.repeat([0, 1], 20), tuple(map(str, range(40))), ("a", "b"))
        >>> kr.evaluation.held_out_probabilities(images).shape
        (40, 2)
    """
    from sklearn.model_selection import StratifiedKFold, cross_val_predict  # noqa: PLC0415

    smallest = np.unique(embeddings.labels, return_counts=True)[1].min()
    if smallest < FOLDS:
        raise ValueError(
            f"embeddings must have at least {FOLDS} images of each class. Received: {smallest} of one class"
        )
    _check_classes(embeddings)
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=seed)
    with _unfinished_probes():
        return cross_val_predict(_probe(), embeddings.values, embeddings.labels, cv=folds, method="predict_proba")


def label_errors(embeddings: Embeddings, seed: int = 0, *, probabilities: np.ndarray | None = None) -> np.ndarray:
    """Numbers of the images whose labels are probably wrong, the most doubtful first.

    A linear classifier on the features answers each image after training on others (five folds); cleanlab's confident
    learning (arXiv:1911.00068) finds the labels that contradict its answers.

    Args:
        embeddings: the images; each class that has images has at least five.
        seed: seed of the folds.
        probabilities: the result of `held_out_probabilities`, if it is there already. None: it is computed.

    Returns:
        Numbers of images, integers.

    Raises:
        ValueError: cleanlab is not installed, there is one class only, or a class has fewer than five images.

    Example:
        >>> import numpy as np, keras_resnet as kr
        >>> rng = np.random.default_rng(0)
        >>> values = rng.normal(np.repeat([[0.0, 9.0], [9.0, 0.0]], 20, axis=0), 1).astype("float32")
        >>> labels = np.repeat([0, 1], 20)
        >>> labels[3] = 1
        >>> images = kr.evaluation.Embeddings(values, labels, tuple(map(str, range(40))), ("a", "b"))
        >>> kr.evaluation.label_errors(images).tolist()  # doctest: +SKIP
        [3]
    """
    if not has_cleanlab():
        raise ValueError("label errors are found by cleanlab: pip install cleanlab")
    from cleanlab.filter import find_label_issues  # noqa: PLC0415

    if probabilities is None:
        probabilities = held_out_probabilities(embeddings, seed)
    _, labels = np.unique(embeddings.labels, return_inverse=True)
    # One process: others would be forked from this one, in which TensorFlow has threads.
    return find_label_issues(labels, probabilities, return_indices_ranked_by="self_confidence", n_jobs=1)


def has_cleanlab() -> bool:
    """Whether cleanlab is installed, which is optional."""
    try:
        import cleanlab.filter  # noqa: F401, PLC0415
    except ImportError:
        return False
    return True


def project(embeddings: Embeddings, seed: int = 0) -> np.ndarray:
    """A map of the images in two dimensions by t-SNE: similar images are near each other.

    Two thousand images take about 10 seconds.

    Args:
        embeddings: at least two images.
        seed: seed of the map.

    Returns:
        Places of the images, float32 (N, 2), without a unit.

    Raises:
        ValueError: there are fewer than two images.

    Example:
        >>> import numpy as np, keras_resnet as kr
        >>> values = np.random.default_rng(0).normal(size=(20, 8)).astype("float32")
        >>> images = kr.evaluation.Embeddings(values, np.zeros(20, int), tuple(map(str, range(20))), ("a",))
        >>> kr.evaluation.project(images).shape
        (20, 2)
    """
    from sklearn.manifold import TSNE  # noqa: PLC0415
    from threadpoolctl import threadpool_limits  # noqa: PLC0415  (a dependency of scikit-learn)

    count = len(embeddings.values)
    if count < 2:
        raise ValueError(f"embeddings must have at least two images. Received: {count}")
    method = TSNE(perplexity=min(30, max(1, (count - 1) / 3)), metric="cosine", init="random", random_state=seed)
    # Threads of a core that is busy with other work keep the others waiting: on two such cores 2,000 images took 125 s
    # with two threads and 30 s with one.
    with threadpool_limits(1):
        return method.fit_transform(_unit(embeddings.values))


def _check_classes(embeddings: Embeddings) -> None:
    if (count := len(np.unique(embeddings.labels))) < 2:
        raise ValueError(f"embeddings must have at least two classes. Received: {count}")


@contextlib.contextmanager
def _unfinished_probes() -> Iterator[None]:
    """Hides scikit-learn's warning of a probe that could still become better: it is a measure, and good enough."""
    from sklearn.exceptions import ConvergenceWarning  # noqa: PLC0415

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        yield


def _probe() -> Any:
    from sklearn.linear_model import LogisticRegression  # noqa: PLC0415
    from sklearn.pipeline import make_pipeline  # noqa: PLC0415
    from sklearn.preprocessing import StandardScaler  # noqa: PLC0415

    return make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))


def _unit(values: np.ndarray) -> np.ndarray:
    return values / np.maximum(np.linalg.norm(values, axis=-1, keepdims=True), 1e-12)
