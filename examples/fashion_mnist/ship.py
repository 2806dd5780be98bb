"""Converts a run directory to a weights file for the package: half precision, with metadata.

Run:     python examples/fashion_mnist/ship.py RUN OUT
         RUN is a run directory of `keras-resnet train`; OUT ends in .safetensors
Time:    seconds
Result:  writes OUT, at most 2 MB; prints its hash, and the accuracy of the weights in this file on the test images
"""

import sys
from pathlib import Path

import keras_resnet as kr
from keras_resnet.training import run
from keras_resnet.training.batches import resize
from keras_resnet.weights import Checkpoint
from keras_resnet.weights.download import digest
from keras_resnet.weights.save import save_weights


def main(directory: Path, out: Path) -> float:
    """Saves the weights in half precision, loads them from the file, and evaluates the loaded network."""
    trained = run.load_run(directory)
    model = run.open_model(directory)
    side = model.inputs[0].shape[1]
    checkpoint = Checkpoint(
        trained.model,
        "fashion_mnist",
        str(out),
        size=side,
        crop_pct=trained.recipe.crop_pct,
        data="fashion_mnist",
        licence="apache-2.0",
        classes=len(trained.classes),
        channels=model.inputs[0].shape[-1],
    )
    save_weights(model, out, checkpoint, trained.model, dtype="float16")
    test = kr.data.load(trained.data, "test")
    loaded = getattr(kr, trained.model)(weights=checkpoint)
    accuracy = kr.training.evaluate(loaded, test, resize=resize(trained.recipe))
    print(f"{out}: {out.stat().st_size:,} bytes, sha256:{digest(out, 'sha256')}")
    print(f"{accuracy:.2%} of {test.size:,} test images; {trained.test_accuracy:.2%} in float32")
    return accuracy


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:3]))
