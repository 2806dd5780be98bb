"""Trains ResNet-50 on ImageNet with timm's recipe A3 (arXiv:2110.00476): 78.1 % in 100 epochs at 160 pixels.

Run:     python examples/imagenet_a3.py DATA [OUT]
         DATA is tfrecord:DIR with files train-* and validation-*, folder:DIR with the folders train and val, or
         tfds:imagenet2012. For several GPUs or machines see `keras-resnet train --help` and many_machines.py
Time:    about a day on one large GPU. We have not run this training, because we have neither the data nor such a GPU.
         The tests run the recipe with fewer and smaller images
Result:  a run directory in OUT (default: runs/imagenet_a3)
"""

import dataclasses
import sys

from rich.console import Console

from keras_resnet.training import RECIPES, ProgressBar, Recipe, Run, Task, train

# A step of 2,048 images does not fit on one device. So a step averages the gradients of 8 batches of 256 images.
A3 = dataclasses.replace(RECIPES["timm_a3"], batch_size=256, gradient_accumulation_steps=8, precision="bfloat16")


def main(data: str, out: str = "runs/imagenet_a3", *, model: str = "ResNet50", recipe: Recipe = A3) -> Run:
    """Trains at 160 pixels and evaluates at 224. ImageNet has a few corrupt files; these are skipped and counted."""
    with ProgressBar(Console(), recipe.batch_size) as progress:
        return train(Task(model, data, recipe, on_corrupt="skip"), out, [progress])


if __name__ == "__main__":
    main(*sys.argv[1:])
