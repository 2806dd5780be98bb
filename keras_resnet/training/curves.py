"""Plots of loss and accuracy by epoch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from keras_resnet._internal.atomic_files import atomic_write

PARTS = {"": ("training", "tab:blue"), "val_": ("validation", "tab:orange")}


def plot_curves(history: Mapping[str, Sequence[float]], title: str, path: Path, best_epoch: int | None = None) -> None:
    """Draws loss and accuracy of training and validation into a PNG file.

    Args:
        history: values by epoch, as in Keras' `History`: loss, accuracy, and with validation val_loss and
            val_accuracy.
        title: title above both panels.
        path: path of the PNG file.
        best_epoch: number of the epoch, from 1, whose weights are the result; None for the last epoch.
    """
    figure, panels = loss_and_accuracy()
    figure.suptitle(title)
    for quantity, axes in panels.items():
        for prefix, (label, color) in PARTS.items():
            if values := history.get(prefix + quantity):
                axes.plot(range(1, len(values) + 1), values, label=label, color=color, linewidth=2, marker="o", ms=4)
        axes.set(ylabel=quantity)
        axes.legend()
    panels["accuracy"].set_ylim(0, 1.02)
    accuracies = history["val_accuracy" if "val_accuracy" in history else "accuracy"]
    if best_epoch is not None:
        panels["accuracy"].axvline(best_epoch, color="tab:grey", linestyle=":")
    epoch = f"epoch {best_epoch}, the best" if best_epoch is not None else "last epoch"
    panels["accuracy"].set_title(f"{epoch}: {accuracies[(best_epoch or 0) - 1]:.1%}", fontsize="medium")
    with atomic_write(path) as temporary:
        figure.savefig(temporary)


def loss_and_accuracy() -> tuple[Any, dict[str, Any]]:
    """A matplotlib figure and its two empty panels, "loss" and "accuracy", with the epoch as x axis."""
    from matplotlib.figure import Figure  # noqa: PLC0415  (no pyplot: no window system, no global state)
    from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter, PercentFormatter  # noqa: PLC0415

    figure = Figure(figsize=(10, 4.2), dpi=120, layout="constrained")
    panels = dict(zip(("loss", "accuracy"), figure.subplots(1, 2), strict=True))
    for axes in panels.values():
        axes.set(xlabel="epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.3)
    # On a linear axis, a very high loss in the first epoch would flatten the rest of the curve.
    panels["loss"].set_yscale("log")
    panels["loss"].yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    panels["loss"].yaxis.set_major_formatter("{x:g}")
    panels["loss"].yaxis.set_minor_formatter(NullFormatter())
    panels["accuracy"].yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    return figure, panels
