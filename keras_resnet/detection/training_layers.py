"""Keras layers without weights that only the training of a detector needs: what it learns from, and its losses."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from keras_resnet.detection import boxes as box_math
from keras_resnet.detection import losses
from keras_resnet.detection.detections import REGION_WEIGHTS
from keras_resnet.detection.layers import WithAnchors, WithSettings, flat, float32, registered
from keras_resnet.detection.matching import BACKGROUND, match, sample
from keras_resnet.detection.proposals import ANCHOR_WEIGHTS


def at_random(generator: keras.random.SeedGenerator, shape: Sequence[Any]) -> Any:
    """Priorities of candidates for a step of training: random numbers."""
    return keras.random.uniform(shape, seed=generator)


@registered
class ProposalLosses(WithAnchors):
    """The losses of the region proposal network, for a training.

    Args:
        anchor_sizes, anchor_ratios: see `anchors.Anchors`.
        low, high: limits of overlap, see `matching.match`.
        count: anchors of an image that a step learns from.
        positive: largest fraction of them that belong to a box.
        allowed_border: anchors that are further outside of the image than this, in pixels, are ignored; infinity: none.
        seed: random seed of the choice.
        name: name of the layer.
        dtype: type or policy of the layer.
    """

    priority = staticmethod(at_random)

    def __init__(
        self,
        anchor_sizes: Sequence[Sequence[float]],
        anchor_ratios: Sequence[float],
        low: float = 0.3,
        high: float = 0.7,
        count: int = 256,
        positive: float = 0.5,
        allowed_border: float = math.inf,
        seed: int = 0,
        name: str | None = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(
            name,
            dtype,
            anchor_sizes,
            anchor_ratios,
            low=low,
            high=high,
            count=count,
            positive=positive,
            allowed_border=allowed_border,
            seed=seed,
        )
        self.generator = keras.random.SeedGenerator(seed)

    def call(
        self, images: Any, sizes: Any, logits: Sequence[Any], codes: Sequence[Any], boxes: Any, labels: Any
    ) -> tuple[Any, Any]:
        """The loss of objectness and that of boxes, each (N), with the same value for all images.

        Args:
            images, sizes, logits, codes: as for `Proposals`.
            boxes: the boxes of the objects, (N, M, 4).
            labels: their classes, int32 (N, M); -1 fills the batch.
        """
        settings = self.settings
        anchors = ops.concatenate(self.anchors(images, codes), axis=0)
        logits = ops.concatenate(flat(logits, ()), axis=1)
        codes = ops.concatenate(flat(codes, (4,)), axis=1)
        overlap = box_math.overlaps(boxes, ops.broadcast_to(anchors, (ops.shape(boxes)[0], *ops.shape(anchors))))
        found = match(overlap, labels >= 0, settings["low"], settings["high"], best_of_each_box=True)
        inside = _within(anchors[None], ops.cast(sizes, "float32"), settings["allowed_border"])
        chosen = sample(
            (found >= 0) & inside,
            (found == BACKGROUND) & inside,
            self.priority(self.generator, ops.shape(found)),
            settings["count"],
            int(settings["count"] * settings["positive"]),
        )
        numbers, learned = chosen[0], ops.cast(chosen[1], "float32")
        found = ops.take_along_axis(found, numbers, axis=1)
        positive = ops.cast(found >= 0, "float32") * learned
        own = ops.take_along_axis(boxes, ops.maximum(found, 0)[..., None], axis=1)
        targets = box_math.encode(own, ops.take(anchors, numbers, axis=0), ANCHOR_WEIGHTS)
        logits = ops.take_along_axis(logits, numbers, axis=1)
        codes = ops.take_along_axis(codes, numbers[..., None], axis=1)
        # Codes of anchors without a box may be infinite, and infinity times 0 is not a number.
        targets = ops.where(positive[..., None] > 0, targets, codes)
        values = losses.objectness(logits, positive, learned), losses.box_codes(codes, targets, positive, learned)
        return tuple(_for_each_image(value, boxes) for value in values)

    def compute_output_spec(self, images: Any, *_: Any) -> tuple[Any, Any]:
        """Shapes of the losses."""
        return float32(images.shape[0]), float32(images.shape[0])


def _within(anchors: Any, sizes: Any, border: float) -> Any:
    """Whether anchors (1, A, 4) are at most `border` pixels outside of images of these heights and widths (N, 2)."""
    height, width = sizes[:, None, 0], sizes[:, None, 1]
    left, top, right, bottom = (anchors[..., side] for side in range(4))
    return (left >= -border) & (top >= -border) & (right < width + border) & (bottom < height + border)


def _for_each_image(value: Any, batch: Any) -> Any:
    """A scalar as a vector (N), of which the mean is the scalar: `fit` takes the mean over a batch."""
    return ops.broadcast_to(value, (ops.shape(batch)[0],))


@registered
class SampledRegions(WithSettings):
    """Proposals that a step of training learns from, and what it should find in them.

    Args:
        count: proposals of an image.
        positive: largest fraction of them that belong to an object.
        high: proposals that overlap with an object at least so much belong to it.
        low: those that overlap less than `high`, and at least this, with an object are background.
        seed: random seed of the choice.
        name: name of the layer.
        dtype: type or policy of the layer.
    """

    priority = staticmethod(at_random)

    def __init__(
        self,
        count: int = 512,
        positive: float = 0.25,
        high: float = 0.5,
        low: float = 0.0,
        seed: int = 0,
        name: str | None = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(name, dtype, count=count, positive=positive, high=high, low=low, seed=seed)
        self.generator = keras.random.SeedGenerator(seed)

    def call(self, proposals: Any, present: Any, boxes: Any, labels: Any) -> tuple[Any, ...]:
        """Regions (N, count, 4), classes (N, count) with background as 0, codes (N, count, 4), learned (N, count).

        Args:
            proposals: (N, R, 4). The boxes of the objects are added to them.
            present: which of them are there, bool (N, R).
            boxes: the boxes of the objects, (N, M, 4).
            labels: their classes, int32 (N, M); -1 fills the batch.
        """
        settings = self.settings
        regions = ops.concatenate([proposals, boxes], axis=1)
        there = ops.concatenate([present, labels >= 0], axis=1)
        overlap = box_math.overlaps(boxes, regions)
        found = match(overlap, labels >= 0, settings["high"], settings["high"], best_of_each_box=False)
        near = ops.max(ops.where((labels >= 0)[..., None], overlap, 0.0), axis=1) >= settings["low"]
        numbers, learned = sample(
            (found >= 0) & there,
            (found == BACKGROUND) & there & near,
            self.priority(self.generator, ops.shape(found)),
            settings["count"],
            int(settings["count"] * settings["positive"]),
        )
        found = ops.take_along_axis(found, numbers, axis=1)
        positive, own = (found >= 0) & learned, ops.maximum(found, 0)
        regions = ops.take_along_axis(regions, numbers[..., None], axis=1)
        classes = ops.where(positive, ops.take_along_axis(ops.cast(labels, "int32"), own, axis=1) + 1, 0)
        codes = box_math.encode(ops.take_along_axis(boxes, own[..., None], axis=1), regions, REGION_WEIGHTS)
        codes = ops.where(positive[..., None], codes, 0.0)
        return tuple(map(ops.stop_gradient, (regions, classes, codes, ops.cast(learned, "float32"))))

    def compute_output_spec(self, proposals: Any, *_: Any) -> tuple[Any, ...]:
        """Shapes of regions, classes, codes and learned."""
        shape = proposals.shape[0], self.settings["count"]
        return float32(*shape, 4), keras.KerasTensor(shape, "int32"), float32(*shape, 4), float32(*shape)


@registered
class RegionLosses(WithSettings):
    """The losses of the classes and boxes of regions, for a training."""

    def __init__(self, name: str | None = None, dtype: Any = None) -> None:
        super().__init__(name, dtype)

    def call(self, logits: Any, codes: Any, classes: Any, targets: Any, learned: Any) -> tuple[Any, Any]:
        """The loss of classes and that of boxes, each (N), with the same value for all images.

        Args:
            logits: (N, S, classes + 1).
            codes: (N, S, (classes + 1) * 4).
            classes: the right classes, 0 for background, int32 (N, S).
            targets: the right codes, (N, S, 4).
            learned: which of the regions are real, 0 or 1, (N, S).
        """
        logits, codes = ops.cast(logits, "float32"), ops.cast(codes, "float32")
        batch, samples, outputs = ops.shape(logits)
        codes = ops.reshape(codes, (batch, samples, outputs, 4))
        own = ops.take_along_axis(codes, classes[..., None, None], axis=2)[:, :, 0]
        positive = ops.cast(classes > 0, "float32") * learned
        values = losses.classes(logits, classes, learned), losses.box_codes(own, targets, positive, learned)
        return tuple(_for_each_image(value, logits) for value in values)

    def compute_output_spec(self, logits: Any, *_: Any) -> tuple[Any, Any]:
        """Shapes of the losses."""
        return float32(logits.shape[0]), float32(logits.shape[0])
