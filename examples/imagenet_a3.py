"""ImageNet by timm's recipe A3 (arXiv:2110.00476): a ResNet-50 to 78.1 % in 100 epochs at 160 pixels.

Run:     python examples/imagenet_a3.py DATA [OUT]
         DATA is tfrecord:DIR with the usual train-* and validation-* files, folder:DIR with train and val, or
         tfds:imagenet2012. On several GPUs or machines see `keras-resnet train --help` and many_machines.py
Time:    a day on one large GPU; not run here, where there is neither the data nor a GPU. What runs is the test of this
         file: the recipe with fewer, smaller images
Result:  a run directory in OUT, runs/imagenet_a3 if not given
"""

import dataclasses
import sys

from rich.console import Console

from keras_resnet.training import RECIPES, ProgressBar, Recipe, Run, Task, train

# 2,048 images a step are too many for one device: eight of 256, whose gradients are averaged.
A3 = dataclasses.replace(RECIPES["timm_a3"], batch_size=256, gradient_accumulation_steps=8, precision="bfloat16")


def main(data: str, out: str = "runs/imagenet_a3", *, model: str = "ResNet50", recipe: Recipe = A3) -> Run:
    """Trains at 160 pixels and measures at 224; a corrupt file or two in a million is skipped and counted."""
    with ProgressBar(Console(), recipe.batch_size) as progress:
        return train(Task(model, data, recipe, on_corrupt="skip"), out, [progress])


if __name__ == "__main__":
    main(*sys.argv[1:])
