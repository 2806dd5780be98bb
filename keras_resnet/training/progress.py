"""The progress of a fit on a terminal: one bar, and a line for each epoch that is over."""

from __future__ import annotations

import time
from typing import Any

import keras
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn


class ProgressBar(keras.callbacks.Callback):
    """A Keras callback that draws on `console`; where that is no terminal only the lines are printed.

    Use it as a context: a training that fails gives the terminal back too.

    Args:
        console: to draw on.
        batch_size: images a step, for the images per second.
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
        """Shows the bar."""
        self.bar.start()

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Says which epoch it is."""
        self.epoch, self.batches, self.began = epoch, 0, time.monotonic()
        self.bar.update(self.task, description=f"epoch {epoch + 1}/{self.params['epochs']}")

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Moves the bar."""
        self.batches += 1
        steps = self.params["steps"]
        self.bar.update(
            self.task,
            total=steps * self.params["epochs"],
            completed=steps * self.epoch + batch + 1,
            speed=f"{self._images_per_second():,.0f} images/s",
        )

    def on_test_begin(self, logs: Any = None) -> None:
        """Ends the measuring of speed: validation is no training."""
        self.speed = self._images_per_second()

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Prints the epoch's line."""
        logs = logs or {}
        parts = [f"epoch {epoch + 1:3}/{self.params['epochs']}"]
        for part, prefix in (("training", ""), ("validation", "val_")):
            if f"{prefix}loss" in logs:
                parts.append(f"{part} loss {logs[prefix + 'loss']:6.3f}, top-1 {logs[prefix + 'accuracy']:6.1%}")
        speed = self.speed if "val_loss" in logs else self._images_per_second()
        parts.append(f"{speed:,.0f} images/s")
        self.bar.console.print("  ".join(parts), highlight=False, soft_wrap=True)

    def on_train_end(self, logs: Any = None) -> None:
        """Takes the bar away."""
        self.bar.stop()

    def _images_per_second(self) -> float:
        return self.batches * self.batch_size / max(time.monotonic() - self.began, 1e-9)
