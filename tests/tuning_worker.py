"""Runs the chief or a worker of a search as a process: python -m tests.tuning_worker NAME ADDRESS DIRECTORY."""

import sys
import time

import keras_resnet as kr
from tests.tuning.test_tuners import Arithmetic, space_of, tuner_of


class Slow(Arithmetic):
    """Prints when a trial begins, and takes one second more per trial."""

    def fit(self, hp, model, **options):
        print("begins", flush=True)
        time.sleep(1)
        return super().fit(hp, model, **options)


if __name__ == "__main__":
    name, address, directory = sys.argv[1:]
    kr.tuning.join(name, address)
    kr.tuning.RandomSearch.patience = 8.0
    tuner_of("RandomSearch", directory, 6, space_of(Slow)).search(verbose=0)
