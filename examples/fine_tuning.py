"""Fine-tunes a network on your own images: first with frozen early stages, then as a whole at a tenth of the rate.

Run:     python examples/fine_tuning.py FOLDER [WEIGHTS]
         FOLDER contains one folder of images per class. WEIGHTS is "imagenet" (the default) or a file
Time:    minutes on two cores for a few hundred images
Result:  prints the accuracy on the held-out fifth of the images after each of the two trainings
"""

import dataclasses
import sys

import keras_resnet as kr


def main(folder: str, weights: str = "imagenet", *, size: int = 224) -> tuple[float, float]:
    """Trains the last stage and the head first, then all layers.

    The new head starts with random weights. Its large gradients would damage pretrained weights that are not frozen.
    """
    train, test = (kr.data.load(f"folder:{folder}", split, on_corrupt="skip") for split in ("train", "test"))
    recipe = dataclasses.replace(kr.training.RECIPES["fine_tune"], epochs=5, precision="bfloat16")
    model = kr.ResNet18(weights=weights, classes=len(train.classes), input_shape=(size, size, 3))

    # `freeze` freezes all layers before the stage conv5. `fit` compiles the model, as is necessary after freezing.
    kr.training.fit(kr.freeze(model, until="conv5"), recipe, train)
    frozen = kr.training.evaluate(model, test)
    print(f"last stage and head: {frozen:.1%} of {test.size} images")

    model.trainable = True
    kr.training.fit(model, dataclasses.replace(recipe, learning_rate=recipe.learning_rate / 10), train)
    whole = kr.training.evaluate(model, test)
    print(f"the whole network:   {whole:.1%}; {len(train.skipped) + len(test.skipped)} corrupt files were skipped")
    return frozen, whole


if __name__ == "__main__":
    main(*sys.argv[1:])
