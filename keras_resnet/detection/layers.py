"""Keras layers of a detector that have no weights: they hold settings, and call the functions of this package.

They compute with boxes in float32 under any policy, because coordinates of a thousand pixels need it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from keras_resnet.detection.anchors import around_zero, on_grid
from keras_resnet.detection.detections import detect
from keras_resnet.detection.nms import Suppress, non_maximum_suppression
from keras_resnet.detection.proposals import propose
from keras_resnet.detection.roi_align import level_of, roi_align

registered = keras.saving.register_keras_serializable("keras_resnet")


def float32(*shape: int | None) -> keras.KerasTensor:
    """A tensor of float32 in the specification of a layer's outputs."""
    return keras.KerasTensor(shape, "float32")


class WithSettings(keras.layers.Layer):
    """A layer that saves its arguments, and gets its inputs in their own types.

    Args:
        name: name of the layer.
        dtype: type or policy of the layer.
        settings: the other arguments of the layer, as JSON can hold them.
    """

    def __init__(self, name: str | None, dtype: Any, **settings: Any) -> None:
        super().__init__(name=name, dtype=dtype, autocast=False)
        self.settings = settings

    def get_config(self) -> dict[str, Any]:
        """The arguments of the layer."""
        return {"name": self.name, "dtype": super().get_config()["dtype"], **self.settings}


@registered
class FillPadding(WithSettings):
    """Replaces what is outside of each image by a color, and pads all images to sides that strides divide.

    Args:
        color: the value of each channel: the mean of the pixels becomes 0 in the network, as torchvision's padding.
        multiple: the sides of the result are multiples of it.
        name: name of the layer.
        dtype: type or policy of the layer.
    """

    def __init__(self, color: Sequence[float], multiple: int, name: str | None = None, dtype: Any = None) -> None:
        super().__init__(name, dtype, color=list(color), multiple=multiple)

    def call(self, images: Any, sizes: Any) -> Any:
        """Images (N, H, W, C) and their heights and widths (N, 2) to images (N, H', W', C)."""
        multiple = self.settings["multiple"]
        _, height, width, _ = ops.shape(images)
        images = _extended(_extended(images, 1, -height % multiple), 2, -width % multiple)
        _, height, width, _ = ops.shape(images)
        rows = ops.arange(height)[None, :, None, None] < ops.cast(sizes[:, 0], "int32")[:, None, None, None]
        columns = ops.arange(width)[None, None, :, None] < ops.cast(sizes[:, 1], "int32")[:, None, None, None]
        return ops.where(rows & columns, images, ops.convert_to_tensor(self.settings["color"], images.dtype))

    def compute_output_spec(self, images: Any, sizes: Any) -> keras.KerasTensor:
        """The sides become multiples."""
        batch, *sides, channels = images.shape
        multiple = self.settings["multiple"]
        sides = [None if side is None else side + -side % multiple for side in sides]
        return keras.KerasTensor((batch, *sides, channels), images.dtype)


def _extended(images: Any, axis: int, count: Any) -> Any:
    """Images with `count` more rows (axis 1) or columns (axis 2), copies of the first; `count` may be a tensor."""
    number = ops.arange(ops.shape(images)[axis] + count)
    return ops.take(images, number % ops.shape(images)[axis], axis=axis)


class WithAnchors(WithSettings):
    """A layer of the region proposal network.

    Args:
        name, dtype, settings: as in `WithSettings`.
        anchor_sizes, anchor_ratios: see `anchors.Anchors`.
    """

    def __init__(
        self,
        name: str | None,
        dtype: Any,
        anchor_sizes: Sequence[Sequence[float]],
        anchor_ratios: Sequence[float],
        **settings: Any,
    ) -> None:
        sizes, ratios = [list(sizes) for sizes in anchor_sizes], list(anchor_ratios)
        super().__init__(name, dtype, anchor_sizes=sizes, anchor_ratios=ratios, **settings)

    def anchors(self, images: Any, codes: Sequence[Any]) -> list[Any]:
        """The anchors of each map of codes (N, H, W, 4 * A)."""
        sizes, ratios = self.settings["anchor_sizes"], self.settings["anchor_ratios"]
        image = ops.shape(images)[1:3]
        return [on_grid(ops.shape(c)[1:3], image, around_zero(s, ratios)) for c, s in zip(codes, sizes, strict=True)]


def flat(maps: Sequence[Any], last: Sequence[int]) -> list[Any]:
    """Maps (N, H, W, A * n) of float32 as (N, H * W * A, ...)."""
    return [ops.cast(ops.reshape(m, (ops.shape(m)[0], -1, *last)), "float32") for m in maps]


@registered
class Proposals(WithAnchors):
    """The best boxes of the region proposal network, see `proposals.propose`.

    Args:
        anchor_sizes, anchor_ratios: see `anchors.Anchors`.
        pre_nms_top_n, post_nms_top_n, overlap: see `proposals.propose`.
        name: name of the layer.
        dtype: type or policy of the layer.

    Attributes:
        suppress: see `proposals.propose`; exports set another one. It is not saved.
    """

    suppress: Suppress = staticmethod(non_maximum_suppression)

    def __init__(
        self,
        anchor_sizes: Sequence[Sequence[float]],
        anchor_ratios: Sequence[float],
        pre_nms_top_n: int,
        post_nms_top_n: int,
        overlap: float,
        name: str | None = None,
        dtype: Any = None,
    ) -> None:
        limits = {"pre_nms_top_n": pre_nms_top_n, "post_nms_top_n": post_nms_top_n, "overlap": overlap}
        super().__init__(name, dtype, anchor_sizes, anchor_ratios, **limits)

    def call(self, images: Any, sizes: Any, logits: Sequence[Any], codes: Sequence[Any]) -> tuple[Any, Any]:
        """Boxes (N, post_nms_top_n, 4), and which of them are there, bool (N, post_nms_top_n).

        Args:
            images: the padded images, of which the sides are used.
            sizes: heights and widths (N, 2).
            logits: (N, H, W, A) for each map.
            codes: (N, H, W, 4 * A) for each map.
        """
        limits = {name: self.settings[name] for name in ("pre_nms_top_n", "post_nms_top_n", "overlap")}
        anchors = self.anchors(images, codes)
        given = flat(logits, ()), flat(codes, (4,)), anchors, ops.cast(sizes, "float32")
        kept = propose(*given, **limits, suppress=self.suppress)
        present = ops.arange(self.settings["post_nms_top_n"], dtype="int32")[None] < kept.found[:, None]
        return ops.stop_gradient(kept.boxes), present

    def compute_output_spec(self, images: Any, sizes: Any, logits: Any, codes: Any) -> tuple[Any, Any]:
        """Shapes of the boxes and of `present`."""
        batch, count = images.shape[0], self.settings["post_nms_top_n"]
        return float32(batch, count, 4), keras.KerasTensor((batch, count), "bool")


@registered
class RoIAlign(WithSettings):
    """Features of boxes, see `roi_align.roi_align`; of several maps, `roi_align.level_of` chooses one for each box.

    Args:
        strides: sides of an image over those of each map.
        output_size, sampling_ratio, aligned: see `roi_align.roi_align`.
        name: name of the layer.
        dtype: type or policy of the layer.
    """

    def __init__(
        self,
        strides: Sequence[int],
        output_size: int,
        sampling_ratio: int,
        aligned: bool,
        name: str | None = None,
        dtype: Any = None,
    ) -> None:
        settings = {"output_size": output_size, "sampling_ratio": sampling_ratio, "aligned": aligned}
        super().__init__(name, dtype, strides=list(strides), **settings)

    def call(self, maps: Sequence[Any], boxes: Any) -> Any:
        """Features (N * R, output_size, output_size, C) of boxes (N, R, 4) from maps (N, H, W, C)."""
        strides, size = self.settings["strides"], self.settings["output_size"]
        # The map for boxes of 224 pixels is the one with stride 16.
        levels = level_of(boxes, len(strides), 4 - round(math.log2(strides[0])))
        scales = [1 / stride for stride in strides]
        found = roi_align(maps, boxes, levels, scales, size, self.settings["sampling_ratio"], self.settings["aligned"])
        return ops.reshape(found, (-1, size, size, maps[0].shape[-1]))

    def compute_output_spec(self, maps: Sequence[Any], boxes: Any) -> keras.KerasTensor:
        """Shape of the features."""
        size = self.settings["output_size"]
        count = None if None in boxes.shape[:2] else math.prod(boxes.shape[:2])
        return keras.KerasTensor((count, size, size, maps[0].shape[-1]), maps[0].dtype)


@registered
class Detections(WithSettings):
    """Boxes with classes, see `detections.detect`.

    Args:
        least_score, overlap, count: see `detections.detect`.
        name: name of the layer.
        dtype: type or policy of the layer.

    Attributes:
        suppress: see `detections.detect`; exports set another one. It is not saved.
    """

    suppress: Suppress = staticmethod(non_maximum_suppression)

    def __init__(
        self, least_score: float, overlap: float, count: int, name: str | None = None, dtype: Any = None
    ) -> None:
        super().__init__(name, dtype, least_score=least_score, overlap=overlap, count=count)

    def call(self, logits: Any, codes: Any, regions: Any, present: Any, sizes: Any) -> tuple[Any, ...]:
        """Boxes (N, count, 4), scores and classes (N, count), and the number of detections (N).

        Args:
            logits: (N, R, classes + 1).
            codes: (N, R, (classes + 1) * 4).
            regions: (N, R, 4).
            present: which of the regions are there, bool (N, R).
            sizes: heights and widths (N, 2).
        """
        sizes = ops.cast(sizes, "float32")
        return tuple(detect(logits, codes, regions, present, sizes, **self.settings, suppress=self.suppress))

    def compute_output_spec(self, logits: Any, *_: Any) -> tuple[Any, ...]:
        """Shapes of boxes, scores, classes and numbers."""
        batch, count = logits.shape[0], self.settings["count"]
        ints = (keras.KerasTensor(shape, "int32") for shape in ((batch, count), (batch,)))
        return float32(batch, count, 4), float32(batch, count), *ints
