"""Subjects for the tests of the benchmarks' workers. Workers are processes that find their subject by its name.

This module imports nothing heavy, so that a new process starts quickly.
"""

import os

from benchmarks.measure import timed
from benchmarks.workers import UnavailableError


def number_of_the_process():
    return lambda *_: float(os.getpid())


def unavailable():
    raise UnavailableError("it has no wheels")


def broken():
    raise ZeroDivisionError("in the midst of building")


def broken_in_its_turn():
    return lambda *_: 1 / 0


def dying():
    os._exit(7)


def ceiling():
    return lambda *_: timed(1e9, lambda: None)()
