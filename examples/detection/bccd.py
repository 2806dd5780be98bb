"""Trains a detector of blood cells without pretrained weights: Faster R-CNN with a small feature pyramid on ResNet-18.

First ResNet-18 learns to classify the cells that are cut out of the training images, then the detector is trained from
these weights. The validation images choose the epoch; the test images are used once, at the end.

Run:     TF_ENABLE_ONEDNN_OPTS=1 python examples/detection/bccd.py BCCD [OUT] | tee -a bccd.log
         BCCD has the layout of PASCAL VOC, and comes from https://github.com/Shenggan/BCCD_Dataset. The default of OUT
         is runs/bccd. If it is interrupted, the same command continues it.
Result:  OUT/detector.keras; OUT/cells/history.csv and OUT/detection/history.csv, with a line for each epoch; OUT/report
         with the figures of the test images, the curves and the worst misses; prints a line for each epoch, and at the
         end the average precision on the test images
"""

from __future__ import annotations

import dataclasses
import functools
import sys
import time
from pathlib import Path

import keras
import numpy as np
from rich.console import Console

import keras_resnet as kr
from keras_resnet import detection
from keras_resnet.data import Split, from_arrays
from keras_resnet.detection import FPN, RECIPES, AnnotatedSplit, FasterRCNN, batches_of, evaluate_split, fit, load
from keras_resnet.detection.anchors import Anchors
from keras_resnet.detection.batches import evaluation_batches
from keras_resnet.detection.heads import two_dense
from keras_resnet.detection.necks import feature_pyramid
from keras_resnet.detection.prediction import pixels_of
from keras_resnet.training import ProgressBar, Recipe

# Images of 480x640 become 288x384: cells have 24 to 150 pixels then, and a step takes a third of the time.
DESIGN = dataclasses.replace(
    FPN,
    neck=functools.partial(feature_pyramid, channels=64),
    anchors=Anchors(((16,), (32,), (64,), (128,), (256,))),
    box_head=functools.partial(two_dense, units=256),
    before=(200, 200),
    after=(200, 100),
    regions=64,
    shorter=288,
    longer=384,
)
# conv1 and conv2 stay as the classifier learned them: their gradients take a third of a step.
RECIPE = dataclasses.replace(
    RECIPES["small_data"], frozen_until="conv3", vertical_flip=True, color_jitter=0.2, ema_decay=0.99
)
CELL = 64  # sides of the cut cells in pixels; white ones are larger, and are cut at their borders
CELLS = Recipe(epochs=4, batch_size=32, balanced_sampling=True, flip=True, learning_rate=0.05)


def main(data: str, out: str = "runs/bccd") -> float:
    """Trains, evaluates on the test images, writes all to `out`, and returns the test mAP at an overlap of 0.5."""
    started, directory = time.monotonic(), Path(out)
    splits = {name: load(f"voc:{data}", name) for name in ("train", "val", "test")}
    train = splits["train"]
    for name, split in splits.items():
        print(f"{name}: {split}", flush=True)

    detector = FasterRCNN(
        backbone(train, directory / "cells"),
        len(train.classes),
        DESIGN,
        frozen_until=RECIPE.frozen_until,
        frozen_norms=RECIPE.frozen_norms,
    )
    with ProgressBar(Console(), RECIPE.batch_size) as progress:
        result = fit(
            detector,
            DESIGN,
            RECIPE,
            *batches_of(train, DESIGN, RECIPE),
            directory=directory / "detection",
            validate=lambda detector: evaluate_split(detector, splits["val"], DESIGN).map50,
            callbacks=[progress],
        )
    detector.save(directory / "detector.keras")

    test = splits["test"]
    evaluation = evaluate_split(detector, test, DESIGN)
    if not (directory / "report").exists():
        images = functools.partial(pixels_of, test)
        detection.write_report(evaluation, directory / "report", "Blood cells, test images", images, test.files)
    of_classes = ", ".join(
        f"{name} {curve.area:.1%}" for name, curve in zip(test.classes, evaluation.curves, strict=True)
    )
    print(f"test mAP@.5 {evaluation.map50:.1%} ({of_classes}), epoch {result.best_epoch}", flush=True)
    print(f"{(time.monotonic() - started) / 60:.0f} minutes; the detector alone {result.seconds / 60:.0f}", flush=True)
    return evaluation.map50


def backbone(train: AnnotatedSplit, directory: Path) -> keras.Model:
    """ResNet-18 without its head, trained to classify the cells of the training images."""
    keras.utils.set_random_seed(RECIPE.seed)
    classifier = kr.ResNet18(input_shape=(CELL, CELL, 3), classes=len(train.classes))
    with ProgressBar(Console(), CELLS.batch_size) as progress:
        kr.training.fit(classifier, CELLS, cut_cells(train), callbacks=[progress], directory=directory)
    network = kr.ResNet18(include_top=False, input_shape=(None, None, 3))
    network.set_weights(classifier.get_weights()[:-2])  # without kernel and bias of the head
    return network


def cut_cells(split: AnnotatedSplit) -> Split:
    """A square around each cell, at the scale in which the detector sees it."""
    squares, labels = [], []
    for batch in evaluation_batches(split, DESIGN, 1):
        objects = split.objects[int(batch["numbers"][0])]
        factors = np.tile(batch["factors"][0].numpy()[::-1], 2)
        height, width = batch["sizes"][0].numpy()
        image = np.pad(batch["images"][0, :height, :width], ((CELL, CELL), (CELL, CELL), (0, 0)), "reflect")
        for box, label in zip(objects.boxes * factors, objects.labels, strict=True):
            left, top = (int(center + CELL / 2) for center in ((box[0] + box[2]) / 2, (box[1] + box[3]) / 2))
            squares.append(image[top : top + CELL, left : left + CELL])
            labels.append(int(label))
    return from_arrays(np.round(squares).astype("uint8"), np.array(labels), split.classes)


if __name__ == "__main__":
    main(*sys.argv[1:3])
