"""Checks of arguments. Each returns the checked value, or raises an error: name, what is allowed, what was received."""

from __future__ import annotations

import difflib
import math
import numbers
import operator
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")
FEW = 12  # if there are no more names than this, an error lists all of them


def one_of(argument: str, value: T, allowed: Sequence[T]) -> T:
    """`value`, if it is one of `allowed`."""
    if value not in allowed:
        listed = ", ".join(repr(a) for a in allowed)
        raise ValueError(f"{argument} must be one of {listed}. Received: {argument}={value!r}")
    return value


def known(kind: str, name: str, names: Iterable[str], listed_by: str) -> str:
    """`name`, if it is one of many `names`; the error lists the most similar names and says how to list all."""
    names = list(names)
    if name not in names:
        hint = nearest(name, names)
        if not hint and len(names) <= FEW:
            hint = f" There are {', '.join(names)}."
        raise ValueError(f"unknown {kind}; {listed_by} lists them.{hint} Received: {name!r}")
    return name


def nearest(name: str, names: Iterable[str]) -> str:
    """A question that lists the most similar names, for the end of an error; "" if none is similar."""
    folded = {n.lower(): n for n in names}
    near = [folded[n] for n in difflib.get_close_matches(str(name).lower(), folded, n=3, cutoff=0.5)]
    if folded.get(str(name).lower()):
        near = near[:1]  # only the case of the letters is wrong
    return f" Did you mean {', '.join(near)}?" if near else ""


def integer(argument: str, value: Any, minimum: int = 1) -> int:
    """`value` as an int of at least `minimum`."""
    try:
        whole = operator.index(value)
    except TypeError:
        raise TypeError(
            f"{argument} must be an integer of at least {minimum}. Received: {argument}={value!r}"
        ) from None
    if isinstance(value, bool) or whole < minimum:
        raise ValueError(f"{argument} must be an integer of at least {minimum}. Received: {argument}={value!r}")
    return whole


def integers(argument: str, values: Any, minimum: int = 1) -> tuple[int, ...]:
    """`values` as a non-empty tuple of integers of at least `minimum`."""
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise TypeError(f"{argument} must be a sequence of integers. Received: {argument}={values!r}")
    checked = tuple(integer(f"{argument}[{i}]", value, minimum) for i, value in enumerate(values))
    if not checked:
        raise ValueError(f"{argument} must have at least one entry. Received: {argument}={values!r}")
    return checked


def text(argument: str, value: Any) -> str:
    """`value`, if it is a string."""
    if not isinstance(value, str):
        raise TypeError(f"{argument} must be a string. Received: {argument}={value!r:.100}")
    return value


def texts(argument: str, values: Any) -> tuple[str, ...]:
    """`values` as a tuple of strings."""
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise TypeError(f"{argument} must be a sequence of strings. Received: {argument}={values!r:.100}")
    return tuple(text(f"{argument}[{i}]", value) for i, value in enumerate(values))


def function_or_none(argument: str, value: Any) -> None:
    """Raises a `TypeError` unless `value` is None or callable."""
    if value is not None and not callable(value):
        raise TypeError(f"{argument} must be a function or None. Received: {argument}={value!r}")


def _expanded(argument: str, value: str | os.PathLike[str]) -> Path:
    try:
        return Path(value).expanduser()
    except RuntimeError as error:  # "~name/..."
        raise ValueError(f"{argument} must have the name of a known user after ~. Received: {str(value)!r}") from error


def directory(argument: str, value: str | os.PathLike[str]) -> Path:
    """`value` as a path with `~` expanded, if it is a directory or a directory can be created there."""
    path = _expanded(argument, value)
    existing = next(candidate for candidate in (path, *path.parents) if candidate.exists())
    if not existing.is_dir():
        raise ValueError(f"{argument} must be a directory. Received: {str(value)!r}; {existing} is a file")
    return path


def output_file(argument: str, value: str | os.PathLike[str], *suffixes: str) -> Path:
    """`value` as a path with `~` expanded, if a file can be written there; a file that is there will be replaced.

    The path ends in one of `suffixes`, in lower or upper case.
    """
    path = _expanded(argument, value)
    if path.suffix.lower() not in suffixes:
        raise ValueError(f"{argument} must end in {' or '.join(suffixes)}. Received: {str(value)!r}")
    if path.is_dir():
        raise ValueError(f"{argument} must be a file. Received: {str(value)!r}, which is a directory")
    if not path.parent.is_dir():
        parent = f"{str(path.parent)!r} is a file" if path.parent.exists() else f"make {str(path.parent)!r} first"
        raise ValueError(f"{argument} must be in a directory that exists. Received: {str(value)!r}; {parent}")
    if not os.access(path.parent, os.W_OK):
        raise ValueError(f"{argument} must be in a directory that you may write to. Received: {str(value)!r}")
    return path


def printable(path: str | os.PathLike[str]) -> str:
    """A path as text that can be printed: bytes that are not UTF-8 are escaped."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def boolean(argument: str, value: Any) -> bool:
    """`value`, if it is True or False."""
    if not isinstance(value, bool):
        raise TypeError(f"{argument} must be True or False. Received: {argument}={value!r}")
    return value


def number(argument: str, value: Any, interval: str = "(-inf, inf)") -> float:
    """`value` as a float, if it is a number in an interval.

    Args:
        argument: name of the argument, for the error.
        value: the value to check.
        interval: two numbers in brackets, for example "[0, 1)" for 0 <= value < 1. NaN is outside every interval.

    Raises:
        TypeError: `value` is not a number.
        ValueError: `value` is not in the interval.
    """
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise TypeError(f"{argument} must be a number in {interval}. Received: {argument}={value!r}")
    plain = float(value)
    low, high = map(float, interval[1:-1].split(","))
    above = plain > low if interval[0] == "(" else plain >= low
    below = plain < high if interval[-1] == ")" else plain <= high
    if not (above and below):
        raise ValueError(f"{argument} must be in {interval}. Received: {argument}={value!r}")
    return plain


def number_pair(argument: str, value: Any, most: float) -> tuple[float, float]:
    """`value` as (low, high), if it is two finite numbers with 0 < low <= high <= most."""
    numeric = isinstance(value, Sequence) and all(
        isinstance(v, numbers.Real) and not isinstance(v, bool) and math.isfinite(v) for v in value
    )
    if not numeric or len(value) != 2 or not 0 < value[0] <= value[1] <= most:
        limit = f" <= {most:g}" if math.isfinite(most) else ""
        raise ValueError(f"{argument} must be (low, high) with 0 < low <= high{limit}. Received: {argument}={value!r}")
    low, high = value
    return low, high
