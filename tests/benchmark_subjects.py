"""Subjects for the tests of the benchmarks' workers, which are processes and find them by name."""

import os

import numpy as np

from benchmarks import serve
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


def slow():
    return serve.turn_of(lambda pixels: float(np.sum(pixels)) + float(np.sum(pixels)))


def quick():
    return serve.turn_of(lambda pixels: None)


def ceiling():
    return lambda *_: timed(1e9, lambda: None)()
