"""The blood cells of ../shared/data/bccd, and detections of them that are wrong in known ways."""

import xml.etree.ElementTree as ET

import numpy as np

from keras_resnet.detection import Found, Objects
from tests.conftest import SHARED

CLASSES = ("Platelets", "RBC", "WBC")


def names(split):
    return (SHARED / "bccd" / "ImageSets" / "Main" / f"{split}.txt").read_text().split()


def objects(name):
    """The objects in an image, without boxes that have no area. VOC's first pixel is 1, and its last one is inside."""
    root = ET.parse(SHARED / "bccd" / "Annotations" / f"{name}.xml").getroot()
    rows = [
        (CLASSES.index(entry.findtext("name")), *(int(entry.findtext(f"bndbox/{side}")) for side in SIDES))
        for entry in root.iter("object")
    ]
    rows = np.array([row for row in rows if row[3] > row[1] and row[4] > row[2]]).reshape(-1, 5)
    no = np.zeros(len(rows), bool)
    return Objects((rows[:, 1:] - (1, 1, 0, 0)).astype("float32"), rows[:, 0].astype("int32"), no, no)


SIDES = ("xmin", "ymin", "xmax", "ymax")


def image(name):
    from PIL import Image

    return np.asarray(Image.open(SHARED / "bccd" / "JPEGImages" / f"{name}.jpg").convert("RGB"))


def noisy(truth, rng):
    """Detections of objects: most of them moved a little, some of another class, twice, or where nothing is."""
    n = len(truth.labels)
    rows = np.concatenate([np.flatnonzero(rng.random(n) < 0.85), rng.integers(0, max(n, 1), 3 if n else 0)])
    boxes = truth.boxes[rows]
    sides = boxes[:, 2:] - boxes[:, :2]
    boxes = boxes + np.tile(sides, 2) * rng.normal(0, 0.1, boxes.shape)
    boxes = np.concatenate([boxes, np.sort(rng.uniform(0, 480, (2, 2, 2)), axis=1).reshape(2, 4)]).astype("float32")
    boxes[:, 2:] = np.maximum(boxes[:, 2:], boxes[:, :2])
    labels = np.concatenate([truth.labels[rows], rng.integers(0, 3, 2)]).astype("int32")
    labels = np.where(rng.random(len(labels)) < 0.1, rng.integers(0, 3, len(labels)), labels).astype("int32")
    scores = np.round(np.concatenate([rng.beta(4, 2, len(rows)), rng.beta(2, 4, 2)]), 2).astype("float32")
    order = np.argsort(-scores, kind="stable")
    return Found(boxes[order], labels[order], scores[order])
