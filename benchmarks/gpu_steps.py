"""The subjects of `gpu`: a step of this package on JAX, a step of torchvision's network, and the limits of the device.

Both steps compute in bfloat16 with float32 weights and SGD with momentum, on a batch that is on the device already.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from benchmarks.measure import timed
from benchmarks.workers import Turn

WARM_UP = 3  # steps


def ours(batch: int, size: int, steps: int) -> Turn:
    """`keras_resnet.ResNet50`, with one jitted function for each step."""
    _start_jax()
    import jax
    import keras
    import numpy as np

    import keras_resnet as kr

    keras.config.set_dtype_policy("mixed_bfloat16")
    model = kr.ResNet50(input_shape=(size, size, 3), classifier_activation=None)
    optimizer = keras.optimizers.SGD(0.1, 0.9)
    optimizer.build(model.trainable_variables)
    loss_of = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    rng = np.random.default_rng(0)
    images = jax.device_put(rng.integers(0, 256, (batch, size, size, 3), "uint8"))
    labels = jax.device_put(rng.integers(0, 1000, batch))

    def loss(learnt: Any, moved: Any) -> Any:
        logits, moved = model.stateless_call(learnt, moved, images, training=True)
        return loss_of(labels, logits), moved

    def step(learnt: Any, moved: Any, held: Any) -> Any:
        (value, moved), gradients = jax.value_and_grad(loss, has_aux=True)(learnt, moved)
        learnt, held = optimizer.stateless_apply(held, gradients, learnt)
        return value, (learnt, moved, held)

    groups = (model.trainable_variables, model.non_trainable_variables, optimizer.variables)
    state = tuple([variable.value for variable in variables] for variables in groups)
    compiled = jax.jit(step, donate_argnums=(0, 1, 2))

    def advance() -> object:
        nonlocal state
        value, state = compiled(*state)
        return value

    return _turn(batch, steps, advance, jax.block_until_ready)


def theirs(batch: int, size: int, steps: int) -> Turn:
    """torchvision's ResNet-50, channels last, with autocast to bfloat16, compiled."""
    import torch

    from benchmarks.torchvision_on_cpu import torchvision

    device = "cuda" if torch.cuda.is_available() else "cpu"
    net = torchvision().models.resnet50().to(device, memory_format=torch.channels_last).train()
    optimizer = torch.optim.SGD(net.parameters(), 0.1, 0.9)
    images = torch.randn(batch, 3, size, size, device=device).to(memory_format=torch.channels_last)
    labels = torch.randint(1000, (batch,), device=device)
    compiled = torch.compile(net)

    def step() -> torch.Tensor:
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(device, torch.bfloat16):
            loss = torch.nn.functional.cross_entropy(compiled(images), labels)
        loss.backward()
        optimizer.step()
        return loss

    return _turn(batch, steps, step, lambda loss: loss.item())


def matrices(rows: int, steps: int) -> Turn:
    """A turn of JAX with a product of two square matrices in bfloat16; it returns FLOP/s."""
    _start_jax()
    import jax

    matrix = jax.random.normal(jax.random.key(0), (rows, rows), "bfloat16")  # matrices of ones would take less power
    product = jax.jit(lambda a: a @ a)
    return _turn(2 * rows**3, steps, lambda: product(matrix), jax.block_until_ready)


def convolutions(batch: int, steps: int) -> Turn:
    """A turn of JAX with ResNet-50's 3x3 convolution of 28x28x128 inputs in bfloat16; it returns FLOP/s."""
    _start_jax()
    import jax

    images = jax.random.normal(jax.random.key(0), (batch, 28, 28, 128), "bfloat16")
    kernel = jax.random.normal(jax.random.key(1), (3, 3, 128, 128), "bfloat16")
    layout = ("NHWC", "HWIO", "NHWC")
    convolve = jax.jit(
        lambda x, kernel: jax.lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=layout)
    )
    flops = 2 * batch * 28**2 * 128**2 * 3**2
    return _turn(flops, steps, lambda: convolve(images, kernel), jax.block_until_ready)


def macs(size: int) -> Turn:
    """Returns, instead of a rate, the multiply-accumulates of ResNet-50 for an image of that side."""
    _start_jax()
    import keras_resnet as kr

    count = float(kr.macs(kr.ResNet50(input_shape=(size, size, 3))))
    return lambda *_: count


def jax_has_a_gpu() -> Turn:
    """Returns, instead of a rate, whether JAX computes on a GPU."""
    _start_jax()
    import jax

    return lambda *_: jax.default_backend() == "gpu"


def _start_jax() -> None:
    """Selects JAX before Keras is imported, and leaves memory of the device for torch."""
    os.environ.setdefault("KERAS_BACKEND", "jax")
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")


def _turn(work: float, steps: int, step: Callable[[], Any], wait: Callable[[Any], object]) -> Turn:
    """A turn that times a number of steps until the last has finished, after some untimed steps to warm up."""

    def act(count: int) -> None:
        for _ in range(count):
            last = step()
        wait(last)

    act(WARM_UP)
    return lambda *_: timed(work * steps, lambda: act(steps))()
