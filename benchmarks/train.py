"""Speed of `kr.training.fit`, compared with stock Keras' `fit` of the same network on the same batches, and with torch.

Only the training step is measured. With both `fit`s, each turn trains two epochs, and the second epoch is measured;
`kr.training.fit` traces its step again in each turn. `bare loop` is the step of this package in a loop of six lines,
without Keras' `fit`, metrics or callbacks. Stock Keras decays all variables, separately from the gradient; this package
decays only kernels, as part of the gradient. ResNeXt is in the table for its grouped convolutions, which Keras leaves
to XLA.

The faster the convolutions of a processor are, the smaller is the fraction of their speed that a step can reach. On a
processor with AMX (1.7 TFLOP/s in bfloat16), the arithmetic of a step of ResNet-50 with 32 images takes 0.5 s. Each of
its 356 million activations is read or written 17 times by convolutions, batch norms and ReLUs. This takes as long or
longer: 12 GB at 13 to 19 GB/s. There the step reached 0.38 of the convolutions' speed (the convolutions at 7x7 were
not tried). On a processor with AVX512_BF16 and without AMX (0.43 TFLOP/s) it reaches 0.61.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import time
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

import keras_resnet as kr
from benchmarks import keras_hub_nets, torch_nets
from benchmarks.ceilings import ceilings, names
from benchmarks.machine import bfloat16_is_native
from benchmarks.measure import ROUNDS, in_turns, timed
from benchmarks.report import Report
from benchmarks.workers import Turn, workers
from keras_resnet.runtime.precision import POLICIES
from keras_resnet.runtime.train_mode import train_mode
from keras_resnet.training.fitting import settle_precision
from keras_resnet.training.optimizers import optimizer as of_recipe
from keras_resnet.training.recipe import Recipe

PEER = "stock fit"
LIFELONG = contextlib.ExitStack()  # contexts that stay entered until the process ends


@dataclasses.dataclass(frozen=True)
class Case:
    """A network, and how much it is trained in a turn."""

    model: str
    precision: str
    size: int
    batch: int
    steps: int

    @property
    def images(self) -> int:
        """Images of a turn."""
        return self.batch * self.steps

    def build(self) -> keras.Model:
        """Builds the network, with ten classes."""
        return getattr(kr, self.model)(input_shape=(self.size, self.size, 3), classes=10)

    def split(self) -> kr.data.Split:
        """Images of noise, because the content of images does not change the speed."""
        pixels = np.random.default_rng(0).integers(0, 256, (self.images, self.size, self.size, 3), "uint8")
        return kr.data.from_arrays(pixels, np.arange(self.images) % 10, tuple(map(str, range(10))))

    def recipe(self) -> Recipe:
        """Two epochs without augmentation, label smoothing and validation, so that both sides compute the same."""
        return Recipe(
            epochs=2,
            batch_size=self.batch,
            learning_rate=1e-3,
            pad_and_crop=0.0,
            label_smoothing=0.0,
            precision=self.precision,
            validation_split=0.0,
        )


@dataclasses.dataclass(frozen=True)
class Amount:
    """How much is measured: the cases and the number of rounds."""

    cases: tuple[Case, ...]
    rounds: int


AUTO = "auto"  # the precision that is chosen before the training
SMALL = (Case("ResNet20", "float32", 32, 128, 20), Case("ResNet20", "bfloat16", 32, 128, 20))
LARGE = Case("ResNet50", "bfloat16", 224, 32, 3)
GROUPED = Case(
    "ResNeXt50_32x4d", "float32", 32, 4, 1
)  # the smallest possible case, because the stock step takes seconds
CHOSEN = tuple(dataclasses.replace(case, precision=AUTO) for case in (SMALL[0], dataclasses.replace(LARGE, batch=16)))
FULL = Amount((*SMALL, LARGE, dataclasses.replace(LARGE, precision="float32", batch=16), GROUPED, *CHOSEN), ROUNDS)
QUICK = Amount((*SMALL, CHOSEN[0]), 3)


class LastEpoch(keras.callbacks.Callback):
    """Measures the seconds of the last epoch."""

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Starts the clock."""
        self.began = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Stops the clock."""
        self.seconds = time.perf_counter() - self.began


def ours(case: Case) -> Turn:
    """A turn of `kr.training.fit`; it returns images per second."""
    model, split = case.build(), case.split()

    def turn(*_: object) -> float:
        clock = LastEpoch()
        kr.training.fit(model, case.recipe(), split, callbacks=[clock])
        return case.images / clock.seconds

    return turn


def stock(case: Case, build: Callable[[Case], keras.Model]) -> Turn:
    """A turn as in Keras' guides: dtype policy, compile, fit; with two epochs, as in `ours`."""
    keras.config.set_dtype_policy(POLICIES[case.precision])
    model, split = build(case), case.split()
    model.compile(
        keras.optimizers.SGD(1e-3, 0.9, nesterov=True, weight_decay=5e-4),
        keras.losses.CategoricalCrossentropy(),
        metrics=["accuracy"],
        jit_compile=False,  # on a CPU, "auto" means the same
    )
    batches = kr.data.train_pipeline(split, case.size, case.batch)

    def turn(*_: object) -> float:
        clock = LastEpoch()
        model.fit(batches, epochs=2, steps_per_epoch=case.steps, callbacks=[clock], verbose=0, shuffle=False)
        return case.images / clock.seconds

    return turn


def of_keras_hub(case: Case) -> keras.Model:
    """Builds the network of KerasHub."""
    return keras_hub_nets.net(case.model, case.size, 10)


def bare(case: Case) -> Turn:
    """A turn of the training step of this package in a plain loop."""
    import tensorflow as tf

    model, split = case.build(), case.split()
    LIFELONG.enter_context(train_mode(model, case.precision))
    optimizer = of_recipe(case.recipe(), 1e-3)
    optimizer.build(model.trainable_variables)
    loss_of = keras.losses.CategoricalCrossentropy(from_logits=True)

    @tf.function
    def step(images: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            loss = loss_of(targets, model(images, training=True))
        optimizer.apply(tape.gradient(loss, model.trainable_variables), model.trainable_variables)
        return loss

    batches = iter(kr.data.train_pipeline(split, case.size, case.batch))
    epoch = timed(case.images, lambda: [float(step(*next(batches))) for _ in range(case.steps)])
    return lambda *_: epoch()


def torch(case: Case, how: str) -> Turn:
    """A turn of torchvision's network in torch, with autocast for bfloat16; `how`: "eager" or "inductor"."""
    net = torch_nets.net(case.model, classes=10).train()
    import torch as library

    run = torch_nets.compiled(net, how)
    optimizer = library.optim.SGD(net.parameters(), 1e-3, 0.9, nesterov=True, weight_decay=5e-4)
    images = library.rand(case.batch, 3, case.size, case.size).to(memory_format=library.channels_last)
    labels = library.arange(case.batch) % 10

    def step() -> float:
        optimizer.zero_grad(set_to_none=True)
        with library.autocast("cpu", library.bfloat16, enabled=case.precision == "bfloat16"):
            loss = library.nn.functional.cross_entropy(run(images), labels)
        loss.backward()
        optimizer.step()
        return float(loss.detach())

    epoch = timed(case.images, lambda: [step() for _ in range(case.steps)])
    return lambda *_: epoch()


def subjects(case: Case) -> dict[str, Callable[[], Turn]]:
    """All subjects, by name."""
    of = functools.partial
    requested: dict[str, Callable[[], Turn]] = {PEER: of(stock, case, Case.build), "keras_resnet": of(ours, case)}
    if case in SMALL:
        requested["bare loop"] = of(bare, case)
    if case.model in torch_nets.NETS:
        requested["KerasHub"] = of(stock, case, of_keras_hub)
        requested |= {f"torch {how}": of(torch, case, how) for how in ("eager", "inductor")}
    return requested


def compare_choice(report: Report, case: Case, name: str, rounds: int) -> None:
    """Lets the package choose the precision of a case, and compares it with the best of the precisions."""
    choice = settle_precision(case.build(), case.recipe(), case.split(), None)
    print(f"  {name}: {choice.words}", flush=True)
    precisions = dict.fromkeys((*report.precisions(), choice.precision))
    requested = {kind: functools.partial(ours, dataclasses.replace(case, precision=kind)) for kind in precisions}
    with workers(requested, report.leave_out_of(name)) as started:
        rates = in_turns(started, rounds)
    report.compare(name, rates, "float32", "images")
    report.add(f"{name}, takes {choice.precision}", 1.0)
    report.compare_with_best(name, rates[choice.precision], rates)


def run(report: Report, amount: Amount) -> None:
    """Measures each case."""
    for case in amount.cases:
        name = f"{case.model} {case.precision}"
        if case.precision == AUTO:
            compare_choice(report, case, name, amount.rounds)
            continue
        if case.precision == "bfloat16" and not bfloat16_is_native():
            report.leave_out(name, "this processor does not compute in bfloat16")
            continue
        requested = subjects(case)
        with workers(requested | ceilings(case.precision), report.leave_out_of(name)) as started:
            rates = in_turns(started, amount.rounds)
        flops = 3.0 * 2 * kr.macs(case.build())  # forward, and backward to the inputs and to the kernels
        tops = dict.fromkeys(requested, names(case.precision))
        report.compare(name, rates, PEER, "images", dict.fromkeys(requested, flops), tops)
        if "bare loop" in rates:
            report.add(f"{name}, keras_resnet over a bare loop", rates["keras_resnet"].over(rates["bare loop"]))
