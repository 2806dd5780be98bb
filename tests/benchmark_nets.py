"""Small networks in the place of those that the benchmarks measure."""

import functools

import keras
import numpy as np

import keras_resnet as kr
from benchmarks import serve, torch_nets, torchvision_on_cpu, train


def network(side=16, classes=10):
    return kr.ResNet((1, 1), kr.residual_block, filters=(8, 16), input_shape=(side, side, 3), classes=classes)


class TinyCase(train.Case):
    def build(self):
        return network(self.size)


TINY = TinyCase("tiny", "float32", 16, 2, 1)


def small(who):
    """A subject of `serve` on small images, and with a small network where the size is ours to choose.

    It changes the module `serve`, and so needs a process of its own.
    """
    serve.noise = lambda count: np.random.default_rng(1).uniform(0, 255, (count, 32, 32, 3)).astype("float32")
    serve.as_theirs = lambda name: network(32)
    serve.of_applications = lambda name: getattr(keras.applications, name)(weights=None, input_shape=(32, 32, 3))
    serve.keras_hub_nets.net = functools.partial(serve.keras_hub_nets.net, size=32)
    torch_nets.net = lambda name: torchvision_on_cpu.torchvision().models.resnet18()
    return serve.subjects("ResNet50", ("float32",))[who]()


def slow():
    return serve.turn_of(lambda pixels: float(np.sum(pixels)) + float(np.sum(pixels)))


def quick():
    return serve.turn_of(lambda pixels: None)
