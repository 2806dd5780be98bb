"""Compares ResNet-20 on Fashion-MNIST alone with one that also learns from ResNet-56, for as many epochs.

The teacher is the ResNet-56 that comes with the package, 94.99 % of the test images. Each is trained with three seeds.
The test images are used once for each run, at its end.

Run:     TF_ENABLE_ONEDNN_OPTS=1 python examples/distillation.py [DATA] [OUT]
         The default of DATA is idx:/usr/share/datasets/fashion-mnist (Debian's package dataset-fashion-mnist). If the
         comparison is interrupted, the same command continues it
Time:    see the column seconds of examples/distillation/results.csv
Result:  a run directory for each training and results.csv in OUT (default: runs/distillation), and a table. Ours is in
         examples/distillation/results.csv
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from keras_resnet.training import Recipe, Run, Task, train

# The recipe of the networks that come with the package (examples/fashion_mnist), with fewer epochs.
RECIPE = Recipe(epochs=8, batch_size=128, flip=True, pad_and_crop=1 / 14, random_erase=0.25, validation_split=0.0)
TEACHERS = {"alone": None, "with a teacher": "ResNet56:fashion_mnist"}
SEEDS = (0, 1, 2)


def main(
    data: str = "idx:/usr/share/datasets/fashion-mnist",
    out: str = "runs/distillation",
    *,
    recipe: Recipe = RECIPE,
    seeds: Sequence[int] = SEEDS,
) -> dict[str, list[Run]]:
    """Trains all runs, writes the results after each one, and prints the table.

    Returns:
        The runs by setting, one for each seed.
    """
    runs: dict[str, list[Run]] = {setting: [] for setting in TEACHERS}
    for seed in seeds:
        for setting, teacher in TEACHERS.items():
            task = Task("ResNet20", data, replace(recipe, seed=seed), size=28, teacher=teacher)
            directory = Path(out) / f"{setting.replace(' ', '_')}-{seed}"
            runs[setting].append(train(task, directory, write_line=print))
            print(f"{directory}: {runs[setting][-1].test_accuracy:.2%}", flush=True)
            write(runs, Path(out) / "results.csv")
    for setting, found in runs.items():
        accuracies = [100 * run.test_accuracy for run in found]
        spread = np.std(accuracies, ddof=len(found) > 1)
        print(f"{setting}: {np.mean(accuracies):.2f} ± {spread:.2f} % of the test images")
    return runs


def write(runs: dict[str, list[Run]], path: Path) -> None:
    """Writes a line for each run."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["setting", "seed", "epochs", "test_accuracy", "seconds"])
        for setting, found in runs.items():
            for run in found:
                writer.writerow([setting, run.recipe.seed, run.recipe.epochs, f"{run.test_accuracy:.4f}", run.seconds])


if __name__ == "__main__":
    main(*sys.argv[1:3])
