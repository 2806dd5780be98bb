"""Evaluation: accuracy on a split and what lies behind it, reports, published checkpoints, predictions for files."""

from typing import TYPE_CHECKING

from keras_resnet._internal.lazy_names import lazy_names

__all__ = ["Embeddings", "Evaluation", "embed", "evaluate", "write_report"]

if TYPE_CHECKING:
    from keras_resnet.evaluation.accuracy import evaluate
    from keras_resnet.evaluation.embeddings import Embeddings, embed
    from keras_resnet.evaluation.report import write_report
    from keras_resnet.evaluation.result import Evaluation
else:
    __getattr__, __dir__ = lazy_names(
        __name__,
        {
            "Embeddings": "embeddings",
            "Evaluation": "result",
            "embed": "embeddings",
            "evaluate": "accuracy",
            "write_report": "report",
        },
    )
