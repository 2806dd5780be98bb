"""Geometric augmentation: flip, pad and crop, rotate, random resized crop, and the affine maps for `policies`."""

from __future__ import annotations

import math

import tensorflow as tf

from keras_resnet._internal.validation import integer, number, number_pair, one_of
from keras_resnet.data.augment.batch import check_images, per_image, round_to_uint8
from keras_resnet.data.boxes import random_boxes

FILL_MODES = {"constant": "CONSTANT", "reflect": "REFLECT", "nearest": "NEAREST"}


def flip(images: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Mirrors each image left to right with a probability of 1/2.

    Args:
        images: uint8 (N, H, W, C).
        seed: random seed, two integers; the same images and seed give the same result.

    Returns:
        uint8 (N, H, W, C).

    Raises:
        ValueError: `images` are not uint8 (N, H, W, C).

    Example:
        >>> import numpy as np
        >>> from keras_resnet.data import augment
        >>> image = np.arange(3, dtype="uint8").reshape(1, 1, 3, 1)
        >>> [augment.flip(image, (0, seed)).numpy().ravel().tolist() for seed in range(3)]
        [[2, 1, 0], [2, 1, 0], [2, 1, 0]]
    """
    images = check_images(images)
    (chance,) = per_image(images, seed, 1)
    halves = tf.cast(chance < 0.5, tf.int32)
    kept, to_mirror = tf.dynamic_partition(images, halves, 2)
    # Measured: several times as fast as keras.layers.RandomFlip, and twice as fast as `tf.where` over the images and
    # their mirrored versions. The images are reshaped to rows of pixels: `tf.reverse` has a fast path for these.
    shape = tf.shape(to_mirror)
    mirrored = tf.reshape(tf.reverse(tf.reshape(to_mirror, (-1, shape[2], shape[3])), (1,)), shape)
    positions = tf.dynamic_partition(tf.range(tf.size(halves)), halves, 2)
    return tf.ensure_shape(tf.dynamic_stitch(positions, (kept, mirrored)), images.shape)


def pad_and_crop(images: tf.Tensor, seed: tf.Tensor, pixels: int) -> tf.Tensor:
    """Pads images with zeros, and crops each at random to its size before (arXiv:1512.03385, section 4.2).

    Args:
        images: uint8 (N, H, W, C).
        seed: random seed, two integers; the same images and seed give the same result.
        pixels: width of the padding on each side, at least 0; 4 for CIFAR.

    Returns:
        uint8 (N, H, W, C).

    Raises:
        ValueError: `images` are not uint8 (N, H, W, C), or `pixels` is below 0.
        TypeError: `pixels` is not an integer.

    Example:
        >>> import numpy as np
        >>> from keras_resnet.data import augment
        >>> augment.pad_and_crop(np.ones((1, 4, 4, 1), "uint8"), (0, 1), pixels=2)[0, :, :, 0].numpy()
        array([[0, 0, 1, 1],
               [0, 0, 1, 1],
               [0, 0, 0, 0],
               [0, 0, 0, 0]], dtype=uint8)
    """
    images, sides = check_images(images), 2 * integer("pixels", pixels, minimum=0) + 1
    count, height, width, channels = tf.unstack(tf.shape(images))
    top, left = tf.unstack(tf.random.stateless_uniform((2, count), seed, maxval=sides, dtype=tf.int32))
    # Measured: several times as fast as keras.layers.RandomTranslation. Whole rows of bytes are copied: `tf.concat`
    # with zeros takes half the time of `tf.pad`, and a gather of single pixels alone takes twice as long as this
    # function. So images that are cut at the same column are cut together.
    row_padding = tf.zeros((count, pixels, width * channels), tf.uint8)
    padded = tf.concat((row_padding, tf.reshape(images, (count, height, width * channels)), row_padding), axis=1)
    rows = tf.gather(padded, top[:, None] + tf.range(height), batch_dims=1)
    column_padding = tf.zeros((count, height, pixels * channels), tf.uint8)
    parts = tf.dynamic_partition(tf.concat((column_padding, rows, column_padding), axis=2), left, sides)
    cut = [part[:, :, column * channels : (column + width) * channels] for column, part in enumerate(parts)]
    cropped = tf.dynamic_stitch(tf.dynamic_partition(tf.range(count), left, sides), cut)
    return tf.ensure_shape(tf.reshape(cropped, tf.shape(images)), images.shape)


def rotate(images: tf.Tensor, seed: tf.Tensor, degrees: float, fill_mode: str = "constant") -> tf.Tensor:
    """Rotates each image about its center by a random angle, with bilinear interpolation.

    Args:
        images: uint8 (N, H, W, C).
        seed: random seed, two integers; the same images and seed give the same result.
        degrees: largest angle, above 0; angles are uniform in [-degrees, degrees].
        fill_mode: what fills the corners, which have no pixels of the image: "constant" (zeros), "reflect" (mirrored
            at the edge) or "nearest" (the nearest pixel of the edge).

    Returns:
        uint8 (N, H, W, C).

    Raises:
        ValueError: `images` are not uint8 (N, H, W, C), `degrees` is not above 0, or `fill_mode` is not one of the
            three.
        TypeError: `degrees` is not a number.

    Example:
        >>> import numpy as np
        >>> from keras_resnet.data import augment
        >>> augment.rotate(np.ones((2, 8, 8, 3), "uint8"), (0, 1), degrees=15, fill_mode="reflect").numpy().min()
        np.uint8(1)
    """
    # It calls the same kernel as keras.layers.RandomRotation, and is as fast (1.0). The layer itself does not fit: its
    # random numbers depend on a state, and it truncates pixel values. Besides, `policies` needs the kernel with given
    # angles.
    images, degrees = check_images(images), number("degrees", degrees, "(0, inf)")
    one_of("fill_mode", fill_mode, tuple(FILL_MODES))
    (drawn,) = per_image(images, seed, 1)
    return rotate_by(images, (2 * drawn - 1) * math.radians(degrees), fill_mode=fill_mode)


def random_resized_crop(
    images: tf.Tensor,
    seed: tf.Tensor,
    scale: tuple[float, float] = (0.08, 1.0),
    ratio: tuple[float, float] = (3 / 4, 4 / 3),
) -> tf.Tensor:
    """Crops each image to a random box, and resizes the box to the size of the image (arXiv:1409.4842).

    Boxes are drawn as in timm and torchvision: ten for each image, of which the first that fits is used. If none of
    them fits, the image does not change. The interpolation is bilinear. A box is never larger than the result, so
    antialiasing is not needed.

    Args:
        images: uint8 (N, H, W, C).
        seed: random seed, two integers; the same images and seed give the same result.
        scale: smallest and largest fraction of the image's area that is kept, 0 < low <= high <= 1.
        ratio: smallest and largest ratio of the box's width to its height, 0 < low <= high.

    Returns:
        uint8 (N, H, W, C).

    Raises:
        ValueError: `images` are not uint8 (N, H, W, C), or `scale` or `ratio` is out of its range or not in order.

    Example:
        >>> import numpy as np
        >>> from keras_resnet.data import augment
        >>> augment.random_resized_crop(np.zeros((2, 32, 32, 3), "uint8"), (0, 1), scale=(0.35, 1)).shape
        TensorShape([2, 32, 32, 3])
    """
    images = check_images(images)
    boxes = random_boxes(images, seed, number_pair("scale", scale, 1), number_pair("ratio", ratio, math.inf))
    count, height, width = tf.unstack(tf.shape(images)[:3])
    top, bottom = _first_and_last(boxes.top, boxes.height, height, boxes.found)
    left, right = _first_and_last(boxes.left, boxes.width, width, boxes.found)
    # Keras has no layer for this. `crop_and_resize` is twice as fast as the kernel of `affine`.
    resized = tf.image.crop_and_resize(
        images, tf.stack((top, left, bottom, right), axis=1), tf.range(count), (height, width)
    )
    return tf.ensure_shape(round_to_uint8(resized), images.shape)


def _first_and_last(
    start: tf.Tensor, length: tf.Tensor, side: tf.Tensor, found: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Where the first and the last pixel of a resized side come from: 0 is the first old pixel, 1 the last one."""
    start = tf.cast(tf.where(found, start, 0), tf.float32)
    length = tf.cast(tf.where(found, length, side), tf.float32)
    last = tf.cast(side - 1, tf.float32)
    half = length * (0.5 / (last + 1))
    # A crop at the edge would begin up to half a pixel outside the image, where `crop_and_resize` has no values.
    first, final = tf.maximum(start - 0.5 + half, 0), tf.minimum(start + length - 0.5 - half, last)
    scale = 1 / tf.maximum(last, 1)
    return first * scale, final * scale


def rotate_by(images: tf.Tensor, angles: tf.Tensor, fill: float = 0, fill_mode: str = "constant") -> tf.Tensor:
    """Rotates each image about its center by `angles` (N) in radians, counterclockwise like Pillow's `rotate`."""
    cosine, sine = tf.cos(angles), tf.sin(angles)
    shape = tf.cast(tf.shape(images), tf.float32)
    x, y = shape[2] / 2, shape[1] / 2
    return affine(
        images, (cosine, -sine, x - cosine * x + sine * y, sine, cosine, y - sine * x - cosine * y), fill, fill_mode
    )


def shear_x(images: tf.Tensor, factors: tf.Tensor, fill: float = 0) -> tf.Tensor:
    """Moves each row to the left by `factors` (N) times its distance from the top."""
    return affine(images, (1, factors, 0, 0, 1, 0), fill)


def shear_y(images: tf.Tensor, factors: tf.Tensor, fill: float = 0) -> tf.Tensor:
    """Moves each column up by `factors` (N) times its distance from the left."""
    return affine(images, (1, 0, 0, factors, 1, 0), fill)


def translate_x(images: tf.Tensor, pixels: tf.Tensor, fill: float = 0) -> tf.Tensor:
    """Moves each image to the left by `pixels` (N)."""
    return affine(images, (1, 0, pixels, 0, 1, 0), fill)


def translate_y(images: tf.Tensor, pixels: tf.Tensor, fill: float = 0) -> tf.Tensor:
    """Moves each image up by `pixels` (N)."""
    return affine(images, (1, 0, 0, 0, 1, pixels), fill)


def affine(images: tf.Tensor, coefficients: tuple, fill: float = 0, fill_mode: str = "constant") -> tf.Tensor:
    """Applies an affine map to each image, like Pillow's `Image.transform(..., Image.Transform.AFFINE, coefficients)`.

    Args:
        images: uint8 (N, H, W, C).
        coefficients: (a, b, c, d, e, f), each a number for all images or a tensor (N). The pixel at (x, y) comes from
            (a x + b y + c, d x + e y + f), with bilinear interpolation.
        fill: pixel value outside the image, for `fill_mode="constant"`.
        fill_mode: "constant", "reflect" or "nearest".

    Returns:
        uint8 (N, H, W, C).
    """
    a, b, c, d, e, f = (tf.zeros(tf.shape(images)[:1]) + value for value in coefficients)
    # The center of the first pixel is at 0.5 in Pillow, and at 0 in TensorFlow.
    c, f = c + (a + b - 1) / 2, f + (d + e - 1) / 2
    zero = tf.zeros_like(a)
    # Computed on floats: on uint8 the kernel truncates, which makes images darker by half a pixel value on average, and
    # it is not faster (0.9).
    mapped = tf.raw_ops.ImageProjectiveTransformV3(
        images=tf.cast(images, tf.float32),
        transforms=tf.stack((a, b, c, d, e, f, zero, zero), axis=1),
        output_shape=tf.shape(images)[1:3],
        fill_value=float(fill),
        interpolation="BILINEAR",
        fill_mode=FILL_MODES[fill_mode],
    )
    return tf.ensure_shape(round_to_uint8(mapped), images.shape)
