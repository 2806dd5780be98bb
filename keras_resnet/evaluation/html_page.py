"""Parts of reports in HTML: one file that needs no other file and no network."""

from __future__ import annotations

import base64
import html
import math
from collections.abc import Iterable, Sequence
from pathlib import Path

STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #222; }
h1, .note { overflow-wrap: anywhere; }
.table { overflow-x: auto; margin: 1rem 0; }
table { border-collapse: collapse; }
th, td { padding: .2rem .8rem; text-align: right; vertical-align: top; border-bottom: 1px solid #ddd; }
th, td { white-space: nowrap; }
th:first-child, td:first-child, .names th, .names td { text-align: left; min-width: 10rem; }
td:first-child, .names td { white-space: normal; overflow-wrap: anywhere; }
img { max-width: 100%; height: auto; }
.note { color: #666; }
"""


def page(title: str, parts: Iterable[str]) -> str:
    """A whole page.

    Args:
        title: its title and first heading, plain text.
        parts: what comes after the heading, HTML.

    Example:
        >>> from keras_resnet.evaluation.html_page import page
        >>> "<h1>cats &amp; dogs</h1>" in page("cats & dogs", ["<p>all right</p>"])
        True
    """
    size = '<meta name="viewport" content="width=device-width, initial-scale=1">'  # of a telephone
    head = f'<meta charset="utf-8">{size}<title>{html.escape(title)}</title><style>{STYLE}</style>'
    body = "\n".join((f"<h1>{html.escape(title)}</h1>", *parts))
    return f'<!doctype html>\n<html lang="en"><head>{head}</head>\n<body>\n{body}\n</body></html>\n'


def table(header: Sequence[str], rows: Iterable[Sequence[str]], kind: str = "numbers") -> str:
    """A table that is scrolled where it is too wide; its kind is "numbers" after the first column, or "names"."""
    head = "".join(f"<th>{html.escape(name)}</th>" for name in header) if any(header) else ""
    body = "\n".join("<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f'<div class="table {kind}"><table><thead><tr>{head}</tr></thead>\n<tbody>{body}</tbody></table></div>'


def picture(path: Path, text: str) -> str:
    """A PNG file as an image of a page, with a text for those who do not see it."""
    data = base64.b64encode(path.read_bytes()).decode()
    return f'<img alt="{html.escape(text)}" src="data:image/png;base64,{data}">'


def percent(value: float) -> str:
    """A fraction as text; "-" for NaN."""
    return "-" if math.isnan(value) else f"{value:.1%}"
