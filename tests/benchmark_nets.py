"""Small networks that replace those that the benchmarks measure."""

import functools

import numpy as np

import keras_resnet as kr
from benchmarks import memory, serve, speedrun, torch_nets, torchvision_on_cpu, train
from tests.weights.test_parity_keras_applications import original


def network(side=16, classes=10):
    return kr.ResNet((1, 1), kr.residual_block, filters=(8, 16), input_shape=(side, side, 3), classes=classes)


class TinyCase(train.Case):
    def build(self):
        return network(self.size)


TINY = TinyCase("tiny", "float32", 16, 2, 1)


def torchvision_resnet(name, classes=1000):
    """A torchvision ResNet with one block per stage."""
    resnet = torchvision_on_cpu.torchvision().models.resnet
    return resnet.ResNet(resnet.BasicBlock, [1, 1, 1, 1], classes)


def small_torch(case):
    """The eager subject of `train`. It needs its own process, because it changes the module `torch_nets`."""
    torch_nets.net = torchvision_resnet
    return train.torch(case, "eager")


def small_bytes_of(*arguments):
    """What `memory` measures, for a network of one block. It needs its own process: it changes `kr.ResNet20`."""
    kr.ResNet20 = functools.partial(kr.ResNet20, depths=(1,), filters=(8,))
    return memory.bytes_of(*arguments)


def small(subject):
    """A subject of `serve` on small images, with a small network if the subject allows another size.

    It needs its own process, because it changes the module `serve`.
    """
    serve.noise = lambda count: np.random.default_rng(1).uniform(0, 255, (count, 32, 32, 3)).astype("float32")
    serve.in_applications_form = lambda name: network(32)
    serve.of_applications = lambda name: original(name, (1, 1, 1, 1), 32)[0]
    serve.keras_hub_nets.net = functools.partial(serve.keras_hub_nets.net, size=32)
    torch_nets.net = torchvision_resnet
    return serve.subjects("ResNet50", ("float32",))[subject]()


def slow():
    return serve.turn_of(lambda pixels: float(np.sum(pixels)) + float(np.sum(pixels)))


def quick():
    return serve.turn_of(lambda pixels: None)


def few_images(count):
    """Stands in for `speedrun.images`: pixels and labels for training and for the test."""
    pixels = np.random.default_rng(0).integers(0, 256, (130, 32, 32, 3), "uint8")
    return speedrun.Images(pixels, np.arange(130) % 10, pixels[:10], np.arange(10))


def few_images_read(count):
    """`speedrun.reader` with few images."""
    return functools.partial(few_images, count)


def small_speedrun():
    """`speedrun.ours` for a network of one block. It needs its own process, because it changes modules."""
    kr.ResNet20 = functools.partial(kr.ResNet20, depths=(1,), filters=(4,))
    speedrun.STEPS = 1
    return speedrun.ours()


def small_speedrun_in_torch():
    """`speedrun.in_torch` with short measurements. It needs its own process, because it changes the module."""
    speedrun.STEPS = 1
    return speedrun.in_torch()
