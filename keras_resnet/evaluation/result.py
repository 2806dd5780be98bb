"""`Evaluation`: the accuracy of a network as a number, with everything else that was seen on the way."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from keras_resnet.evaluation import metrics
from keras_resnet.evaluation.metrics import Answers, ClassMetrics, Interval, ReliabilityBin


class Mistake(NamedTuple):
    """An image with a wrong answer.

    Attributes:
        number: its place in the answers.
        image: its pixels as the network takes them, uint8 (H, W, C).
    """

    number: int
    image: np.ndarray


class Evaluation(float):
    """Top-1 accuracy, a float in [0, 1], with the other figures and the answer for each image.

    Args:
        answers: what the network answered.
        mistakes: some images with wrong answers, the largest loss first.

    Example:
        >>> import numpy as np
        >>> from keras_resnet.evaluation.metrics import Answers
        >>> from keras_resnet.evaluation.result import Evaluation
        >>> best = np.array([[0, 1], [0, 1], [1, 0], [1, 0]])
        >>> sure = np.array([[0.9, 0.1], [0.6, 0.4], [0.7, 0.3], [0.8, 0.2]])
        >>> labels, losses = np.array([0, 0, 0, 1]), np.array([0.25, 0.5, 1.0, 0.25])
        >>> found = Evaluation(Answers(("cat", "dog"), ("1", "2", "3", "4"), labels, best, sure, losses))
        >>> float(found), found.loss, round(found.balanced_accuracy, 3)
        (0.75, 0.5, 0.833)
    """

    answers: Answers
    mistakes: Sequence[Mistake]

    def __new__(cls, answers: Answers, mistakes: Sequence[Mistake] = ()) -> Evaluation:
        evaluation = super().__new__(cls, metrics.top(answers, 1))
        evaluation.answers = answers
        evaluation.mistakes = mistakes
        return evaluation

    def __getnewargs__(self) -> tuple[Any, ...]:
        return self.answers, self.mistakes

    @property
    def count(self) -> int:
        """Number of images."""
        return len(self.answers.labels)

    @property
    def top1(self) -> float:
        """Fraction of the images whose class has the highest probability."""
        return float(self)

    @functools.cached_property
    def top5(self) -> float:
        """Fraction of the images whose class is among the five with the highest probabilities."""
        return metrics.top(self.answers, 5)

    @functools.cached_property
    def loss(self) -> float:
        """Mean cross-entropy."""
        return float(self.answers.losses.mean(dtype="float64"))

    @functools.cached_property
    def interval(self) -> Interval:
        """Wilson's interval of the accuracy, with a confidence of 95 %."""
        return metrics.wilson(int(self.answers.right.sum()), self.count)

    @functools.cached_property
    def per_class(self) -> Sequence[ClassMetrics]:
        """Precision, recall, F1 and number of images of each class."""
        return metrics.per_class(self.answers)

    @functools.cached_property
    def balanced_accuracy(self) -> float:
        """Mean of the recalls of all classes that have images: each class counts the same."""
        return metrics.macro(self.per_class, "recall")

    @functools.cached_property
    def macro_f1(self) -> float:
        """Mean of the F1 of all classes that have images."""
        return metrics.macro(self.per_class, "f1")

    @functools.cached_property
    def confusion(self) -> np.ndarray:
        """Number of images by right class (row) and answer (column), integers (classes, classes).

        Images whose outputs are not finite have no answer, and are left out.
        """
        return metrics.confusion(self.answers)

    @functools.cached_property
    def reliability(self) -> Sequence[ReliabilityBin]:
        """Accuracy of the images by their highest probability."""
        return metrics.reliability(self.answers)

    @functools.cached_property
    def calibration_error(self) -> float:
        """Expected calibration error (arXiv:1706.04599): mean distance of the highest probability and the accuracy."""
        return metrics.calibration_error(self.reliability)
