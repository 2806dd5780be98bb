"""Searches a network for Fashion-MNIST at no more MACs than ResNet-20, and trains it three times beside ResNet-20.

Run:     python examples/search_fashion_mnist/search.py [DATA] [OUT]
         DATA is idx:/usr/share/datasets/fashion-mnist if not given (Debian's package dataset-fashion-mnist), OUT
         runs/search; the same command goes on after a kill. Two networks train side by side, in the search by a chief
         and two workers on port 8000 of loopback: networks this small leave two cores idle where one process has them
Time:    1.7 hours on two cores
Result:  OUT/search as `keras-resnet tune` leaves it, OUT/again.csv with the test accuracy of each of the six trainings;
         README.md beside this file says what was found
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
RECIPE = Recipe(epochs=3, batch_size=128, flip=True, pad_and_crop=0.0714, random_erase=0.25)
SEEDS = (0, 1, 2)
SIDE = 28


def main(data: str = "idx:/usr/share/datasets/fashion-mnist", out: str = "runs/search") -> list[tuple[str, int, float]]:
    """The search, then the six trainings: all with the same images and epochs, and each with its own randomness."""
    folder = Path(out)
    command = [*SEARCH, *IMAGES, *TUNED, "--base", "ResNet20", "--data", data, "--out", folder / "search"]
    tune = [sys.executable, "-m", "keras_resnet", "tune", *map(str, command), "--process-name"]
    processes = [subprocess.Popen([*tune, name]) for name in ("chief", "worker-1", "worker-2")]
    wait_for(processes)
    return again(folder / "search" / "best.py", data, folder, RECIPE)


def wait_for(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    """Returns when all have ended; if one fails, the others are ended: a chief without workers would wait for ever."""
    while any(process.poll() is None for process in processes) and not any(process.returncode for process in processes):
        time.sleep(1)
    if any(process.returncode for process in processes):
        for process in processes:
            process.terminate()
        raise SystemExit("the search has failed")


def again(
    best: Path, data: str, folder: Path, recipe: Recipe, seeds: Sequence[int] = SEEDS
) -> list[tuple[str, int, float]]:
    """Trains the best network and ResNet-20 with each seed; (network, seed, test accuracy), also in again.csv."""
    tasks = [(name, dataclasses.replace(recipe, seed=seed)) for seed in seeds for name in ("best", "ResNet20")]
    with ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as pool:
        found = pool.map(functools.partial(trained, best=best, data=data, folder=folder), *zip(*tasks))
        results = [(name, row.seed, accuracy) for (name, row), accuracy in zip(tasks, found)]
    with atomic_write(folder / "again.csv") as aside, aside.open("w", newline="") as file:
        csv.writer(file).writerows([("network", "seed", "test_accuracy"), *results])
    return results


def trained(name: str, recipe: Recipe, best: Path, data: str, folder: Path) -> float:
    """The test accuracy of one training, which is done if it was not before."""
    train, test = (kr.data.load(data, split) for split in ("train", "test"))
    left = folder / f"{name}-{recipe.seed}"
    keras.utils.set_random_seed(recipe.seed)  # of the weights that a network begins with
    model = built(name, best, train)
    if not (left / "model.keras").exists():
        kr.training.fit(model, recipe, train, directory=left)
        save(model, left / "model.keras")
    model.load_weights(left / "model.keras")
    accuracy = kr.training.evaluate(model, test)
    print(f"{name}, seed {recipe.seed}: {accuracy:.2%}, {kr.macs(model):,} MACs", flush=True)
    return accuracy


def built(name: str, best: Path, images: kr.data.Split) -> keras.Model:
    """ResNet-20 for these images, or the network that a search has left as a line of Python."""
    if name == "ResNet20":
        return kr.ResNet20(input_shape=(SIDE, SIDE, images.channels), classes=len(images.classes))
    scope: dict[str, keras.Model] = {}
    exec(best.read_text(), scope)
    return scope["model"]


if __name__ == "__main__":
    main(*sys.argv[1:])
