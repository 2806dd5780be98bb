"""Searches for a network for Fashion-MNIST with at most the MACs of ResNet-20, and compares the two.

The best network of the search and ResNet-20 are trained three times each. Two networks train at the same time, because
one process with such a small network does not keep two cores busy. The search uses a chief and two workers, which
connect to port 8000 of the loopback interface.

Run:     python examples/search_fashion_mnist/search.py [DATA] [OUT]
         The default of DATA is idx:/usr/share/datasets/fashion-mnist (Debian's package dataset-fashion-mnist), that of
         OUT is runs/search. If the search is interrupted, the same command continues it
Time:    1.7 hours on two cores
Result:  OUT/search with the results of `keras-resnet tune`, and OUT/again.csv with the test accuracy of each of the six
         trainings. README.md in the directory of this file describes the results of our search
"""

from __future__ import annotations

import csv
import dataclasses
import functools
import multiprocessing
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import keras

import keras_resnet as kr
from keras_resnet._internal.atomic_files import atomic_write
from keras_resnet.training import Recipe
from keras_resnet.training.run import save

BUDGET = 30_821_248  # MACs of ResNet-20 for these images
SEARCH = ("--max-macs", BUDGET, "--trials", 20, "--epochs", 1, "--batch-size", 128)
IMAGES = ("--size", 28, "--flip", "--pad-and-crop", 0.0714, "--random-erase", 0.25, "--validation-split", 0.1)
TUNED = [word for name in ("depth", "width", "gate", "ordering") for word in ("--tune", name)]
RECIPE = Recipe(epochs=3, batch_size=128, flip=True, pad_and_crop=0.0714, random_erase=0.25, validation_split=0.0)
SEEDS = (0, 1, 2)
SIDE = 28


def main(data: str = "idx:/usr/share/datasets/fashion-mnist", out: str = "runs/search") -> list[tuple[str, int, float]]:
    """Runs the search, then the six trainings. These use the same images and number of epochs."""
    folder = Path(out)
    command = [*SEARCH, *IMAGES, *TUNED, "--base", "ResNet20", "--data", data, "--out", folder / "search"]
    tune = [sys.executable, "-m", "keras_resnet", "tune", *map(str, command), "--process-name"]
    processes = [subprocess.Popen([*tune, name]) for name in ("chief", "worker-1", "worker-2")]
    wait_for(processes)
    return again(folder / "search" / "best.py", data, folder, RECIPE)


def wait_for(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    """Waits for all processes. If one fails, it ends the others: a chief without workers would wait forever."""
    while any(process.poll() is None for process in processes) and not any(process.returncode for process in processes):
        time.sleep(1)
    if any(process.returncode for process in processes):
        for process in processes:
            process.terminate()
        raise SystemExit("the search has failed")


def again(
    best: Path, data: str, folder: Path, recipe: Recipe, seeds: Sequence[int] = SEEDS
) -> list[tuple[str, int, float]]:
    """Trains the best network and ResNet-20 with each seed, and writes again.csv.

    Returns:
        Tuples (network, seed, test accuracy).
    """
    tasks = [(name, dataclasses.replace(recipe, seed=seed)) for seed in seeds for name in ("best", "ResNet20")]
    with ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as pool:
        accuracies = pool.map(functools.partial(train_and_evaluate, best=best, data=data, folder=folder), *zip(*tasks))
        results = [(name, recipe.seed, accuracy) for (name, recipe), accuracy in zip(tasks, accuracies)]
    with atomic_write(folder / "again.csv") as temporary, temporary.open("w", newline="") as file:
        csv.writer(file).writerows([("network", "seed", "test_accuracy"), *results])
    return results


def train_and_evaluate(name: str, recipe: Recipe, best: Path, data: str, folder: Path) -> float:
    """The test accuracy of one training. If the model of an earlier training exists, it is used instead."""
    train, test = (kr.data.load(data, split) for split in ("train", "test"))
    directory = folder / f"{name}-{recipe.seed}"
    keras.utils.set_random_seed(recipe.seed)  # for the initial weights
    model = build(name, best, train)
    if not (directory / "model.keras").exists():
        kr.training.fit(model, recipe, train, directory=directory)
        save(model, directory / "model.keras")
    model.load_weights(directory / "model.keras")
    accuracy = kr.training.evaluate(model, test)
    print(f"{name}, seed {recipe.seed}: {accuracy:.2%}, {kr.macs(model):,} MACs", flush=True)
    return accuracy


def build(name: str, best: Path, images: kr.data.Split) -> keras.Model:
    """Builds ResNet-20 for these images, or the network in the file `best.py` of a search."""
    if name == "ResNet20":
        return kr.ResNet20(input_shape=(SIDE, SIDE, images.channels), classes=len(images.classes))
    scope: dict[str, keras.Model] = {}
    exec(best.read_text(), scope)
    return scope["model"]


if __name__ == "__main__":
    main(*sys.argv[1:])
