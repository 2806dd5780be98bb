"""The style of all plots: size of a figure, colors, axes, lengths of names, and how a figure becomes a file."""

from __future__ import annotations

import collections
import contextlib
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from keras_resnet._internal.atomic_files import atomic_write

# Colors that people with any color vision tell apart, from Okabe and Ito, "Color Universal Design" (2008).
BLUE, ORANGE, GREEN, RED, GREY = "#0072b2", "#e69f00", "#009e73", "#d55e00", "#7f7f7f"
PURPLE, SKY_BLUE, BLACK = "#cc79a7", "#56b4e9", "#000000"
FORMATS = (".svg", ".png")  # suffixes of the files that a user may ask for
DPI = 120
LONGEST_NAME = 24  # characters of a class name in a plot


def figure(width: float, height: float, layout: Any = "constrained") -> Any:
    """A matplotlib figure of this size in inches.

    It is made without pyplot, which needs a window system and keeps global state.

    Args:
        width, height: its size in inches.
        layout: "constrained": the parts of the figure do not overlap. "none": the caller places them.
    """
    from matplotlib.figure import Figure  # noqa: PLC0415

    return Figure(figsize=(width, height), dpi=DPI, layout=layout)


def logarithmic(axis: Any) -> None:
    """Gives the marks 1, 2, 5, 10, 20 to an axis with a logarithmic scale, as plain numbers."""
    from matplotlib.ticker import LogLocator, NullFormatter  # noqa: PLC0415

    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter("{x:g}")
    axis.set_minor_formatter(NullFormatter())


def shortened(name: str, length: int = LONGEST_NAME) -> str:
    """A name on one line, of at most `length` characters.

    The middle of a longer one is left out, so that its ends tell it apart.
    """
    name = " ".join(name.split())
    if len(name) <= length:
        return name
    end = (length - 1) // 3
    return f"{name[: length - 1 - end]}…{name[len(name) - end :]}"


def told_apart(names: Sequence[str]) -> list[str]:
    """Names of classes, shortened; those that would look the same have the number of their class in front.

    Example:
        >>> from keras_resnet.plots.style import told_apart
        >>> told_apart(["cat", "a long name that is 1 of 2 names", "a long name that is 2 of 2 names"])
        ['cat', '1: a long name t…2 names', '2: a long name t…2 names']
    """
    short = [shortened(name) for name in names]
    seen = collections.Counter(short)
    return [
        shortened(f"{number}: {name}") if seen[shown] > 1 else shown
        for number, (name, shown) in enumerate(zip(names, short, strict=True))
    ]


@contextlib.contextmanager
def any_characters() -> Iterator[None]:
    """Inside the block text may have characters that the font does not have: each is a box, without a warning.

    Matplotlib warns when text is measured and when it is drawn.
    """
    with warnings.catch_warnings():
        # The second warning is of matplotlib before 3.11, for scripts such as Devanagari.
        for message in (r"Glyph \d+ .* missing from font", r"Matplotlib currently does not support \w+ natively"):
            warnings.filterwarnings("ignore", message, UserWarning)
        yield


def save(drawn: Any, path: Path) -> None:
    """Writes a figure to a file, in the format of its suffix; a file of before stays whole if that fails.

    Names in it may come from strangers. A name is no formula, although matplotlib takes `$...$` for one. A character
    that the font does not have is a box.
    """
    from matplotlib.text import Text  # noqa: PLC0415

    for text in drawn.findobj(Text):
        text.set_parse_math(False)
    with any_characters(), atomic_write(path) as temporary:
        # Without its date the same picture is the same file.
        drawn.savefig(temporary, metadata={"Date": None} if path.suffix.lower() == ".svg" else None)
