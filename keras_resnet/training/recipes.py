"""Recipes: a table of what a training run needs to know beside the network and the images."""

from __future__ import annotations

import dataclasses
import math

from keras_resnet.arguments import integer, rate


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How to train. Other values than these: `dataclasses.replace(RECIPES["one_cycle"], epochs=5)`.

    The learning rate climbs from zero to its peak over the `warmup` share of all steps, then falls as a cosine to zero.
    SGD with Nesterov momentum; weight decay is on kernels only, not on batch norm and biases (Goyal et al. 2017,
    arXiv:1706.02677; He et al. 2018, arXiv:1812.01187).

    Attributes:
        epochs: passes over the training images.
        batch_size: images a step.
        learning_rate: its peak.
        warmup: share of the steps that warm up, in [0, 1).
        momentum: of SGD, in [0, 1).
        weight_decay: L2 penalty's gradient over the weight.
        label_smoothing: in [0, 1).
        shift: how far an image is moved at random, as a share of its side.
        flip: whether half of the images are mirrored; wrong for digits and letters.
        seed: of everything that is random.
    """

    epochs: int = 15
    batch_size: int = 32
    learning_rate: float = 0.2
    warmup: float = 0.25
    momentum: float = 0.9
    weight_decay: float = 5e-4
    label_smoothing: float = 0.1
    shift: float = 1 / 8
    flip: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        integer("epochs", self.epochs)
        integer("batch_size", self.batch_size)
        integer("seed", self.seed, minimum=0)
        for field in ("warmup", "momentum", "label_smoothing", "shift"):
            rate(field, getattr(self, field))
        if not 0 < self.learning_rate < math.inf or not 0 <= self.weight_decay < math.inf:
            raise ValueError(
                f"learning_rate must be above 0 and weight_decay at least 0. "
                f"Received: learning_rate={self.learning_rate}, weight_decay={self.weight_decay}"
            )


RECIPES = {
    # A short one for small images and no GPU.
    "one_cycle": Recipe(),
}
