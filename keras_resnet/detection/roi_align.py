"""RoIAlign (arXiv:1703.06870): features of a fixed size for boxes of any size, by bilinear interpolation.

As in torchvision: a box is cut into size x size bins; in each bin features are interpolated at evenly spaced points,
and averaged. Points up to one place outside of the map get the value of its border, others are 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops


def roi_align(
    maps: Sequence[Any],
    boxes: Any,
    map_of_box: Any,
    scales: Sequence[float],
    output_size: int,
    sampling_ratio: int,
    aligned: bool = False,
) -> Any:
    """Features of boxes.

    Args:
        maps: feature maps, (N, H, W, C) each, with the same N and C.
        boxes: (N, R, 4), in pixels of the images.
        map_of_box: which of the maps each box reads, int32 (N, R).
        scales: sides of the maps over sides of the images.
        output_size: bins on a side of the result.
        sampling_ratio: points on a side of a bin; 0: as many as the bin covers places of the map, rounded up.
        aligned: whether the center of the first place is at 0.5, as pixels are. False, as in torchvision's detectors:
            it is at 0, and boxes have sides of at least one place.

    Returns:
        (N, R, output_size, output_size, C).

    Example:
        >>> import numpy as np
        >>> from keras_resnet.detection.roi_align import roi_align
        >>> maps, box = [np.ones((1, 4, 4, 2), "float32")], np.array([[[0, 0, 16, 16]]], "float32")
        >>> roi_align(maps, box, np.zeros((1, 1), "int32"), [1 / 4], 7, 2).shape
        TensorShape([1, 1, 7, 7, 2])
    """
    scale = ops.take(ops.convert_to_tensor(scales, boxes.dtype), map_of_box)[..., None]
    boxes = boxes * scale - (0.5 if aligned else 0.0)
    start, length = boxes[..., :2], boxes[..., 2:] - boxes[..., :2]
    if not aligned:
        length = ops.maximum(length, 1.0)
    if not sampling_ratio:
        return _average_of_covered_places(maps, start, length, map_of_box, output_size)
    average = _average_of_crops if keras.backend.backend() == "tensorflow" else average_of_points
    return average(maps, start, length, map_of_box, output_size, sampling_ratio)


def _average_of_crops(maps: Sequence[Any], start: Any, length: Any, map_of_box: Any, size: int, samples: int) -> Any:
    """`average_of_points` with TensorFlow's `crop_and_resize`, which interpolates a grid of points in a box.

    Its grid reaches from corner to corner of a box, and it does not know a border: each point of a bin is a grid of its
    own, and maps are padded by one place, so that points up to one place outside get the value of the border.
    """
    import tensorflow as tf  # noqa: PLC0415 (other backends do not need it)

    batch, regions = tf.unstack(tf.shape(start)[:2])
    images = tf.repeat(tf.range(batch), regions)
    start, length = (tf.reshape(x[..., ::-1], (-1, 2)) for x in (start, length))  # y and x
    step = length / (size * samples)
    numbers, found = [], []
    for number, features in enumerate(maps):
        chosen = tf.where(tf.reshape(map_of_box, (-1,)) == number)[:, 0]
        padded = tf.pad(tf.cast(features, tf.float32), ((0, 0), (1, 1), (1, 1), (0, 0)), "SYMMETRIC")
        last = tf.cast(tf.shape(padded)[1:3] - 1, tf.float32)
        first, part = (tf.gather(x, chosen) for x in (start, step))
        total = 0.0
        for y in range(samples):
            for x in range(samples):
                corner = first + (tf.constant([y, x], tf.float32) + 0.5) * part + 1
                grid = tf.concat([corner, corner + (size - 1) * samples * part], axis=1) / tf.tile(last, (2,))
                total += tf.image.crop_and_resize(padded, grid, tf.gather(images, chosen), (size, size))
        numbers.append(tf.cast(chosen, tf.int32))
        found.append(total / samples**2)
    stitched = tf.dynamic_stitch(numbers, found)
    depth = maps[0].shape[-1]
    return tf.cast(tf.reshape(stitched, (batch, regions, size, size, depth)), maps[0].dtype)


def average_of_points(maps: Sequence[Any], start: Any, length: Any, map_of_box: Any, size: int, samples: int) -> Any:
    """Gathers the four places around each point.

    All maps lie in one table (N * places of all maps, C), so that each box is read once, from its own map.
    """
    sides = [ops.shape(features)[1:3] for features in maps]
    counts = [height * width for height, width in sides]
    places, depth = sum(counts), maps[0].shape[-1]
    table = ops.concatenate([ops.reshape(m, (-1, count, depth)) for m, count in zip(maps, counts)], axis=1)
    table = ops.reshape(table, (-1, depth))

    def of_box(values: Sequence[Any]) -> Any:
        return ops.take(ops.stack([ops.cast(value, "int32") for value in values]), map_of_box)[..., None, None]

    first = of_box([sum(counts[:i]) for i in range(len(maps))])
    first = first + ops.reshape(ops.arange(ops.shape(start)[0], dtype="int32") * places, (-1, 1, 1, 1))
    height, width = (of_box([side[axis] for side in sides]) for axis in (0, 1))
    rows = _neighbors(_points(start[..., 1], length[..., 1], size, samples), height)
    columns = _neighbors(_points(start[..., 0], length[..., 0], size, samples), width)
    total = 0.0
    for row, row_weight in rows:
        for column, column_weight in columns:
            # One pair of points at a time: all of them together would take 16 times the memory.
            for y in range(samples):
                for x in range(samples):
                    numbers = first + row[..., :, y, None] * width + column[..., None, :, x]
                    weight = row_weight[..., :, y, None] * column_weight[..., None, :, x]
                    total = total + ops.take(table, numbers, axis=0) * ops.cast(weight, table.dtype)[..., None]
    return total / samples**2


def _points(start: Any, length: Any, size: int, samples: int) -> Any:
    """Coordinates of the points on one axis, (N, R, size, samples)."""
    numbers = ops.reshape(ops.arange(size * samples, dtype=start.dtype), (size, samples))
    return start[..., None, None] + (numbers + 0.5) / samples * (length / size)[..., None, None]


def _neighbors(points: Any, side: Any) -> list[tuple[Any, Any]]:
    """The place before and the place after each point, and their weights."""
    last = ops.cast(side - 1, points.dtype)
    inside = ops.cast((points >= -1) & (points <= last + 1), points.dtype)
    points = ops.minimum(ops.maximum(points, 0), last)
    before = ops.floor(points)
    after = ops.minimum(before + 1, last)
    weight = points - before
    return [(ops.cast(before, "int32"), (1 - weight) * inside), (ops.cast(after, "int32"), weight * inside)]


def _average_of_covered_places(maps: Sequence[Any], start: Any, length: Any, map_of_box: Any, size: int) -> Any:
    """Weights of all rows and columns of a map for each bin.

    The average over a grid of points is that over rows of the average over columns. So a bin is a product of two
    matrices with the map, whatever the number of points is.
    """
    total = 0.0
    for number, features in enumerate(maps):
        height, width = ops.shape(features)[1:3]
        rows = _weights_of_places(start[..., 1], length[..., 1], size, height)
        columns = _weights_of_places(start[..., 0], length[..., 0], size, width)
        rows, columns = (ops.cast(weights, features.dtype) for weights in (rows, columns))
        # A row of bins at a time: all of them together would take `size` times the memory.
        bins = [
            ops.einsum("nrwc,nrqw->nrqc", ops.einsum("nrh,nhwc->nrwc", rows[:, :, p], features), columns)
            for p in range(size)
        ]
        mine = ops.cast(map_of_box == number, features.dtype)[..., None, None, None]
        total = total + ops.stack(bins, axis=2) * mine
    return total


def _weights_of_places(start: Any, length: Any, size: int, side: Any) -> Any:
    """How much each place counts in each bin of an axis, (N, R, size, side)."""
    count = ops.maximum(ops.ceil(length / size), 1)[..., None, None]
    # Boxes within the image have at most this many points in a bin.
    most = side // size + 2
    numbers = ops.arange(most, dtype=start.dtype)
    bins = ops.arange(size, dtype=start.dtype)[:, None]
    step = (length / size)[..., None, None]
    points = start[..., None, None] + bins * step + (numbers + 0.5) * step / count
    last = ops.cast(side - 1, points.dtype)
    counted = (points >= -1) & (points <= last + 1) & (numbers < count)
    points = ops.minimum(ops.maximum(points, 0), last)
    places = ops.arange(side, dtype=start.dtype)
    near = ops.maximum(1 - ops.absolute(points[..., None] - places), 0)
    return ops.sum(near * ops.cast(counted, points.dtype)[..., None], axis=-2) / count


def level_of(boxes: Any, levels: int, canonical_level: int = 2, canonical_size: float = 224.0) -> Any:
    """Which map of a feature pyramid a box reads (arXiv:1612.03144, equation 1).

    Args:
        boxes: (..., 4) in pixels.
        levels: number of maps, of which each has half the sides of the one before it.
        canonical_level: the map, counted from 0, for boxes of `canonical_size`.
        canonical_size: square root of an area.

    Returns:
        int32 (...), from 0 to `levels` - 1.

    Example:
        >>> import numpy as np
        >>> from keras_resnet.detection.roi_align import level_of
        >>> np.array(level_of(np.array([[0.0, 0, 224, 224], [0, 0, 100, 100], [0, 0, 9, 9]]), 4)).tolist()
        [2, 0, 0]
    """
    sides = boxes[..., 2:] - boxes[..., :2]
    size = ops.sqrt(ops.maximum(sides[..., 0] * sides[..., 1], 1e-12))
    level = ops.floor(canonical_level + ops.log2(size / canonical_size) + 1e-6)
    return ops.cast(ops.minimum(ops.maximum(level, 0), levels - 1), "int32")
