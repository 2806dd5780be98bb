"""Plots of loss and accuracy by epoch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from keras_resnet.plots.style import BLUE, GREY, ORANGE, figure, logarithmic, save

PARTS = {"": ("training", BLUE), "val_": ("validation", ORANGE)}


def plot_curves(history: Mapping[str, Sequence[float]], title: str, path: Path, best_epoch: int | None = None) -> None:
    """Draws loss and accuracy of training and validation into a PNG file.

    Args:
        history: values by epoch, as in Keras' `History`: loss, accuracy, and with validation val_loss and
            val_accuracy.
        title: title above both panels.
        path: path of the PNG file.
        best_epoch: number of the epoch, from 1, whose weights are the result; None for the last epoch.
    """
    drawn, panels = loss_and_accuracy()
    drawn.suptitle(title)
    for quantity, axes in panels.items():
        for prefix, (label, color) in PARTS.items():
            if values := history.get(prefix + quantity):
                axes.plot(range(1, len(values) + 1), values, label=label, color=color, linewidth=2, marker="o", ms=4)
        axes.set(ylabel=quantity)
        axes.legend()
    panels["accuracy"].set_ylim(0, 1.02)
    accuracies = history["val_accuracy" if "val_accuracy" in history else "accuracy"]
    if best_epoch is not None:
        panels["accuracy"].axvline(best_epoch, color=GREY, linestyle=":")
    epoch = f"epoch {best_epoch}, the best" if best_epoch is not None else "last epoch"
    panels["accuracy"].set_title(f"{epoch}: {accuracies[(best_epoch or 0) - 1]:.1%}", fontsize="medium")
    save(drawn, path)


def loss_and_accuracy() -> tuple[Any, dict[str, Any]]:
    """A matplotlib figure and its two empty panels, "loss" and "accuracy", with the epoch as x axis."""
    from matplotlib.ticker import MaxNLocator, PercentFormatter  # noqa: PLC0415

    drawn = figure(10, 4.2)
    panels = dict(zip(("loss", "accuracy"), drawn.subplots(1, 2), strict=True))
    for axes in panels.values():
        axes.set(xlabel="epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.3)
    # On a linear axis, a very high loss in the first epoch would flatten the rest of the curve.
    panels["loss"].set_yscale("log")
    logarithmic(panels["loss"].yaxis)
    panels["accuracy"].yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    return drawn, panels
