"""Compares what helps against uneven classes, on blood cells: 85 % are red ones. README.md describes our results.

Each setting is trained with three seeds, and none has more steps than the plain training. The validation images choose
the epoch of each run, and the setting. The test images are used once for each run, at its end.

Run:     python examples/blood_cells.py BCCD cells
         TF_ENABLE_ONEDNN_OPTS=1 python examples/uneven_blood_cells/compare.py cells [OUT]
         The default of OUT is runs/cells. If the comparison is interrupted, the same command continues it
Time:    20 minutes on two cores without other work
Result:  a run directory for each training, OUT/results.csv, and for each setting OUT/SETTING.png, the confusion of the
         test images of all seeds; prints a table
"""

from __future__ import annotations

import csv
import dataclasses
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import keras_resnet as kr
from keras_resnet._internal.atomic_files import atomic_write
from keras_resnet.evaluation.result import Evaluation
from keras_resnet.plots.confusion import plot_confusion
from keras_resnet.training import Recipe, Task, train
from keras_resnet.training.batches import resize
from keras_resnet.training.run import open_model

RECIPE = Recipe(epochs=3, flip=True)  # otherwise the default, one_cycle
SETTINGS: dict[str, dict[str, Any]] = {
    "plain": {},
    "class_weights_balanced": {"class_weights": "balanced"},
    "class_weights_effective_number": {"class_weights": "effective_number"},
    # The other cells are repeated eleven times: one epoch has 223 steps, and three plain ones have 261.
    "balanced_sampling": {"balanced_sampling": True, "epochs": 1},
    "focal": {"loss": "focal"},
}
SEEDS = (0, 1, 2)
SPLITS = ("val", "test")

Found = dict[tuple[str, int, str], Evaluation]


def main(
    cells: str,
    out: str = "runs/cells",
    *,
    recipe: Recipe = RECIPE,
    settings: Mapping[str, Mapping[str, Any]] = SETTINGS,
    seeds: Sequence[int] = SEEDS,
    size: int = 24,
) -> Found:
    """Trains and evaluates all runs, writes the results after each one, and prints the table at the end.

    Returns:
        The evaluations by setting, seed and split.
    """
    found: Found = {}
    for seed in seeds:
        for setting, fields in settings.items():
            changed = dataclasses.replace(recipe, seed=seed, **fields)
            directory = Path(out) / f"{setting}-{seed}"
            train(Task("ResNet20", f"folder:{cells}", changed, size), directory, write_line=print)
            model = open_model(directory)
            for split in SPLITS:
                images = kr.data.load(f"folder:{cells}", split)
                found[setting, seed, split] = kr.evaluation.evaluate(model, images, resize=resize(changed))
            print(f"{directory}: balanced accuracy {found[setting, seed, 'test'].balanced_accuracy:.2%}", flush=True)
            write(found, Path(out) / "results.csv")
    for setting in settings:
        tests = [found[setting, seed, "test"] for seed in seeds]
        confusion = np.sum([test.confusion for test in tests], axis=0)
        plot_confusion(confusion, tests[0].answers.classes, Path(out) / f"{setting}.png")
    print(table(found))
    return found


def figures(found: Evaluation) -> dict[str, float]:
    """Top-1, balanced accuracy, and the recall of each class, by name."""
    recalls = {f"recall_{row.name}": row.recall for row in found.per_class}
    return {"top1": found.top1, "balanced_accuracy": found.balanced_accuracy, **recalls}


def write(found: Found, path: Path) -> None:
    """Writes a line for each run and split."""
    names = list(figures(next(iter(found.values()))))
    with atomic_write(path) as temporary, temporary.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["setting", "seed", "split", *names])
        for key, evaluation in found.items():
            writer.writerow([*key, *(f"{value:.4f}" for value in figures(evaluation).values())])


def table(found: Found) -> str:
    """A table in Markdown: mean and standard deviation over the seeds, in percent."""
    names = list(figures(next(iter(found.values()))))
    lines = [f"| setting | split | {' | '.join(names)} |", f"|{'---|' * (len(names) + 2)}"]
    for split in SPLITS:
        for setting in dict.fromkeys(setting for setting, _, _ in found):
            runs = [list(figures(each).values()) for key, each in found.items() if (key[0], key[2]) == (setting, split)]
            means, spreads = np.mean(runs, 0), np.std(runs, 0, ddof=len(runs) > 1)
            cells = (f"{mean:.1%} ± {100 * spread:.1f}" for mean, spread in zip(means, spreads, strict=True))
            lines.append(f"| {setting} | {split} | {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main(*sys.argv[1:3])
