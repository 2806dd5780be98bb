"""The files of a search for a learning rate: rates.csv and rates.png."""

from __future__ import annotations

import csv
from pathlib import Path

from keras_resnet._internal.atomic_files import atomic_write
from keras_resnet.plots.style import BLUE, GREY, ORANGE, figure, save
from keras_resnet.training.rate_finder import RateCurve

COLUMNS = ("learning_rate", "loss", "smoothed_loss")


def write_rates(found: RateCurve, title: str, directory: Path) -> tuple[Path, Path]:
    """Writes the curve as a table and as a picture; returns the paths of rates.csv and rates.png.

    Args:
        found: what `find_rate` returns.
        title: title of the picture.
        directory: directory of the files; it must exist.
    """
    table, picture = directory / "rates.csv", directory / "rates.png"
    with atomic_write(table) as temporary, temporary.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        writer.writerows(zip(found.rates, found.losses, found.smoothed, strict=True))
    plot_rates(found, title, picture)
    return table, picture


def plot_rates(found: RateCurve, title: str, path: Path) -> None:
    """Draws the losses by learning rate, and the proposed rate, into a PNG file.

    Args:
        found: what `find_rate` returns.
        title: title of the picture.
        path: path of the PNG file.
    """
    drawn = figure(7, 4.2)
    axes = drawn.subplots()
    drawn.suptitle(title)
    axes.plot(found.rates, found.losses, ".", color=GREY, ms=4, label="loss of a step")
    axes.plot(found.rates, found.smoothed, color=BLUE, linewidth=2, label="smoothed")
    axes.axvline(found.proposal, color=ORANGE, linewidth=2, label=f"proposal: {found.proposal:g}")
    # Losses that diverge would flatten the rest of the curve.
    low, first = min(found.smoothed), found.smoothed[0]
    margin = max(first - low, 0.1 * first)
    axes.set(xscale="log", xlabel="learning rate", ylabel="loss", ylim=(low - margin / 2, first + margin))
    axes.xaxis.set_major_formatter("{x:g}")  # not a formula, which `save` draws as it is
    axes.grid(alpha=0.3)
    axes.legend()
    save(drawn, path)
