"""Evaluation: accuracy on a split, published checkpoints, and predictions for image files."""

from typing import TYPE_CHECKING

from keras_resnet._internal.lazy_names import lazy_names

__all__ = ["evaluate"]

if TYPE_CHECKING:
    from keras_resnet.evaluation.accuracy import evaluate
else:
    __getattr__, __dir__ = lazy_names(__name__, {"evaluate": "accuracy"})
