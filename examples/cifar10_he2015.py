"""CIFAR-10 as He et al. 2015 trained on it (arXiv:1512.03385, table 6): a ResNet-20 to about 8.75 % error.

Run:     python examples/cifar10_he2015.py [DATA] [OUT]
         DATA is tfds:cifar10 if not given, which TensorFlow Datasets downloads; the same command goes on after a kill
Time:    not run here, where the data cannot be had; 64,000 steps at the speed of `python -m benchmarks train`. What
         runs is the test of this file: the recipe with a few other images
Result:  a run directory in OUT, runs/cifar10_he2015 if not given
"""

import sys

from rich.console import Console

from keras_resnet.training import RECIPES, ProgressBar, Recipe, Run, Task, train


def main(
    data: str = "tfds:cifar10",
    out: str = "runs/cifar10_he2015",
    *,
    model: str = "ResNet20",
    recipe: Recipe = RECIPES["he2015_cifar"],
) -> Run:
    """64,000 steps of 128 images, 5,000 images held out to choose by."""
    console = Console()
    with ProgressBar(console, recipe.batch_size) as progress:
        run = train(Task(model, data, recipe), out, [progress])
    print(f"{1 - run.test_accuracy:.2%} error on {run.test_images:,} test images")
    return run


if __name__ == "__main__":
    main(*sys.argv[1:])
