"""The lines with which a training begins: images, classes, and how the network is trained."""

from __future__ import annotations

import re
from collections.abc import Mapping

import keras

from keras_resnet.data import Split, steps_per_epoch
from keras_resnet.data.summary import describe
from keras_resnet.training.distribution import Placement
from keras_resnet.training.recipe import Recipe
from keras_resnet.training.unfreezing import stages_to_unfreeze


def summary(model: keras.Model, recipe: Recipe, splits: Mapping[str, Split], where: Placement) -> list[str]:
    """Some lines about a training.

    Args:
        model: the network.
        recipe: how it is trained.
        splits: the images by the names to print, the training images first.
        where: the devices.
    """
    steps = steps_per_epoch(next(iter(splits.values())), recipe.batch_size)
    devices = f"{where.devices} {device_kind(model)}{'s' if where.devices > 1 else ''}"
    return [
        *describe(splits),
        f"model: {model.name}, {model.count_params():,} parameters; {recipe.epochs_of(steps):,} epochs of {steps:,} "
        f"steps in {recipe.precision}, by {keras.backend.backend()} on {devices}",
        *([f"gradual unfreezing: {_phases(model, recipe, steps)}"] if recipe.unfreeze_epochs else []),
    ]


def _phases(model: keras.Model, recipe: Recipe, steps: int) -> str:
    """From which epoch on each stage is trained."""
    starts = {stage: n * recipe.unfreeze_epochs + 1 for n, stage in enumerate(stages_to_unfreeze(model))}
    last = recipe.epochs_of(steps)
    return ", ".join(
        f"{stage} from epoch {start}" if start <= last else f"{stage} never" for stage, start in starts.items()
    )


def device_kind(model: keras.Model) -> str:
    """The kind of device that holds the weights: "CPU", "GPU" or "TPU"."""
    value = model.variables[0].value
    devices = value.sharding.device_set if keras.backend.backend() == "jax" else getattr(value, "device", "")
    device = re.search("cuda|gpu|tpu", str(devices).lower())
    return "CPU" if device is None else device[0].replace("cuda", "gpu").upper()
