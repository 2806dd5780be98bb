"""Searches for a network with Ray Tune, on a machine or on a cluster that runs Ray.

The search space is that of `keras-resnet tune`. Each trial is a Ray task, which Ray runs on a machine with free cores.

Run:     pip install "ray[tune]"; python examples/ray_tune.py [DATA] [TRIALS]
         DATA is digits and TRIALS is 8 by default. On a cluster, call `ray start` first
Time:    not measured; a trial is three epochs of a network of at most 5 million multiply-accumulates
Result:  prints the best network as a line of Python
"""

import os
import sys
from typing import Any

os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")  # selects Ray's older progress tables

import keras_tuner

import keras_resnet as kr
from keras_resnet.training import Recipe

RECIPE = Recipe(epochs=3, validation_split=0.2)


def main(data: str = "digits", trials: str | int = 8, *, size: int = 16, recipe: Recipe = RECIPE) -> str:
    """Searches depth, width and gate within 5 million multiply-accumulates."""
    from ray import tune  # noqa: PLC0415  (Ray is optional)

    images = kr.data.load(data, "train")
    shape, classes = (size, size, images.channels), len(images.classes)  # Ray cannot send the dataset to its tasks

    def space() -> kr.HyperResNet:
        tuned = ("depth", "width", "gate")
        return kr.HyperResNet(shape, classes, base="ResNet20", max_macs=5e6, tune=tuned, recipe=recipe)

    def trial(values: dict[str, Any]) -> dict[str, float]:
        hypermodel, hp = space(), keras_tuner.HyperParameters()
        hp.values = values  # may have values that this network does not use; they are ignored
        history = hypermodel.fit(hp, hypermodel.build(hp), kr.data.load(data, "train")).history
        return {name: entry[-1] for name, entry in history.items()}

    choices = {dimension.name: tune.choice(list(dimension.values)) for dimension in space().dimensions}
    settings = tune.TuneConfig(metric="val_accuracy", mode="max", num_samples=int(trials))
    best = tune.Tuner(trial, param_space=choices, tune_config=settings).fit().get_best_result()
    hp = keras_tuner.HyperParameters()
    hp.values = best.config
    line = kr.tuning.code(space().design(hp).row.fields)
    print(f"{best.metrics['val_accuracy']:.2%} of the images held out are right: {line}")
    return line


if __name__ == "__main__":
    main(*sys.argv[1:])
