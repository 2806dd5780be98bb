"""A training step of ResNet-50 on a GPU: this package on JAX beside torchvision's network under `torch.compile`.

    KERAS_BACKEND=jax python -m benchmarks.gpu_training [--batch 256] [--size 224]

Both in bfloat16 with float32 weights, SGD with momentum, on a batch that lies on the device; in turns, in one process.
Beside the images per second stands the share of what a product of two matrices of 8,192 rows reaches there. It needs
JAX, torch and torchvision, and neither TensorFlow nor the data; on a machine without a GPU it runs on the CPU, which
says nothing about a GPU (try --batch 2 --size 64 --rows 512 --steps 1). The result goes to
benchmarks/results/gpu_training.json.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("KERAS_BACKEND", "jax")
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # torch needs room as well

import jax
import keras
import numpy as np
import torch
import torchvision

import keras_resnet as kr
from benchmarks.measure import Times, said_in_turns

GPU = torch.cuda.is_available()
DEVICE = "cuda" if GPU else "cpu"


def timed(step: Callable[[], object], wait: Callable[[Any], object], steps: int) -> Callable[[], float]:
    """Seconds of some steps; three warm up."""

    def turn() -> float:
        for _ in range(3):
            last = step()
        wait(last)
        began = time.perf_counter()
        for _ in range(steps):
            last = step()
        wait(last)
        return time.perf_counter() - began

    return turn


def ours(batch: int, size: int, steps: int) -> Callable[[], float]:
    """`keras_resnet.ResNet50` on JAX, one jitted function a step."""
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

    return timed(advance, jax.block_until_ready, steps)


def theirs(batch: int, size: int, steps: int) -> Callable[[], float]:
    """torchvision's ResNet-50, channels last, autocast to bfloat16, compiled."""
    net = torchvision.models.resnet50().to(DEVICE, memory_format=torch.channels_last).train()
    optimizer = torch.optim.SGD(net.parameters(), 0.1, 0.9)
    images = torch.randn(batch, 3, size, size, device=DEVICE).to(memory_format=torch.channels_last)
    labels = torch.randint(1000, (batch,), device=DEVICE)

    def step() -> torch.Tensor:
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(DEVICE, torch.bfloat16):
            loss = torch.nn.functional.cross_entropy(compiled(images), labels)
        loss.backward()
        optimizer.step()
        return loss

    compiled = torch.compile(net)
    return timed(step, lambda loss: loss.item(), steps)


def ceiling(rows: int, steps: int) -> Callable[[], float]:
    """A product of two square matrices in bfloat16, by JAX."""
    matrix = jax.numpy.ones((rows, rows), "bfloat16")
    product = jax.jit(lambda a: a @ a)
    return timed(lambda: product(matrix), jax.block_until_ready, steps)


def main() -> None:
    """Measures, prints, writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=256, help="images a step")
    parser.add_argument("--size", type=int, default=224, help="side of the images in pixels")
    parser.add_argument("--rows", type=int, default=8192, help="of the matrices that the ceiling is measured with")
    parser.add_argument("--steps", type=int, default=20, help="of each turn")
    asked = parser.parse_args()
    subjects = {
        "keras_resnet on JAX": ours(asked.batch, asked.size, asked.steps),
        "torchvision, torch.compile": theirs(asked.batch, asked.size, asked.steps),
        "matrices": ceiling(asked.rows, asked.steps),
    }
    times: dict[str, Times] = said_in_turns(subjects)
    top = asked.steps * 2 * asked.rows**3 / times["matrices"].median
    flops = 3 * 2 * kr.macs(kr.ResNet50(input_shape=(asked.size, asked.size, 3))) * asked.batch * asked.steps
    figures = {"matrices, TFLOP/s": top / 1e12}
    for name in list(subjects)[:2]:
        figures[f"{name}, images/s"] = asked.batch * asked.steps / times[name].median
        figures[f"{name}, of the matrices"] = flops / times[name].median / top
    figures["over torch.compile"] = times["torchvision, torch.compile"].median / times["keras_resnet on JAX"].median
    record = {
        "figures": {name: round(value, 3) for name, value in figures.items()},
        "command": f"python -m benchmarks.gpu_training --batch {asked.batch} --size {asked.size} --rows {asked.rows} "
        f"--steps {asked.steps}",
        "device": torch.cuda.get_device_name() if GPU else "CPU",
        "versions": {module.__name__: module.__version__ for module in (jax, keras, torch, torchvision)},
    }
    print(json.dumps(record, indent=2))
    if GPU:
        Path(__file__).with_name("results").joinpath("gpu_training.json").write_text(
            json.dumps(record, indent=2) + "\n"
        )


if __name__ == "__main__":
    main()
