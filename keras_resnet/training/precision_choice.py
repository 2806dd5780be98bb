"""The precision of a training: `auto` becomes the quickest one, and one that is slower than float32 is warned of.

A few steps of the real network are timed in each precision, at the batch size and the largest image size of the recipe,
on images of noise: no image of the training is read. Weights, statistics and random states are as before afterwards.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from keras_resnet.runtime.precision import POLICIES
from keras_resnet.runtime.quickest import HOPELESS, MARGIN, REFERENCE, not_tried, quickest, quickest_seconds, rate
from keras_resnet.runtime.restoring import restored_variables
from keras_resnet.training.distribution import Placement, gather
from keras_resnet.training.recipe import AUTO, Recipe
from keras_resnet.training.summary import device_kind

SECONDS, TURNS = 1.0, 4  # for which a precision is timed, besides its compilation, and parts, of which the best counts
FAR_SLOWER = 2.0  # a precision whose first timed step takes longer than the best by this factor is not timed further
# Rounding of bfloat16, 1/256 in each layer, and other random numbers of dropout change a loss by a few percent.
# A type that overflows, or a kernel that is wrong, changes it by more.
LOSS_TOLERANCE = 0.1
# A typed precision is checked only if this is a small part of the training. By the number of its steps: below `BRIEF`
# nothing is timed, below `LONG` one convolution, which takes a second, and otherwise the network.
BRIEF, LONG = 100, 1_000
log = logging.getLogger("keras_resnet.training")


class Speed(NamedTuple):
    """How a precision trains.

    Attributes:
        images: images per second.
        loss: the loss of the first step, from the same weights and images in each precision.
    """

    images: float
    loss: float


class Choice(NamedTuple):
    """A precision, and what was measured in words: None if nothing was measured."""

    precision: str
    words: str | None


# Precision, images per second of the best one so far -> how it trains.
Measure = Callable[[str, float], Speed]


def choose(candidates: Sequence[str], measure: Measure, slowdown: Callable[[str], float]) -> Choice:
    """The quickest precision that trains as float32 does.

    Args:
        candidates: names of precisions; the first one is float32.
        measure: function that times a precision. It may stop early if it is far slower than the best so far.
        slowdown: function that gives how many times as long as in float32 a convolution takes.

    Example:
        >>> from keras_resnet.training.precision_choice import Speed, choose
        >>> speeds = {"float32": Speed(41.0, 2.3), "bfloat16": Speed(12.0, 2.3)}
        >>> choose(list(speeds), lambda name, best: speeds[name], lambda name: 1.0)
        Choice(precision='float32', words='precision float32: 41 images/s; bfloat16 reaches 12 images/s')
    """
    reference, *others = candidates
    speeds = {reference: measure(reference, 0.0)}
    left_out = {}
    for name in others:
        if (factor := slowdown(name)) > HOPELESS:
            left_out[name] = not_tried(factor)
            continue
        speed = measure(name, max(speed.images for speed in speeds.values()))
        if _same_loss(speed.loss, speeds[reference].loss):
            speeds[name] = speed
        else:
            left_out[name] = (
                f"reaches {rate(speed.images)} and is not taken, because the loss of its first step is "
                f"{speed.loss:.3g} instead of {speeds[reference].loss:.3g}"
            )
    best = quickest({name: speed.images for name, speed in speeds.items()})
    rest = {name: f"reaches {rate(speed.images)}" for name, speed in speeds.items() if name != best} | left_out
    words = [f"precision {best}: {rate(speeds[best].images)}", *(f"{name} {text}" for name, text in rest.items())]
    return Choice(best, "; ".join(words))


def _same_loss(loss: float, expected: float) -> bool:
    """Whether a loss is that of float32 but for rounding; two losses that are no numbers differ."""
    return abs(loss - expected) <= LOSS_TOLERANCE * max(1.0, abs(expected))


def check_speed(precision: str, measure: Measure, slowdown: Callable[[str], float], compare: bool) -> None:
    """Warns in the log if a precision is slower than float32.

    Args:
        precision: the precision that the user has typed.
        measure, slowdown: as in `choose`.
        compare: whether to time steps of the network, if convolutions are not hopelessly slow already.
    """
    if (factor := slowdown(precision)) > HOPELESS:
        reason = f"a convolution takes {factor:.0f} times as long"
    elif not compare:
        return
    else:
        expected = measure(REFERENCE, 0.0).images
        found = measure(precision, expected).images
        if expected <= MARGIN * found:
            return
        reason = f"{rate(found)} instead of {rate(expected)}"
    log.warning(
        "precision=%s is slower than float32 on this machine: %s; precision=auto (on the command line --precision "
        "auto) takes the quickest",
        *(precision, reason),
    )


def settle(
    model: keras.Model,
    recipe: Recipe,
    images: tuple[int, int],
    where: Placement,
    compiled: Callable[[Recipe], contextlib.AbstractContextManager[Any]],
    steps: int,
    before: str | None,
) -> Choice:
    """The precision of a training, which is not "auto" any more. All processes get that of process 0.

    Args:
        model: the network. Its variables do not change.
        recipe: how it is trained.
        images: number of training images, and their largest side in pixels.
        where: the devices of the training.
        compiled: function that gives the context in which `model` is trained by a recipe.
        steps: number of steps of the training.
        before: precision of the training that continues; None if it is a new one.
    """
    count, side = images
    local = min(recipe.batch_size, count) // where.processes

    def measure(precision: str, best: float) -> Speed:
        with restored_variables(model), compiled(dataclasses.replace(recipe, precision=precision)):
            return _speed(model, _noise(model, local, side), local * where.processes, best, where)

    def slowdown_of_all(precision: str) -> float:
        # Every process must measure the same precisions, because they train together.
        return gather(math.ceil(100 * slowdown(precision)), where)[0] / 100

    is_new = gather(int(before is None), where)[0]
    if recipe.precision == AUTO and is_new:
        candidates = (REFERENCE, "bfloat16", *(["float16"] if device_kind(model) == "GPU" else []))
        choice = choose(candidates, measure, slowdown_of_all)
        choice = choice._replace(precision=candidates[gather(candidates.index(choice.precision), where)[0]])
        if where.process == 0:
            log.info(choice.words)
        return choice
    if recipe.precision == AUTO:
        return Choice(before or REFERENCE, None)
    if recipe.precision != REFERENCE and is_new and steps >= BRIEF:
        check_speed(recipe.precision, measure, slowdown_of_all, compare=steps >= LONG)
    return Choice(recipe.precision, None)


def slowdown(precision: str) -> float:
    """How many times as long as in float32 a training step of two convolutions takes in a precision.

    It takes a second. Where the type is emulated, the gradients of a convolution take ten times as long and more
    (bfloat16 on a processor with AVX2 alone: 20 times), and a single step of a large network would take minutes.
    """
    return _step_seconds(precision) / _step_seconds(REFERENCE)


def _step_seconds(precision: str) -> float:
    options = {"padding": "same", "data_format": "channels_last", "dtype": POLICIES[precision]}
    # Not random initializers: they would change the state of Python's random numbers.
    kernel = keras.initializers.Constant(0.01)
    convolutions = [keras.layers.Conv2D(64, 3, kernel_initializer=kernel, **options) for _ in range(2)]
    model = keras.Sequential([keras.Input((28, 28, 64)), *convolutions])
    jit = "auto" if keras.backend.backend() != "tensorflow" else False  # as in trainings
    model.compile(keras.optimizers.SGD(1e-9), "mse", auto_scale_loss=False, jit_compile=jit)
    image = np.ones((1, 28, 28, 64), "float32")
    return quickest_seconds(lambda: model.train_on_batch(image, image))


def _noise(model: keras.Model, count: int, side: int) -> tf.data.Dataset:
    """The same batch of noise again and again; the content of images does not change the speed."""
    rng = np.random.default_rng(0)
    classes = model.outputs[0].shape[-1]
    images = rng.integers(0, 256, (count, side, side, model.inputs[0].shape[-1]), "uint8")
    targets = np.eye(classes, dtype="float32")[rng.integers(0, classes, count)]
    options = tf.data.Options()
    options.autotune.enabled = False  # with it, the end of an iterator may take seconds
    return tf.data.Dataset.from_tensors((images, targets)).repeat().with_options(options)


class _Clock(keras.callbacks.Callback):
    """Takes the time from the first batch of an epoch to its end, and the loss of the epoch."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds: list[float] = []
        self.losses: list[float] = []

    def on_train_batch_begin(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        if batch == 0:
            self.began = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        self.losses.append(float((logs or {})["loss"]))  # waits for the device
        self.seconds.append(time.perf_counter() - self.began)


def _speed(model: keras.Model, batches: tf.data.Dataset, batch_size: int, best: float, where: Placement) -> Speed:
    """Times the steps of a compiled model: two, and then as many as `SECONDS` allow."""
    clock = _Clock()

    def train(epochs: int, steps: int) -> None:
        model.fit(batches, epochs=epochs, steps_per_epoch=steps, callbacks=[clock], verbose=0, shuffle=False)

    train(epochs=2, steps=1)  # the first step compiles
    step = clock.seconds[1]
    enough = step >= SECONDS or batch_size / step * FAR_SLOWER < best
    # Processes that train together must do the same number of steps.
    steps = gather(0 if enough else math.ceil(SECONDS / TURNS / step), where)[0]
    if steps:
        train(epochs=TURNS, steps=steps)
        step = min(clock.seconds[2:]) / steps
    return Speed(batch_size / step, clock.losses[0])
