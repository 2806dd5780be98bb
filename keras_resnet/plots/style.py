"""The style of all plots: size of a figure, colors, axes, lengths of names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from keras_resnet._internal.atomic_files import atomic_write

# Colors that people with any color vision tell apart, from Okabe and Ito, "Color Universal Design" (2008).
BLUE, ORANGE, GREEN, RED, GREY = "#0072b2", "#e69f00", "#009e73", "#d55e00", "#7f7f7f"
DPI = 120
LONGEST_NAME = 24  # characters of a class name in a plot


def figure(width: float, height: float) -> Any:
    """A matplotlib figure of this size in inches, whose parts do not overlap.

    It is made without pyplot, which needs a window system and keeps global state.
    """
    from matplotlib.figure import Figure  # noqa: PLC0415

    return Figure(figsize=(width, height), dpi=DPI, layout="constrained")


def logarithmic(axis: Any) -> None:
    """Gives the marks 1, 2, 5, 10, 20 to an axis with a logarithmic scale, as plain numbers."""
    from matplotlib.ticker import LogLocator, NullFormatter  # noqa: PLC0415

    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter("{x:g}")
    axis.set_minor_formatter(NullFormatter())


def save(drawn: Any, path: Path) -> None:
    """Writes a figure to a file, in the format of its suffix; a file of before stays whole if that fails."""
    with atomic_write(path) as temporary:
        drawn.savefig(temporary)


def shortened(name: str, length: int = LONGEST_NAME) -> str:
    """A name of at most `length` characters; the middle of a longer one is left out, so that its ends tell it apart."""
    if len(name) <= length:
        return name
    end = (length - 1) // 3
    return f"{name[: length - 1 - end]}…{name[len(name) - end :]}"
