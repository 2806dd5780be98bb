"""The same search space on Ray Tune, for clusters that run Ray: a trial is a task that Ray puts where there is room.

Run:     pip install "ray[tune]"; python examples/ray_tune.py [DATA] [TRIALS]
         DATA is digits if not given, TRIALS 8; on a cluster after `ray start`
Time:    not measured here; a trial is a few epochs of a network of at most 5 M MACs
Result:  the best network as a line of Python
"""

import os
import sys
from typing import Any

os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")

import keras_tuner

import keras_resnet as kr
from keras_resnet.training import Recipe

RECIPE = Recipe(epochs=3, validation_split=0.2)


def main(data: str = "digits", trials: str | int = 8, *, size: int = 16, recipe: Recipe = RECIPE) -> str:
    """Searches depth, width and gate within 5 million multiply-accumulates."""
    from ray import tune  # noqa: PLC0415  (this package does without)

    images = kr.data.load(data, "train")
    shape, classes = (size, size, images.channels), len(images.classes)  # Ray cannot send the images themselves

    def space() -> kr.HyperResNet:
        tuned = ("depth", "width", "gate")
        return kr.HyperResNet(shape, classes, base="ResNet20", max_macs=5e6, tune=tuned, recipe=recipe)

    def trial(values: dict[str, Any]) -> dict[str, float]:
        here, hp = space(), keras_tuner.HyperParameters()
        hp.values = values  # those that depend on another which is not there are passed over
        history = here.fit(hp, here.build(hp), kr.data.load(data, "train")).history
        return {name: entry[-1] for name, entry in history.items()}

    choices = {dimension.name: tune.choice(list(dimension.values)) for dimension in space().dimensions}
    amount = tune.TuneConfig(metric="val_accuracy", mode="max", num_samples=int(trials))
    best = tune.Tuner(trial, param_space=choices, tune_config=amount).fit().get_best_result()
    hp = keras_tuner.HyperParameters()
    hp.values = best.config
    line = kr.tuning.code(space().design(hp).row.fields)
    print(f"{best.metrics['val_accuracy']:.2%} of the images held out are right: {line}")
    return line


if __name__ == "__main__":
    main(*sys.argv[1:])
