"""The line of each epoch: what is in the logs, and the speed of the training alone."""

import io
import itertools

import pytest
from rich.console import Console

from keras_resnet.training import ProgressBar


@pytest.mark.parametrize(
    ("seconds", "logs", "line"),
    [
        (
            0.5,
            {"loss": 0.5, "accuracy": 0.91, "val_loss": 0.25, "val_accuracy": 0.9},
            "epoch   2/3  training loss  0.500, top-1  91.0%  validation loss  0.250, top-1  90.0%  32 images/s",
        ),
        (
            6.4,
            {"loss": 1.25, "val_map": 0.0695},
            "epoch   2/3  training loss  1.250  validation mAP   7.0%  2.5 images/s",
        ),
        (0.004, {"loss": 0.5}, "epoch   2/3  training loss  0.500  4,000 images/s"),
    ],
)
def test_the_line_of_an_epoch(seconds, logs, line, monkeypatch):
    """Two steps of 16 images; the first clock is read when the epoch begins."""
    times = itertools.count(0, seconds)
    monkeypatch.setattr("keras_resnet.training.progress.time.monotonic", lambda: next(times))
    printed = io.StringIO()
    with ProgressBar(Console(file=printed), 16) as progress:
        progress.set_params({"steps": 2, "epochs": 3})
        progress.on_train_begin()
        progress.on_epoch_begin(1)
        progress.on_train_batch_end(0)
        progress.on_train_batch_end(1)
        progress.on_epoch_end(1, logs)
        progress.on_train_end()
    assert printed.getvalue() == f"{line}\n"
