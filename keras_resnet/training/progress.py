"""Progress of a training on a terminal: a bar, and a line for each finished epoch."""

from __future__ import annotations

import time
from typing import Any

import keras
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from keras_resnet._internal.validation import printable
from keras_resnet.runtime.quickest import rate

# What the line of an epoch tells of training and validation, if it is in the logs: classifiers have an accuracy, and
# detectors a mean average precision.
VALUES = {"loss": "loss {:6.3f}", "accuracy": "top-1 {:6.1%}", "map": "mAP {:6.1%}"}


class ProgressBar(keras.callbacks.Callback):
    """A Keras callback that shows the progress. If `console` is not a terminal, it only prints the line of each epoch.

    Use it as a context manager: the bar then disappears also if the training fails.

    Args:
        console: the console to print on.
        batch_size: images per step, to compute images per second.
    """

    def __init__(self, console: Console, batch_size: int) -> None:
        super().__init__()
        self.batch_size = batch_size
        self.bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(None),
            TaskProgressColumn(),
            TextColumn("{task.fields[speed]}"),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self.task = self.bar.add_task("training", total=None, speed="")

    def __enter__(self) -> ProgressBar:
        return self

    def __exit__(self, *exception: object) -> None:
        self.bar.stop()

    def on_train_begin(self, logs: Any = None) -> None:
        """Shows the bar, and says where a training continues."""
        epoch, step = self.params.get("start", (0, 0))
        if (epoch, step) != (0, 0) and epoch < self.params["epochs"]:
            where = f"epoch {epoch + 1} of {self.params['epochs']}, step {step + 1} of {self.params['steps']}"
            text = f"continues {printable(self.params['directory'])} at {where}"
            self.bar.console.print(text, markup=False, highlight=False, soft_wrap=True)
        self.bar.start()

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Shows the number of the epoch."""
        self.epoch, self.batches, self.start_time, self.speed = epoch, 0, time.monotonic(), 0.0
        self.bar.update(self.task, description=f"epoch {epoch + 1}/{self.params['epochs']}")

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Moves the bar. The speed is that of the training: the time of a validation does not count."""
        self.batches += 1
        self.speed = self.batches * self.batch_size / max(time.monotonic() - self.start_time, 1e-9)
        steps = self.params["steps"]
        self.bar.update(
            self.task,
            total=steps * self.params["epochs"],
            completed=steps * self.epoch + batch + 1,
            speed=rate(self.speed),
        )

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Prints the line of the epoch."""
        logs = logs or {}
        texts = [f"epoch {epoch + 1:3}/{self.params['epochs']}"]
        for label, prefix in (("training", ""), ("validation", "val_")):
            values = [text.format(logs[prefix + name]) for name, text in VALUES.items() if prefix + name in logs]
            if values:
                texts.append(f"{label} {', '.join(values)}")
        texts.append(rate(self.speed))
        self.bar.console.print("  ".join(texts), highlight=False, soft_wrap=True)

    def on_train_end(self, logs: Any = None) -> None:
        """Removes the bar."""
        self.bar.stop()
