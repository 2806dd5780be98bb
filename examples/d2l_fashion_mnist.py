"""The ResNet-18 of "Dive into Deep Learning" on Fashion-MNIST at 96x96: 10 epochs, batches of 256, rate 0.05.

Run:     python examples/d2l_fashion_mnist.py [DATA] [OUT]
         DATA is idx:/usr/share/datasets/fashion-mnist if not given (Debian's package dataset-fashion-mnist)
Time:    72 minutes on two cores beside other work; alone 222 images/s, or 50 minutes
Result:  a run directory in OUT, runs/d2l if not given. Seen: 88.37 % of the test images, where the book has 89 to 92.
         Blocks of the zoo begin as the identity, which plain gradient descent is slow to leave: after 60 steps 49 % of
         the training images are right, with `last_gamma="ones"`, as the book's network begins, 72 %
"""

import sys

from rich.console import Console

from keras_resnet.training import ProgressBar, Recipe, Run, Task, train

# Plain stochastic gradient descent at a constant rate: one stage of "steps".
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
)


def main(
    data: str = "idx:/usr/share/datasets/fashion-mnist",
    out: str = "runs/d2l",
    *,
    model: str = "ResNet18",
    size: int = 96,
    recipe: Recipe = D2L,
) -> Run:
    """Trains; as in the book, the test images are measured after each epoch, and the last epoch is the result."""
    console = Console()
    with ProgressBar(console, recipe.batch_size) as progress:
        run = train(Task(model, data, recipe, size), out, [progress])
    print(f"{run.test_accuracy:.2%} of {run.test_images:,} test images")
    return run


if __name__ == "__main__":
    main(*sys.argv[1:])
