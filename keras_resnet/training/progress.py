"""The progress of a fit on a terminal: one bar, and a line for each epoch that is over."""

from __future__ import annotations

from typing import Any

import keras
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn


class ProgressBar(keras.callbacks.Callback):
    """A Keras callback that draws on `console`; where that is no terminal only the lines are printed.

    Use it as a context: a training that fails gives the terminal back too.
    """

    def __init__(self, console: Console) -> None:
        super().__init__()
        self.bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(None),
            TaskProgressColumn(),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )

    def __enter__(self) -> ProgressBar:
        return self

    def __exit__(self, *exception: object) -> None:
        self.bar.stop()

    def on_train_begin(self, logs: Any = None) -> None:
        self.bar.start()
        self.task = self.bar.add_task("training", total=None)

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.epoch = epoch
        self.bar.update(self.task, description=f"epoch {epoch + 1}/{self.params['epochs']}")

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        steps = self.params["steps"]
        total = steps and steps * self.params["epochs"]
        self.bar.update(self.task, total=total, completed=(steps or 0) * self.epoch + batch + 1)

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        logs = logs or {}
        parts = [f"epoch {epoch + 1:3}/{self.params['epochs']}"]
        for part, prefix in (("training", ""), ("test", "val_")):
            if f"{prefix}loss" in logs:
                parts.append(f"{part} loss {logs[prefix + 'loss']:6.3f}, top-1 {logs[prefix + 'accuracy']:6.1%}")
        self.bar.console.print("  ".join(parts), highlight=False, soft_wrap=True)

    def on_train_end(self, logs: Any = None) -> None:
        self.bar.stop()
