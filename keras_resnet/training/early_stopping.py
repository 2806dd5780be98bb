"""Early stopping (`early_stopping` of a recipe): a training ends when its validation accuracy does not rise."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def has_stopped_rising(accuracies: Sequence[float], patience: int) -> bool:
    """Whether none of the last `patience` values is above all values before them, as in Keras' `EarlyStopping`.

    The history of a training alone decides, so a training that was resumed stops after the same epoch.

    Args:
        accuracies: the validation accuracy of each epoch, at least one. NaN is below all numbers.
        patience: number of epochs; 0: never.

    Example:
        >>> from keras_resnet.training.early_stopping import has_stopped_rising
        >>> has_stopped_rising([0.5, 0.7, 0.6, 0.7], 2), has_stopped_rising([0.5, 0.7, 0.6, 0.8], 2)
        (True, False)
    """
    best = int(np.argmax(np.nan_to_num(accuracies, nan=-np.inf)))
    return 0 < patience <= len(accuracies) - 1 - best
