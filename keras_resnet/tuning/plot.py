"""The plot of a search: accuracy over multiply-accumulates, with the Pareto front."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from keras_resnet.plots.style import BLUE, GREY, figure, logarithmic, save
from keras_resnet.tuning.results import TrialResult, pareto_front


def plot_trials(trials: Sequence[TrialResult], title: str, path: Path) -> None:
    """Draws all trials into a PNG file: the Pareto front as a line, all other trials in pale gray.

    Args:
        trials: finished trials, at least one.
        title: title of the plot.
        path: path of the PNG file.
    """
    from matplotlib.ticker import PercentFormatter  # noqa: PLC0415

    drawn = figure(8, 5)
    axes = drawn.subplots()
    best = pareto_front(trials)
    dominated = [trial for trial in trials if trial not in best]
    axes.scatter(*_points(dominated), color=GREY, alpha=0.4, label="other trials")
    axes.plot(*_points(best), color=BLUE, marker="o", linewidth=2, drawstyle="steps-post", label="Pareto front")
    for trial in best:
        point = (trial.metrics["macs"] / 1e6, trial.metrics["val_accuracy"])
        axes.annotate(trial.trial, point, textcoords="offset points", xytext=(4, 6), fontsize="small")
    axes.set(title=title, xlabel="multiply-accumulates of one image, millions", ylabel="validation accuracy")
    axes.set_xscale("log")
    logarithmic(axes.xaxis)
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    axes.grid(alpha=0.3)
    drawn.legend(loc="outside lower center", ncols=2, frameon=False)
    save(drawn, path)


def _points(trials: Sequence[TrialResult]) -> tuple[list[float], list[float]]:
    macs = [trial.metrics["macs"] / 1e6 for trial in trials]
    return macs, [trial.metrics["val_accuracy"] for trial in trials]
