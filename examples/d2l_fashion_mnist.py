"""Trains the ResNet-18 of the book "Dive into Deep Learning" on Fashion-MNIST at 96x96 pixels.

As in the book: 10 epochs, batches of 256 images and a learning rate of 0.05.

Run:     python examples/d2l_fashion_mnist.py [DATA] [OUT]
         The default of DATA is idx:/usr/share/datasets/fashion-mnist (Debian's package dataset-fashion-mnist)
Time:    72 minutes on two cores that also did other work; 50 minutes (222 images/s) without other work
Result:  a run directory in OUT (default: runs/d2l). Our run classified 88.37 % of the test images correctly; the book
         reports 89 to 92 %. One reason: the residual blocks of this package start as the identity, and plain gradient
         descent is slow to change that. After 60 steps 49 % of the training images are correct; with
         `last_gamma="ones"`, the start of the book's network, it is 72 %
"""

import sys

from rich.console import Console

from keras_resnet.training import ProgressBar, Recipe, Run, Task, train

# Plain stochastic gradient descent with a constant learning rate: the schedule "steps" without milestones.
D2L = Recipe(
    epochs=10,
    batch_size=256,
    learning_rate=0.05,
    schedule="steps",
    warmup=0.0,
    momentum=0.0,
    nesterov=False,
    weight_decay=0.0,
    label_smoothing=0.0,
    pad_and_crop=0.0,
    precision="bfloat16",
    validation_split=0.0,  # as in the book, all training images are used, and the last epoch is the result
)


def main(
    data: str = "idx:/usr/share/datasets/fashion-mnist",
    out: str = "runs/d2l",
    *,
    model: str = "ResNet18",
    size: int = 96,
    recipe: Recipe = D2L,
) -> Run:
    """Trains and prints the accuracy on the test images."""
    console = Console()
    with ProgressBar(console, recipe.batch_size) as progress:
        run = train(Task(model, data, recipe, size), out, [progress])
    print(f"{run.test_accuracy:.2%} of {run.test_images:,} test images")
    return run


if __name__ == "__main__":
    main(*sys.argv[1:])
