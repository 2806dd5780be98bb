"""Evaluation: accuracy on a split and what lies behind it, reports, published checkpoints, predictions for files."""

from typing import TYPE_CHECKING

from keras_resnet._internal.lazy_names import lazy_names

__all__ = [
    "Embeddings",
    "Evaluation",
    "duplicates",
    "embed",
    "evaluate",
    "held_out_probabilities",
    "knn_accuracy",
    "label_errors",
    "neighbors",
    "probe_accuracy",
    "project",
    "write_report",
]

if TYPE_CHECKING:
    from keras_resnet.evaluation.accuracy import evaluate
    from keras_resnet.evaluation.embeddings import (
        Embeddings,
        duplicates,
        embed,
        held_out_probabilities,
        knn_accuracy,
        label_errors,
        neighbors,
        probe_accuracy,
        project,
    )
    from keras_resnet.evaluation.report import write_report
    from keras_resnet.evaluation.result import Evaluation
else:
    __getattr__, __dir__ = lazy_names(
        __name__,
        {
            "Embeddings": "embeddings",
            "Evaluation": "result",
            "duplicates": "embeddings",
            "embed": "embeddings",
            "evaluate": "accuracy",
            "held_out_probabilities": "embeddings",
            "knn_accuracy": "embeddings",
            "label_errors": "embeddings",
            "neighbors": "embeddings",
            "probe_accuracy": "embeddings",
            "project": "embeddings",
            "write_report": "report",
        },
    )
