"""A detector that trains in seconds, and images with bright rectangles for it."""

import dataclasses
import functools
import math

import keras
import numpy as np
import tensorflow as tf

import keras_resnet as kr
from keras_resnet import zoo
from keras_resnet.detection import C4, FasterRCNN, rows
from keras_resnet.detection.anchors import Anchors
from tests.detection.annotated_files import as_png, picture, write_voc, xml

HEIGHT, WIDTH, CLASSES = 64, 96, 2
DESIGN = dataclasses.replace(
    C4,
    anchors=Anchors(((16, 32),)),
    pre_nms_top_n=(40, 40),
    post_nms_top_n=(20, 20),
    regions_per_image=16,
    least_background_overlap=0.0,
    allowed_border=math.inf,
    roi_size=4,
    shorter=HEIGHT,
    longer=WIDTH,
)


def detector(design=DESIGN, **options):
    keras.utils.set_random_seed(1)
    backbone = kr.ResNet(
        (1, 1, 1, 1), kr.residual_block, filters=(8, 8, 16, 16), include_top=False, input_shape=(None, None, 3)
    )
    return FasterRCNN(backbone, CLASSES, design, **{"frozen_until": "conv1", "frozen_norms": False, **options})


def in_table(monkeypatch):
    """Makes a detector of the table so small that a step takes a second without tracing."""
    row = rows.Row("fasterrcnn_resnet50_fpn", "none", "ResNet18", dataclasses.replace(DESIGN, least_score=0.0))
    monkeypatch.setitem(rows.ROWS, row.name, row)
    small = functools.partial(zoo.ResNet18, depths=(1, 1, 1, 1), filters=(8, 8, 16, 16))
    monkeypatch.setitem(zoo._CONSTRUCTORS, "ResNet18", small)


def write_photos(directory, lists, damaged=""):
    """Writes images with a rectangle, a to d, and one as background, e; returns the source of the data.

    Args:
        directory: its path.
        lists: for each split the names of its images.
        damaged: the images whose pixels cannot be read, although their header can.
    """
    boxes = {"a": (8, 8, 40, 30), "b": (20, 10, 60, 50), "c": (30, 20, 70, 60), "d": (4, 4, 50, 40), "e": None}
    images = {}
    for name, box in boxes.items():
        content = as_png(picture((HEIGHT, WIDTH), box))
        if name in damaged:
            pixels = content.index(b"IDAT") + len("IDAT")
            content = content[:pixels] + bytes(len(content) - pixels)
        images[name] = content, xml([("mark", box)] if box else [], (HEIGHT, WIDTH))
    return write_voc(directory, images, lists)


def example(number, objects=2):
    """An image with one rectangle, red or green, and an empty place for another; each fourth image has none."""
    rng = np.random.default_rng(number)
    image = rng.integers(0, 60, (HEIGHT, WIDTH, 3)).astype("float32")
    boxes, labels = np.zeros((objects, 4), "float32"), np.full(objects, -1, "int32")
    if number % 4 != 3:
        left, top = rng.integers(0, WIDTH - 40), rng.integers(0, HEIGHT - 40)
        width, height = rng.integers(16, 40, 2)
        boxes[0], labels[0] = (left, top, left + width, top + height), number % CLASSES
        image[top : top + height, left : left + width, labels[0]] = 220
    return {"images": image, "sizes": np.array([HEIGHT, WIDTH], "int32"), "boxes": boxes, "labels": labels}


def batches_from(step, batch_size=4):
    """The batches of this step and of all steps after it, which the number of the step alone decides."""
    signature = {name: tf.TensorSpec(value.shape, value.dtype) for name, value in example(0).items()}

    def examples():
        number = step * batch_size
        while True:
            yield example(number)
            number += 1

    return tf.data.Dataset.from_generator(examples, output_signature=signature).batch(batch_size)
