"""Figures of an evaluation: accuracy, per class, confusion, calibration; all from labels and scores of images."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from keras_resnet._internal.validation import printable

NO_ANSWER = -1  # in place of a class, for an image whose outputs are not finite
BINS = 15  # of confidence, as in "On Calibration of Modern Neural Networks" (arXiv:1706.04599)


class Interval(NamedTuple):
    """A confidence interval of a fraction."""

    low: float
    high: float


class ClassMetrics(NamedTuple):
    """What a network does with the images of one class. A fraction of no images is NaN.

    Attributes:
        name: name of the class.
        support: number of images of the class.
        precision: fraction of the answers with this class that are right.
        recall: fraction of the images of this class that are answered with it.
        f1: harmonic mean of precision and recall.
        interval: of the recall, with a confidence of 95 %.
    """

    name: str
    support: int
    precision: float
    recall: float
    f1: float
    interval: Interval


class ReliabilityBin(NamedTuple):
    """The images whose highest probability is in one range.

    Attributes:
        low, high: the range, (low, high].
        images: number of images.
        confidence: mean of their highest probabilities.
        accuracy: fraction of them that are answered right.
    """

    low: float
    high: float
    images: int
    confidence: float
    accuracy: float


@dataclasses.dataclass(frozen=True)
class Answers:
    """What a network answered, image by image, in the order of the split.

    Attributes:
        classes: names of the classes, in the order of the network's outputs.
        names: name of each image: its file, or its number.
        labels: the right class of each image, integers (N,).
        best: the classes with the highest probabilities, the highest first, integers (N, at most 5); `NO_ANSWER` for
            an image whose outputs are not finite.
        probabilities: the probabilities of `best`, float32 (N, at most 5); NaN where there is no answer.
        losses: cross-entropy of each image, float32 (N,).
    """

    classes: tuple[str, ...]
    names: tuple[str, ...]
    labels: np.ndarray
    best: np.ndarray
    probabilities: np.ndarray
    losses: np.ndarray

    @property
    def right(self) -> np.ndarray:
        """Whether each image is answered right, booleans (N,)."""
        return self.best[:, 0] == self.labels

    @property
    def not_finite(self) -> np.ndarray:
        """Whether the network gives NaN or infinity for each image, booleans (N,)."""
        return self.best[:, 0] == NO_ANSWER

    def name_of(self, answer: int) -> str:
        """The name of a class; "" for `NO_ANSWER`."""
        return "" if answer == NO_ANSWER else self.classes[answer]


def top(answers: Answers, k: int) -> float:
    """The fraction of images whose class is among the `k` classes with the highest probabilities, k at most 5."""
    return float((answers.best[:, :k] == answers.labels[:, None]).any(-1).mean())


def wilson(right: int, count: int) -> Interval:
    """Wilson's interval of a fraction, with a confidence of 95 %: it is right for small counts too.

    Args:
        right: number of images that are right.
        count: number of images; without images the interval is (0, 1).

    Example:
        >>> from keras_resnet.evaluation.metrics import wilson
        >>> [round(bound, 3) for bound in wilson(9, 10)]
        [0.596, 0.982]
    """
    from scipy.stats import binomtest  # noqa: PLC0415  (its import takes a second)

    if not count:
        return Interval(0.0, 1.0)
    interval = binomtest(right, count).proportion_ci(method="wilson")
    return Interval(float(interval.low), float(interval.high))


def confusion(answers: Answers) -> np.ndarray:
    """The number of images by right class (row) and answer (column), integers (classes, classes).

    Images without an answer are left out.
    """
    count, known = len(answers.classes), ~answers.not_finite
    pairs = np.bincount(answers.labels[known] * count + answers.best[known, 0], minlength=count * count)
    return pairs.reshape(count, count)


def per_class(answers: Answers) -> list[ClassMetrics]:
    """Precision, recall and F1 of each class, as scikit-learn computes them."""
    from sklearn.metrics import precision_recall_fscore_support  # noqa: PLC0415

    numbers = np.arange(len(answers.classes))
    columns = precision_recall_fscore_support(answers.labels, answers.best[:, 0], labels=numbers, zero_division=np.nan)
    right = np.bincount(answers.labels[answers.right], minlength=len(numbers))
    return [
        ClassMetrics(name, int(support), float(precision), float(recall), float(f1), wilson(int(hits), int(support)))
        for name, precision, recall, f1, support, hits in zip(answers.classes, *columns, right, strict=True)
    ]


def macro(classes: Sequence[ClassMetrics], field: str) -> float:
    """The mean of a field over the classes that have images; of the recall it is the balanced accuracy."""
    return float(np.mean([np.nan_to_num(getattr(row, field)) for row in classes if row.support]))


def reliability(answers: Answers, bins: int = BINS) -> list[ReliabilityBin]:
    """The images by their highest probability, in ranges of the same width; ranges without images are left out."""
    known = ~answers.not_finite
    confidence, right = answers.probabilities[known, 0].astype("float64"), answers.right[known]
    edges = np.linspace(0, 1, bins + 1)
    number = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    return [
        ReliabilityBin(
            float(edges[index]),
            float(edges[index + 1]),
            int(chosen.sum()),
            float(confidence[chosen].mean()),
            float(right[chosen].mean()),
        )
        for index in range(bins)
        if (chosen := number == index).any()
    ]


def calibration_error(bins: Sequence[ReliabilityBin]) -> float:
    """Expected calibration error (arXiv:1706.04599): mean distance of confidence and accuracy, by number of images.

    It is NaN without images.
    """
    total = sum(row.images for row in bins)
    return sum(row.images * abs(row.confidence - row.accuracy) for row in bins) / total if total else np.nan


class Flips(NamedTuple):
    """How two networks differ on the same images.

    Attributes:
        fixed: images that only the new network answers right.
        broken: images that only the old network answers right.
        p_value: of McNemar's exact test: how likely so large a difference is if both networks are equally good.
    """

    fixed: np.ndarray
    broken: np.ndarray
    p_value: float


def classes_of_baseline(new: Answers, old: Answers) -> dict[int, int]:
    """For each class that has images, the number of the same class in the answers of another network.

    The networks may have their classes in another order, or other names for them, and one of them may have more.

    Raises:
        ValueError: the answers are for other images, or the images have other classes.
    """
    if new.names != old.names:
        different = next((pair for pair in zip(old.names, new.names) if pair[0] != pair[1]), ("", ""))
        raise ValueError(
            "baseline must be answers for the same images. "
            f"Received: {len(old.names)} images, and {len(new.names)} images"
            f"{f', of which the first that differs is {printable(different[0])}' if different[0] else ''}"
        )
    pairs = sorted(set(zip(new.labels.tolist(), old.labels.tolist())))
    found = dict(pairs)
    one_to_one = len(pairs) == len(found) == len(set(found.values()))
    for label, other in pairs:
        name, before = new.classes[label], old.classes[other]
        if not one_to_one or (name != before and name in old.classes):
            raise ValueError(
                "baseline must be answers for images of the same classes. "
                f"Received: an image of {printable(before)!r:.100} that is {printable(name)!r:.100} now"
            )
    return found


def flips(new: Answers, old: Answers) -> Flips:
    """The images whose answers became right or wrong, by number.

    Raises:
        ValueError: the answers are for other images or other classes.
    """
    from scipy.stats import binomtest  # noqa: PLC0415  (its import takes a second)

    classes_of_baseline(new, old)
    fixed, broken = np.flatnonzero(new.right & ~old.right), np.flatnonzero(~new.right & old.right)
    changed = len(fixed) + len(broken)
    return Flips(fixed, broken, float(binomtest(len(fixed), changed).pvalue) if changed else 1.0)
