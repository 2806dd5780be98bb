"""Random erasing, and the functions `(images, seed) -> images` that fill the erased box."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import tensorflow as tf

from keras_resnet._internal.validation import number, number_pair
from keras_resnet.data.augment.batch import check_images, per_image
from keras_resnet.data.boxes import random_boxes


def fill_noise(images: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Random pixel values, uniform in 0 to 255, as in the paper (arXiv:1708.04896).

    timm's mode "pixel" is different: it draws from a normal distribution around the mean of the network's
    `preprocessing`.

    Args:
        images: uint8 (N, H, W, C); only their shape is used.
        seed: random seed, two integers.

    Returns:
        uint8 (N, H, W, C).

    Example:
        >>> import numpy as np
        >>> from keras_resnet.data import augment
        >>> augment.fill_noise(np.zeros((2, 8, 8, 3), "uint8"), (0, 1)).shape
        TensorShape([2, 8, 8, 3])
    """
    # Each random number gives four pixel values.
    numbers = tf.random.stateless_uniform((tf.size(images) // 4 + 1,), seed, None, None, tf.int32)
    return tf.reshape(tf.reshape(tf.bitcast(numbers, tf.uint8), (-1,))[: tf.size(images)], tf.shape(images))


def fill_mean(images: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """The mean color of each image.

    Args:
        images: uint8 (N, H, W, C).
        seed: not used.

    Returns:
        uint8 (N, H, W, C).

    Example:
        >>> import numpy as np
        >>> from keras_resnet.data import augment
        >>> image = np.array([10, 20], "uint8").reshape(1, 1, 2, 1)
        >>> augment.fill_mean(image, (0, 1)).numpy().ravel().tolist()
        [15, 15]
    """
    del seed
    mean = tf.reduce_mean(tf.cast(images, tf.float32), (1, 2), keepdims=True)
    return tf.broadcast_to(tf.cast(tf.round(mean), tf.uint8), tf.shape(images))


def fill_color(images: tf.Tensor, seed: tf.Tensor, color: int | Sequence[int] = 0) -> tf.Tensor:
    """One color for all images.

    timm's mode "const" and torchvision's `value=0` erase after normalization, so they fill with the mean of the
    network's `preprocessing`. For ImageNet this is `functools.partial(fill_color, color=(124, 116, 104))`.

    Args:
        images: uint8 (N, H, W, C); only their shape is used.
        seed: not used.
        color: one pixel value for all channels, or one for each channel; 0 to 255.

    Returns:
        uint8 (N, H, W, C).

    Example:
        >>> import numpy as np
        >>> from keras_resnet.data import augment
        >>> augment.fill_color(np.zeros((1, 1, 1, 3), "uint8"), (0, 1), color=(124, 116, 104)).numpy().ravel().tolist()
        [124, 116, 104]
    """
    del seed
    return tf.broadcast_to(tf.constant(color, tf.uint8), tf.shape(images))


def random_erasing(
    images: tf.Tensor,
    seed: tf.Tensor,
    probability: float = 0.5,
    area: tuple[float, float] = (0.02, 1 / 3),
    ratio: tuple[float, float] = (0.3, 3.3),
    fill: Callable[[tf.Tensor, tf.Tensor], tf.Tensor] = fill_noise,
) -> tf.Tensor:
    """Erases a random box of an image (arXiv:1708.04896), as in timm and torchvision.

    Args:
        images: uint8 (N, H, W, C).
        seed: random seed, two integers; the same images and seed give the same result.
        probability: probability that a box of an image is erased, in [0, 1]. torchvision's recipe for ResNet-50 has
            0.1.
        area: smallest and largest fraction of the image's area, 0 < low <= high <= 1.
        ratio: smallest and largest ratio of the box's height to its width, above 0.
        fill: function `(images, seed) -> images` whose result fills the box: `fill_noise`, `fill_mean`, `fill_color`,
            or your own.

    Returns:
        uint8 (N, H, W, C).

    Raises:
        ValueError: `images` are not uint8 (N, H, W, C), or a number is out of its range.
        TypeError: `probability` is not a number.

    Example:
        >>> import numpy as np
        >>> from keras_resnet.data import augment
        >>> gray = np.full((1, 4, 4, 1), 9, "uint8")
        >>> augment.random_erasing(gray, (0, 1), probability=1, fill=augment.fill_color)[0, :, :, 0].numpy()
        array([[9, 0, 9, 9],
               [9, 0, 9, 9],
               [9, 0, 9, 9],
               [9, 9, 9, 9]], dtype=uint8)
    """
    # Measured: 5 to 6 times as fast as keras.layers.RandomErasing, which draws the noise of every pixel as a float, and
    # selects with a mask over every pixel and channel.
    images, probability = check_images(images), number("probability", probability, "[0, 1]")
    low, high = number_pair("ratio", ratio, float("inf"))
    boxes_seed, fill_seed, chance_seed = tf.unstack(tf.random.split(seed, 3))
    boxes = random_boxes(images, boxes_seed, number_pair("area", area, 1), (1 / high, 1 / low))
    (chance,) = per_image(images, chance_seed, 1)
    box_height = tf.where(boxes.found & (chance < probability), boxes.height, 0)
    shape = tf.shape(images)
    count, height, width, channels = tf.unstack(shape)
    within_rows = _between(tf.range(height), boxes.top, box_height)
    within_columns = _between(tf.range(width * channels) // channels, boxes.left, boxes.width)
    # Images are treated as rows of bytes, so the mask need not be broadcast to three channels; 1.7 times as fast.
    inside = within_rows[:, :, None] & within_columns[:, None]
    rows = (count, height, width * channels)
    erased = tf.where(inside, tf.reshape(fill(images, fill_seed), rows), tf.reshape(images, rows))
    return tf.ensure_shape(tf.reshape(erased, shape), images.shape)


def _between(positions: tf.Tensor, first: tf.Tensor, length: tf.Tensor) -> tf.Tensor:
    """Whether each of the positions (P) lies in [first, first + length), for each of N intervals: bool (N, P)."""
    return (positions >= first[:, None]) & (positions < (first + length)[:, None])
