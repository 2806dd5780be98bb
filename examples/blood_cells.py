"""Cuts the boxes of a detection data set (PASCAL VOC) into folders of classes: blood cells, 85 % of them of one class.

Run:     python examples/blood_cells.py BCCD OUT
         BCCD is a copy of github.com/Shenggan/BCCD_Dataset: Annotations/, ImageSets/Main/ and JPEGImages/
         keras-resnet data folder:OUT
         keras-resnet train ResNet20 --data folder:OUT --size 24 --epochs 1 --flip --balanced-sampling --out runs/cells
         keras-resnet evaluate runs/cells --report report
Time:    a minute; the training takes another one on two cores without other work
Result:  OUT/train/RBC/, OUT/val/WBC/, OUT/test/Platelets/ and so on, with a PNG file for each cell (96 MB); prints what
         was cut. `data`, and `train` without --balanced-sampling, warn that the classes are uneven, and name the
         options for it. examples/uneven_blood_cells/ compares these options
"""

from __future__ import annotations

import collections
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

import tensorflow as tf

SPLITS = ("train", "val", "test")
CONTEXT = 0.1  # of the longer side of a box, shown on each side of it


class Box(NamedTuple):
    """Edges in pixels; 0 is the left or upper edge of an image, its width or height the right or lower one."""

    left: int
    top: int
    right: int
    bottom: int

    @property
    def is_empty(self) -> bool:
        """Whether no pixel is in the box."""
        return self.left >= self.right or self.top >= self.bottom


def main(bccd: str, out: str) -> dict[str, dict[str, int]]:
    """Cuts all boxes of the three splits.

    Returns:
        For each split the number of cells by class.
    """
    counts = {}
    for split in SPLITS:
        cells, left_out, clipped = collections.Counter[str](), 0, 0
        for name in (Path(bccd) / "ImageSets" / "Main" / f"{split}.txt").read_text().split():
            content = tf.io.read_file(f"{bccd}/JPEGImages/{name}.jpg")
            image = tf.io.decode_jpeg(content, channels=3, dct_method="INTEGER_ACCURATE")  # as the package decodes
            height, width = image.shape[:2]
            for number, (kind, box) in enumerate(boxes(Path(bccd) / "Annotations" / f"{name}.xml")):
                inside = within(box, width, height)
                if inside.is_empty:
                    left_out += 1
                    continue
                cells[kind] += 1
                clipped += inside != box
                left, top, right, bottom = square(inside, width, height)
                path = Path(out) / split / kind / f"{name}_{number}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(tf.io.encode_png(image[top:bottom, left:right]).numpy())
        classes = ", ".join(f"{count:,} {kind}" for kind, count in cells.most_common())
        print(f"{split}: {classes}; boxes without area, left out: {left_out}; boxes clipped to their image: {clipped}")
        counts[split] = dict(cells)
    return counts


def boxes(annotation: Path) -> Iterator[tuple[str, Box]]:
    """The class and the box of each object in an XML file of PASCAL VOC."""
    for item in ElementTree.parse(annotation).iter("object"):
        edges = [item.findtext(f"bndbox/{edge}", "") for edge in ("xmin", "ymin", "xmax", "ymax")]
        yield item.findtext("name", ""), Box(*map(int, edges))


def within(box: Box, width: int, height: int) -> Box:
    """The part of a box that is inside an image of this size; it may be empty."""
    return Box(max(box.left, 0), max(box.top, 0), min(box.right, width), min(box.bottom, height))


def square(box: Box, width: int, height: int) -> Box:
    """The square that shows a box with context on each side.

    Near a border the square is moved into the image. It is never larger than the image, so that it may cut off the ends
    of a long box.
    """
    longer = max(box.right - box.left, box.bottom - box.top)
    side = min(round(longer * (1 + 2 * CONTEXT)), width, height)
    left = min(max((box.left + box.right - side) // 2, 0), width - side)
    top = min(max((box.top + box.bottom - side) // 2, 0), height - side)
    return Box(left, top, left + side, top + side)


if __name__ == "__main__":
    main(*sys.argv[1:])
