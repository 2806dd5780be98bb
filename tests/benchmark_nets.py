"""Small networks in the place of those that the benchmarks measure."""

import functools

import numpy as np

import keras_resnet as kr
from benchmarks import memory, serve, torch_nets, torchvision_on_cpu, train
from tests.weights.test_parity_keras_applications import original


def network(side=16, classes=10):
    return kr.ResNet((1, 1), kr.residual_block, filters=(8, 16), input_shape=(side, side, 3), classes=classes)


class TinyCase(train.Case):
    def build(self):
        return network(self.size)


TINY = TinyCase("tiny", "float32", 16, 2, 1)


def torchs(name, classes=1000):
    """A network of torchvision's with a block a stage."""
    resnet = torchvision_on_cpu.torchvision().models.resnet
    return resnet.ResNet(resnet.BasicBlock, [1, 1, 1, 1], classes)


def small_torch(case):
    """The eager subject of `train`; as `small`, in a process of its own."""
    torch_nets.net = torchs
    return train.torch(case, "eager")


def small_bytes_of(*arguments):
    """What `memory` measures, of a network of one block; as `small`, in a process of its own."""
    kr.ResNet20 = functools.partial(kr.ResNet20, depths=(1,), filters=(8,))
    return memory.bytes_of(*arguments)


def small(who):
    """A subject of `serve` on small images, and with a small network where the size is ours to choose.

    It changes the module `serve`, and so needs a process of its own.
    """
    serve.noise = lambda count: np.random.default_rng(1).uniform(0, 255, (count, 32, 32, 3)).astype("float32")
    serve.as_theirs = lambda name: network(32)
    serve.of_applications = lambda name: original(name, (1, 1, 1, 1), 32)[0]
    serve.keras_hub_nets.net = functools.partial(serve.keras_hub_nets.net, size=32)
    torch_nets.net = torchs
    return serve.subjects("ResNet50", ("float32",))[who]()


def slow():
    return serve.turn_of(lambda pixels: float(np.sum(pixels)) + float(np.sum(pixels)))


def quick():
    return serve.turn_of(lambda pixels: None)
