"""Fine-tuning on a folder of images with a frozen backbone, then the whole network at a tenth of the rate.

Run:     python examples/fine_tuning.py FOLDER [WEIGHTS]
         FOLDER has one folder of images per class; WEIGHTS is "imagenet" if not given, or a file
Time:    minutes on two cores for a few hundred images
Result:  prints the accuracy on the fifth of the images that was held out, after either half
"""

import dataclasses
import sys

import keras_resnet as kr


def main(folder: str, weights: str = "imagenet", *, size: int = 224) -> tuple[float, float]:
    """Trains the last stage and the head first; only then may the rest move."""
    train, test = (kr.data.load(f"folder:{folder}", split, on_corrupt="skip") for split in ("train", "test"))
    recipe = dataclasses.replace(kr.training.RECIPES["fine_tune"], epochs=5, precision="bfloat16")
    model = kr.ResNet18(weights=weights, classes=len(train.classes), input_shape=(size, size, 3))

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
