"""`plot_reliability`: whether a network is right as often as it says."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from keras_resnet.plots.style import BLUE, GREY, ORANGE, figure, save

FEW = 10  # images of a bin whose accuracy says little


def plot_reliability(
    confidence: Sequence[float], accuracy: Sequence[float], count: Sequence[int], error: float, path: Path
) -> None:
    """Draws accuracy by confidence, and the number of images, into a PNG file (arXiv:1706.04599).

    Args:
        confidence: mean of the highest probabilities of the images of each bin.
        accuracy: fraction of the images of each bin that are answered right.
        count: number of images in each bin.
        error: expected calibration error.
        path: path of the PNG file.
    """
    from matplotlib.ticker import PercentFormatter  # noqa: PLC0415

    drawn = figure(5.2, 5.6)
    upper, lower = drawn.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    upper.plot([0, 1], [0, 1], color=GREY, linestyle="--", label="as often right as it says")
    upper.plot(confidence, accuracy, color=BLUE, linewidth=2, label="this network")
    enough = [number >= FEW for number in count]
    fill = [BLUE if each else "white" for each in enough]
    upper.scatter(confidence, accuracy, color=fill, edgecolors=BLUE, zorder=3)
    if not all(enough):
        upper.scatter([], [], color="white", edgecolors=BLUE, label=f"fewer than {FEW} images")
    upper.set(ylabel="right answers", ylim=(0, 1.02), title=f"expected calibration error {error:.1%}")
    upper.legend(loc="upper left")
    upper.grid(alpha=0.3)
    lower.bar(confidence, count, width=0.03, color=ORANGE)
    lower.set(xlabel="highest probability of an image", ylabel="images", xlim=(0, 1.02))
    lower.set_yscale("symlog", linthresh=10)
    lower.set_ylim(0, 2 * max(count))
    lower.yaxis.set_major_formatter("{x:,.0f}")
    lower.grid(alpha=0.3)
    for axis in (upper.yaxis, lower.xaxis):
        axis.set_major_formatter(PercentFormatter(1, decimals=0))
    save(drawn, path)
