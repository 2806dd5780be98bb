"""`AnnotatedSplit`: images with the boxes and classes of their objects."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from keras_resnet._internal.validation import integer, number
from keras_resnet.data.split import Split


class Objects(NamedTuple):
    """The objects of an image.

    Attributes:
        boxes: left, top, right and bottom in pixels of the upright image, float32 (n, 4).
        labels: numbers of their classes, from 0, int32 (n).
        difficult: which of them are hard to recognise, bool (n); the evaluation of PASCAL VOC leaves these out.
        crowd: which boxes are around a group of objects, bool (n); no training learns from these, and the evaluation of
            COCO counts no detection in them as wrong.
    """

    boxes: np.ndarray
    labels: np.ndarray
    difficult: np.ndarray
    crowd: np.ndarray


@dataclasses.dataclass(frozen=True, repr=False)
class AnnotatedSplit:
    """The images of one split, and the objects in them. `keras_resnet.detection.load` makes it.

    An image without objects is a part of it, as background.

    Attributes:
        images: the images, without labels.
        objects: the objects of each image.
        sides: height and width of each upright image, int32 (N, 2).
        classes: names of the classes; a label is an index into them.
        ids: for each image its number or name in the data set.
        category_ids: for each class its number in the data set; COCO's have gaps.
        dropped: the number of boxes that were not used, by reason. A part of a split has the numbers of the whole.
        damaged: one reason for each image that was left out because its annotation or its header cannot be read.
    """

    images: Split
    objects: tuple[Objects, ...]
    sides: np.ndarray
    classes: tuple[str, ...]
    ids: tuple[int | str, ...]
    category_ids: tuple[int, ...]
    dropped: Mapping[str, int]
    damaged: tuple[str, ...] = ()

    def __repr__(self) -> str:
        objects = sum(len(found.labels) for found in self.objects)
        return f"<AnnotatedSplit: {self.size:,} images, {objects:,} objects, {len(self.classes):,} classes>"

    @property
    def size(self) -> int:
        """Number of images, including those whose pixels turn out to be corrupt."""
        return self.images.size

    @property
    def files(self) -> tuple[str, ...]:
        """For each image the name of its file; () if the images are not single files."""
        return self.images.files

    @property
    def skipped(self) -> tuple[str, ...]:
        """One reason for each image that was skipped until now, because of its annotation or its pixels."""
        return tuple(sorted({*self.damaged, *self.images.skipped}))

    def unreadable(self) -> list[str]:
        """One reason for each image whose pixels stopped a run, see `data.corrupt.name_corrupt_files`."""
        return self.images.unreadable()

    @property
    def class_counts(self) -> dict[str, int]:
        """The number of objects of each class."""
        counts = collections.Counter(label for found in self.objects for label in found.labels.tolist())
        return {name: counts[label] for label, name in enumerate(self.classes)}

    def part(self, numbers: np.ndarray) -> AnnotatedSplit:
        """The images with these numbers, in any order and also repeated.

        Args:
            numbers: integers from 0 to `size` - 1.

        Raises:
            ValueError: a number is outside of this range.
        """
        return dataclasses.replace(
            self,
            images=self.images.part(np.asarray(numbers)),
            objects=tuple(self.objects[i] for i in numbers),
            sides=self.sides[numbers],
            ids=tuple(self.ids[i] for i in numbers),
        )

    def hold_out(self, share: float, seed: int = 0) -> tuple[AnnotatedSplit, AnnotatedSplit]:
        """Divides the split at random into a rest and a held-out part, for example for validation.

        Args:
            share: fraction of the images to hold out, in (0, 1); at least one image goes into each part.
            seed: random seed of the draw, at least 0.

        Returns:
            (rest, held-out part), each in the order of this split.

        Raises:
            ValueError: `share` is not in (0, 1), `seed` is below 0, or there is only one image.
            TypeError: `share` is not a number, or `seed` is not an integer.
        """
        number("share", share, "(0, 1)")
        integer("seed", seed, minimum=0)
        if self.size < 2:
            raise ValueError(f"a split must have two images at least to hold one out. Received: {self.size}")
        count = min(max(round(share * self.size), 1), self.size - 1)
        order = np.random.default_rng(seed).permutation(self.size)
        return self.part(np.sort(order[count:])), self.part(np.sort(order[:count]))
