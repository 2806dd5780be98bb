"""Checks of arguments: each returns the value, or raises an error that says argument, what is allowed, what came."""

from __future__ import annotations

import difflib
import operator
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")
FEW = 12  # names that are listed, where none comes near


def one_of(argument: str, value: T, allowed: Sequence[T]) -> T:
    """`value`, if it is one of `allowed`."""
    if value not in allowed:
        listed = ", ".join(repr(a) for a in allowed)
        raise ValueError(f"{argument} must be one of {listed}. Received: {argument}={value!r}")
    return value


def known(kind: str, name: str, names: Iterable[str], listed_by: str) -> str:
    """`name`, if it is one of the many `names`; the error says which come nearest, and what lists them all."""
    names = list(names)
    if name not in names:
        folded = {n.lower(): n for n in names}
        near = [folded[n] for n in difflib.get_close_matches(str(name).lower(), folded, n=3, cutoff=0.5)]
        hint = f" Did you mean {', '.join(near)}?" if near else ""
        if not near and len(names) <= FEW:
            hint = f" There are {', '.join(names)}."
        raise ValueError(f"unknown {kind}; {listed_by} lists them.{hint} Received: {name!r}")
    return name


def integer(argument: str, value: Any, minimum: int = 1) -> int:
    """`value` as an int of at least `minimum`."""
    try:
        number = operator.index(value)
    except TypeError:
        raise TypeError(
            f"{argument} must be an integer of at least {minimum}. Received: {argument}={value!r}"
        ) from None
    if isinstance(value, bool) or number < minimum:
        raise ValueError(f"{argument} must be an integer of at least {minimum}. Received: {argument}={value!r}")
    return number


def integers(argument: str, values: Any, minimum: int = 1) -> tuple[int, ...]:
    """`values` as a non-empty tuple of integers of at least `minimum`."""
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise TypeError(f"{argument} must be a sequence of integers. Received: {argument}={values!r}")
    numbers = tuple(integer(f"{argument}[{i}]", value, minimum) for i, value in enumerate(values))
    if not numbers:
        raise ValueError(f"{argument} must have at least one entry. Received: {argument}={values!r}")
    return numbers


def function_or_none(argument: str, value: Any) -> None:
    """Raises a `TypeError` unless `value` can be called or is None."""
    if value is not None and not callable(value):
        raise TypeError(f"{argument} must be a function or None. Received: {argument}={value!r}")


def directory(argument: str, value: str | os.PathLike[str]) -> Path:
    """`value` as a path, `~` expanded, if it is a directory or one can be made there."""
    path = Path(value).expanduser()
    standing = next(place for place in (path, *path.parents) if place.exists())
    if not standing.is_dir():
        raise ValueError(f"{argument} must be a directory. Received: {str(value)!r}; {standing} is a file")
    return path


def share(argument: str, value: float) -> float:
    """`value`, if it is in (0, 1]."""
    return _number(argument, value, "(0, 1]", lambda value: 0 < value <= 1)


def rate(argument: str, value: float) -> float:
    """`value`, if it is a probability in [0, 1)."""
    return _number(argument, value, "[0, 1)", lambda value: 0 <= value < 1)


def _number(argument: str, value: float, interval: str, within: Callable[[float], bool]) -> float:
    if not isinstance(value, (int, float)):
        raise TypeError(f"{argument} must be a number in {interval}. Received: {argument}={value!r}")
    if not within(value):
        raise ValueError(f"{argument} must be in {interval}. Received: {argument}={value!r}")
    return float(value)
