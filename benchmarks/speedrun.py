"""Accuracy of ResNet-20 on CIFAR-10 after a given time of training, next to torch with kuangliu's settings.

Both train one after the other for the same number of minutes on all cores, on the images in ../shared/data. Each first
measures its step, and takes as many epochs as fit. The time is that of the training: tracing is in it, reading the
files, measuring the step and the test at the end are not. The images are JPEG files, strongly compressed, so the
accuracies are not those of the original images: published networks get 10 points less on these.

A third process reads the images: in a process that had read them with tf.data, torch took 1.7 times as long for a step.
"""

from __future__ import annotations

import dataclasses
import functools
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np

import keras_resnet as kr
from benchmarks import torch_cifar
from benchmarks.report import Report
from benchmarks.train import LastEpoch
from benchmarks.workers import Turn, UnavailableError, workers
from keras_resnet.training import RECIPES, Recipe

DATA = Path(__file__).parent.parent.parent / "shared" / "data" / "cifar10" / "jpeg"
STEPS = 20  # steps that are timed before the training, after as many that are not


@dataclasses.dataclass(frozen=True)
class Amount:
    """How much is measured: minutes of each training, and training images (0: all)."""

    minutes: float
    images: int = 0


FULL = Amount(30)
QUICK = Amount(0.5, 5_000)


class Images(NamedTuple):
    """Pixels, uint8 (N, 32, 32, 3), and labels (N,)."""

    pixels: np.ndarray
    labels: np.ndarray
    test_pixels: np.ndarray
    test_labels: np.ndarray


class Reached(NamedTuple):
    """What a training reached."""

    accuracy: float
    minutes: float
    epochs: int


def images(count: int) -> Images:
    """The training images and the test images, at most `count` of each; 0: all.

    Raises:
        UnavailableError: the images are not on this machine.
    """
    if not DATA.is_dir():
        raise UnavailableError("../shared/data with CIFAR-10 is not next to this repository")
    found = []
    for split in ("train", "test"):
        batches = kr.data.pipeline(kr.data.load(f"tfrecord:{DATA}", split), 32, 500).as_numpy_iterator()
        pixels, labels = map(np.concatenate, zip(*batches))
        rows = np.random.default_rng(0).permutation(len(labels))[: count or None]
        found += [pixels[rows], labels[rows].astype("int64")]
    return Images(*found)


def reader(count: int) -> Turn:
    """A turn that returns what `images` does."""
    found = images(count)
    return lambda: found


def epochs_in(seconds: float, of_an_epoch: float) -> int:
    """Number of epochs that fit into a time, at least one."""
    return max(int(seconds // of_an_epoch), 1)


def ours() -> Turn:
    """A turn of `kr.training.fit` with the recipe "cifar_half_hour": from minutes and `Images` to `Reached`."""
    names = tuple("0123456789")

    def turn(minutes: float, data: Images) -> Reached:
        train = kr.data.from_arrays(data.pixels, data.labels, names)
        test = kr.data.from_arrays(data.test_pixels, data.test_labels, names)
        recipe = RECIPES["cifar_half_hour"]
        timed = {size: seconds_of_a_step(recipe, size, train) for size in recipe.train_sizes or (32,)}
        step, tracing = (sum(parts) for parts in zip(*timed.values()))
        epoch = step / len(timed) * kr.data.steps_per_epoch(train, recipe.batch_size)
        recipe = dataclasses.replace(recipe, epochs=epochs_in(60 * minutes - tracing, epoch))
        model, began = build(recipe, None if recipe.train_sizes else 32), time.perf_counter()
        kr.training.fit(model, recipe, train)
        seconds, final = time.perf_counter() - began, build(recipe, 32)
        final.set_weights(model.get_weights())
        return Reached(float(kr.training.evaluate(final, test)), seconds / 60, recipe.epochs)

    return turn


def build(recipe: Recipe, side: int | None) -> keras.Model:
    """ResNet-20 for ten classes."""
    keras.utils.set_random_seed(recipe.seed)
    return kr.ResNet20(input_shape=(side, side, 3), classes=10)


def seconds_of_a_step(recipe: Recipe, size: int, train: kr.data.Split) -> tuple[float, float]:
    """The seconds of a training step at a size, and those before the first step, in which it is traced."""
    part = train.part(np.arange(min(train.size, STEPS * recipe.batch_size)))
    short = dataclasses.replace(recipe, epochs=2, train_sizes=(), eval_size=0, validation_split=0.0)
    clock, began = LastEpoch(), time.perf_counter()
    kr.training.fit(build(recipe, size), short, part, callbacks=[clock])
    tracing = time.perf_counter() - began - 2 * clock.seconds
    return clock.seconds / kr.data.steps_per_epoch(part, recipe.batch_size), max(tracing, 0.0)


def in_torch() -> Turn:
    """A turn of torch, from minutes and `Images` to `Reached`."""
    net = torch_cifar.network()

    def turn(minutes: float, data: Images) -> Reached:
        pixels, labels, test_pixels, test_labels = data
        part = min(len(pixels), STEPS * torch_cifar.BATCH)
        _, second = (torch_cifar.train(torch_cifar.network(), pixels[:part], labels[:part], 1) for _ in range(2))
        epochs = epochs_in(60 * minutes, second * len(pixels) / part)
        seconds = torch_cifar.train(net, pixels, labels, epochs)
        return Reached(torch_cifar.accuracy(net, test_pixels, test_labels), seconds / 60, epochs)

    return turn


SUBJECTS: dict[str, Callable[[], Turn]] = {"keras_resnet": ours, "torch": in_torch}


def run(report: Report, amount: Amount) -> None:
    """Trains each subject once."""
    with workers({"images": functools.partial(reader, amount.images)}, report.leave_out) as started:
        read = started.get("images")
        if read is None:
            return
        data = Images(*read())
    reached: dict[str, Reached] = {}
    for name, subject in SUBJECTS.items():
        with workers({name: subject}, report.leave_out) as started:
            for worker in started.values():
                reached[name] = Reached(*worker(amount.minutes, data))
    for name, found in reached.items():
        for what, value in found._asdict().items():
            report.add(f"{name}, {what}", value)
    if len(reached) == len(SUBJECTS):
        report.add("keras_resnet, accuracy over torch", reached["keras_resnet"].accuracy - reached["torch"].accuracy)
