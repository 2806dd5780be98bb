"""How fast `kr.training.fit` trains, over stock Keras' `fit` of the same network on the same batches.

Targets: ResNet-20 at 1.25 in float32 and 1.7 in bfloat16, ResNet-50 at 224 at 1.5 in bfloat16 and 0.55 of what
bfloat16 convolutions reach here; `fit` within 8 % of a bare loop over a `tf.function`. ResNeXt is in the table for its
grouped convolutions, which Keras leaves to XLA. Each turn traces its step anew and trains two epochs; the second is
what counts.
"""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

import keras_resnet as kr
from benchmarks.measure import in_turns, said_in_turns
from keras_resnet.in_place import POLICIES, computing_in
from keras_resnet.training.fused_batch_norm import fused
from keras_resnet.training.logits import logits
from keras_resnet.training.recipes import Recipe


@dataclasses.dataclass(frozen=True)
class Case:
    """A network and how much of it is trained in a turn."""

    model: str
    size: int
    batch: int
    steps: int

    def build(self) -> keras.Model:
        """The network, for ten classes."""
        return getattr(kr, self.model)(input_shape=(self.size, self.size, 3), classes=10)

    def images(self) -> kr.data.Split:
        """Two epochs' worth of noise: pixels cost the same whatever they show."""
        rng = np.random.default_rng(0)
        count = self.batch * self.steps
        pixels = rng.integers(0, 256, (count, self.size, self.size, 3), "uint8")
        return kr.data.from_arrays(pixels, np.arange(count) % 10, tuple(map(str, range(10))))

    def recipe(self, precision: str) -> Recipe:
        """Two epochs of plain training, so that both sides do the same."""
        return Recipe(
            epochs=2, batch_size=self.batch, learning_rate=1e-3, shift=0.0, label_smoothing=0.0, precision=precision
        )


class SecondEpoch(keras.callbacks.Callback):
    """Seconds of the epoch after the one that warms up."""

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Starts the clock."""
        self.began = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Stops it."""
        self.seconds = time.perf_counter() - self.began


def ours(case: Case, precision: str) -> Callable[[], float]:
    """`kr.training.fit`."""
    model, split = case.build(), case.images()

    def turn() -> float:
        clock = SecondEpoch()
        kr.training.fit(model, case.recipe(precision), split, callbacks=[clock])
        return clock.seconds

    return turn


def stock(case: Case, precision: str) -> Callable[[], float]:
    """What Keras' guides say: a policy, compile, fit."""
    keras.config.set_dtype_policy(POLICIES[precision])
    model, split = case.build(), case.images()
    keras.config.set_dtype_policy("float32")

    def turn() -> float:
        clock = SecondEpoch()
        model.compile(
            keras.optimizers.SGD(1e-3, 0.9, nesterov=True, weight_decay=5e-4),
            keras.losses.CategoricalCrossentropy(),
            metrics=["accuracy"],
            jit_compile=False,  # "auto" is the same on a CPU
        )
        batches = kr.data.train_pipeline(split, case.size, case.batch)
        model.fit(batches, epochs=2, steps_per_epoch=case.steps, callbacks=[clock], verbose=0, shuffle=False)
        return clock.seconds

    return turn


def bare(case: Case, precision: str) -> Callable[[], float]:
    """The step that ours takes, in a loop of six lines without Keras' `fit`, metrics or callbacks."""
    model, split = case.build(), case.images()

    def turn() -> float:
        with contextlib.ExitStack() as stack:
            for context in (logits(model), computing_in(model, precision), fused(model)):
                stack.enter_context(context)
            optimizer = keras.optimizers.SGD(1e-3, 0.9, nesterov=True)
            optimizer.build(model.trainable_variables)
            loss_of = keras.losses.CategoricalCrossentropy(from_logits=True)

            @tf.function
            def step(images: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
                with tf.GradientTape() as tape:
                    loss = loss_of(targets, model(images, training=True))
                optimizer.apply(tape.gradient(loss, model.trainable_variables), model.trainable_variables)
                return loss

            batches = iter(kr.data.train_pipeline(split, case.size, case.batch))
            for _ in range(case.steps):
                step(*next(batches))
            began = time.perf_counter()
            for _ in range(case.steps):
                float(step(*next(batches)))
            return time.perf_counter() - began

    return turn


def ceiling() -> float:
    """FLOP/s of the fastest of a ResNet-50's convolutions in bfloat16, median of five."""
    shapes = ((56, 64, 3), (28, 128, 3), (14, 256, 3), (28, 512, 1), (14, 1024, 1))  # side, channels, kernel
    subjects, work = {}, {}
    for side, channels, kernel in shapes:
        x = tf.cast(tf.random.normal((32, side, side, channels)), tf.bfloat16)
        filters = tf.cast(tf.random.normal((kernel, kernel, channels, channels)), tf.bfloat16)
        convolve = tf.function(lambda x, filters: tf.reduce_max(tf.nn.conv2d(x, filters, 1, "SAME")))
        name = f"{kernel}x{kernel} of {channels} channels at {side}x{side}"
        subjects[name] = _repeated(convolve, x, filters)
        work[name] = 10 * 2 * 32 * side**2 * channels**2 * kernel**2
    return max(work[name] / times.median for name, times in in_turns(subjects).items())


def _repeated(function: Callable[..., Any], *arguments: Any) -> Callable[[], object]:
    return lambda: [float(function(*arguments)) for _ in range(10)]


def run() -> dict[str, float]:
    """The ratios, and whether the targets hold."""
    small, large = Case("ResNet20", 32, 128, 20), Case("ResNet50", 224, 32, 3)
    grouped = Case("ResNeXt50_32x4d", 32, 4, 1)  # as little as there can be: the stock step takes seconds
    figures: dict[str, float] = {}
    for name, case, precision, target in (
        ("ResNet20 float32", small, "float32", 1.25),
        ("ResNet20 bfloat16", small, "bfloat16", 1.7),
        ("ResNet50 bfloat16", large, "bfloat16", 1.5),
        ("ResNeXt50 float32", grouped, "float32", 1.0),
    ):
        subjects = {"stock fit": stock(case, precision), "fit": ours(case, precision)}
        if case is small:
            subjects["bare loop"] = bare(case, precision)
        times = said_in_turns(subjects)
        images = case.batch * case.steps
        for subject, seconds in times.items():
            figures[f"{name}, {subject}, images/s"] = images / seconds.median
            print(f"{name:18} {subject:10} {images / seconds.median:8.1f} images/s")
        ratio = times["stock fit"].median / times["fit"].median
        figures[f"{name} over stock fit"] = ratio
        _say(f"{name} over stock fit", ratio, target)
        if "bare loop" in times:
            ratio = times["bare loop"].median / times["fit"].median
            figures[f"{name} of a bare loop"] = ratio
            _say(f"{name} of a bare loop", ratio, 0.92)
    flops = 3 * 2 * kr.macs(large.build()) * figures["ResNet50 bfloat16, fit, images/s"]
    top = ceiling()
    figures |= {"bfloat16 convolutions, TFLOP/s": top / 1e12, "ResNet50 bfloat16 of that": flops / top}
    _say(f"ResNet50 bfloat16 of the {top / 1e12:.2f} TFLOP/s of convolutions", flops / top, 0.55)
    return figures


def _say(what: str, ratio: float, target: float) -> None:
    print(f"{what}: {ratio:.2f}; target {target:g}: {'holds' if ratio >= target else 'missed'}")
