"""Trains ResNet-20 on CIFAR-10 as He et al. 2015 (arXiv:1512.03385, table 6), who report an error of 8.75 %.

Run:     python examples/cifar10_he2015.py [DATA] [OUT]
         The default of DATA is tfds:cifar10, which TensorFlow Datasets downloads. If the training is interrupted, the
         same command continues it
Time:    that of 64,000 steps; `python -m benchmarks train` measures the speed on your machine. We have not run this
         training, because we have no access to the data. The tests run the recipe with a few other images
Result:  a run directory in OUT (default: runs/cifar10_he2015)
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
    """Trains 64,000 steps of 128 images. 5,000 images are held out; the best epoch on them is kept."""
    console = Console()
    with ProgressBar(console, recipe.batch_size) as progress:
        run = train(Task(model, data, recipe), out, [progress])
    print(f"{1 - run.test_accuracy:.2%} error on {run.test_images:,} test images")
    return run


if __name__ == "__main__":
    main(*sys.argv[1:])
