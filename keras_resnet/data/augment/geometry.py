"""Where pixels go: flip, pad and crop, rotate, random resized crop, and the affine maps of `policies`."""

from __future__ import annotations

import math

import tensorflow as tf

from keras_resnet._internal.validation import integer, number, number_pair, one_of
from keras_resnet.data.augment.batch import checked, per_image, rounded
from keras_resnet.data.augment.boxes import random_boxes

FILL_MODES = {"zeros": "CONSTANT", "reflect": "REFLECT", "nearest": "NEAREST"}


def flip(images: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Mirrors half of the images, left to right.

    Args:
        images: uint8 (N, H, W, C).
        seed: integers (2); the result depends on the images and on it alone.

    Returns:
        uint8 (N, H, W, C).

    Raises:
        ValueError: `images` are no such batch.

    Example:
        >>> import numpy as np
        >>> from keras_resnet.data import augment
        >>> image = np.arange(3, dtype="uint8").reshape(1, 1, 3, 1)
        >>> [augment.flip(image, (0, seed)).numpy().ravel().tolist() for seed in range(3)]
        [[2, 1, 0], [2, 1, 0], [2, 1, 0]]
    """
    images = checked(images)
    (chance,) = per_image(images, seed, 1)
    halves = tf.cast(chance < 0.5, tf.int32)
    kept, turned_round = tf.dynamic_partition(images, halves, 2)
    # Own code: several times as fast as keras.layers.RandomFlip, and twice as fast as a choice between each image and
    # its mirrored one. As rows of pixels, which `tf.reverse` has a fast path for.
    shape = tf.shape(turned_round)
    mirrored = tf.reshape(tf.reverse(tf.reshape(turned_round, (-1, shape[2], shape[3])), (1,)), shape)
    places = tf.dynamic_partition(tf.range(tf.size(halves)), halves, 2)
    return tf.ensure_shape(tf.dynamic_stitch(places, (kept, mirrored)), images.shape)


def pad_and_crop(images: tf.Tensor, seed: tf.Tensor, pixels: int) -> tf.Tensor:
    """Pads images by zeros and crops each back at random (arXiv:1512.03385, section 4.2).

    Args:
        images: uint8 (N, H, W, C).
        seed: integers (2); the result depends on the images and on it alone.
        pixels: of zeros on each side, at least 0; 4 for CIFAR.

    Returns:
        uint8 (N, H, W, C).

    Raises:
        ValueError: `images` are no such batch, or `pixels` is below 0.
        TypeError: `pixels` is no integer.

    Example:
        >>> import numpy as np
        >>> from keras_resnet.data import augment
        >>> augment.pad_and_crop(np.ones((1, 4, 4, 1), "uint8"), (0, 1), pixels=2)[0, :, :, 0].numpy()
        array([[0, 0, 1, 1],
               [0, 0, 1, 1],
               [0, 0, 0, 0],
               [0, 0, 0, 0]], dtype=uint8)
    """
    images, sides = checked(images), 2 * integer("pixels", pixels, minimum=0) + 1
    count, height, width, channels = tf.unstack(tf.shape(images))
    top, left = tf.unstack(tf.random.stateless_uniform((2, count), seed, maxval=sides, dtype=tf.int32))
    # Own code: several times as fast as keras.layers.RandomTranslation. Whole rows of bytes are copied: to join zeros
    # to them takes 0.5 of the time of `tf.pad`, and a gather of pixels takes twice as long as all that is done here.
    # So the images of one column are cut together.
    above = tf.zeros((count, pixels, width * channels), tf.uint8)
    padded = tf.concat((above, tf.reshape(images, (count, height, width * channels)), above), axis=1)
    rows = tf.gather(padded, top[:, None] + tf.range(height), batch_dims=1)
    beside = tf.zeros((count, height, pixels * channels), tf.uint8)
    parts = tf.dynamic_partition(tf.concat((beside, rows, beside), axis=2), left, sides)
    cut = [part[:, :, column * channels : (column + width) * channels] for column, part in enumerate(parts)]
    cropped = tf.dynamic_stitch(tf.dynamic_partition(tf.range(count), left, sides), cut)
    return tf.ensure_shape(tf.reshape(cropped, tf.shape(images)), images.shape)


def rotate(images: tf.Tensor, seed: tf.Tensor, degrees: float, fill_mode: str = "zeros") -> tf.Tensor:
    """Turns each image about its centre by its own angle, bilinearly.

    Args:
        images: uint8 (N, H, W, C).
        seed: integers (2); the result depends on the images and on it alone.
        degrees: greatest angle, above 0; angles are uniform in [-degrees, degrees].
        outside: "zeros", "reflect" or "nearest": what is seen beyond the image.

    Returns:
        uint8 (N, H, W, C).

    Raises:
        ValueError: `images` are no such batch, `degrees` is not above 0, or `fill_mode` is none of these.
        TypeError: `degrees` is no number.

    Example:
        >>> import numpy as np
        >>> from keras_resnet.data import augment
        >>> augment.rotate(np.ones((2, 8, 8, 3), "uint8"), (0, 1), degrees=15, fill_mode="reflect").numpy().min()
        np.uint8(1)
    """
    # Of the same kernel as keras.layers.RandomRotation, and as fast (1.0). Not the layer, which draws from a state and
    # truncates: `policies` needs the kernel with angles of its own anyway.
    images, degrees = checked(images), number("degrees", degrees, "(0, inf)")
    one_of("outside", fill_mode, tuple(FILL_MODES))
    (drawn,) = per_image(images, seed, 1)
    return rotate_by(images, (2 * drawn - 1) * math.radians(degrees), fill_mode=fill_mode)


def random_resized_crop(
    images: tf.Tensor,
    seed: tf.Tensor,
    scale: tuple[float, float] = (0.08, 1.0),
    ratio: tuple[float, float] = (3 / 4, 4 / 3),
) -> tf.Tensor:
    """Crops each image to a random box and resizes that bilinearly to the size it had (arXiv:1409.4842).

    Boxes are drawn as by timm and torchvision; where none of ten fits, the whole image stays. A box is never larger
    than the result, so that there is nothing to antialias.

    Args:
        images: uint8 (N, H, W, C).
        seed: integers (2); the result depends on the images and on it alone.
        scale: least and greatest share of the area that is kept, in (0, 1].
        ratio: least and greatest width over height of the box.

    Returns:
        uint8 (N, H, W, C).

    Raises:
        ValueError: `images` are no such batch, or `scale` or `ratio` is out of order or range.

    Example:
        >>> import numpy as np
        >>> from keras_resnet.data import augment
        >>> augment.random_resized_crop(np.zeros((2, 32, 32, 3), "uint8"), (0, 1), scale=(0.35, 1)).shape
        TensorShape([2, 32, 32, 3])
    """
    images = checked(images)
    boxes = random_boxes(images, seed, number_pair("scale", scale, 1), number_pair("ratio", ratio, math.inf))
    count, height, width = tf.unstack(tf.shape(images)[:3])
    top, bottom = _ends(boxes.top, boxes.height, height, boxes.found)
    left, right = _ends(boxes.left, boxes.width, width, boxes.found)
    # Keras has no such layer. Twice as fast as the kernel of `affine`.
    resized = tf.image.crop_and_resize(
        images, tf.stack((top, left, bottom, right), axis=1), tf.range(count), (height, width)
    )
    return tf.ensure_shape(rounded(resized), images.shape)


def _ends(start: tf.Tensor, length: tf.Tensor, side: tf.Tensor, found: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Where the first and the last new pixel of a side come from, as shares of the way to the last old one."""
    start = tf.cast(tf.where(found, start, 0), tf.float32)
    length = tf.cast(tf.where(found, length, side), tf.float32)
    last = tf.cast(side - 1, tf.float32)
    half = length * (0.5 / (last + 1))
    # A crop to the edge would begin up to half a pixel outside, of which `crop_and_resize` knows nothing.
    first, final = tf.maximum(start - 0.5 + half, 0), tf.minimum(start + length - 0.5 - half, last)
    way = 1 / tf.maximum(last, 1)
    return first * way, final * way


def rotate_by(images: tf.Tensor, angles: tf.Tensor, fill: float = 0, fill_mode: str = "zeros") -> tf.Tensor:
    """Images turned about their centres by `angles` (N) in radians, counter-clockwise as by Pillow's `rotate`."""
    cosine, sine = tf.cos(angles), tf.sin(angles)
    shape = tf.cast(tf.shape(images), tf.float32)
    x, y = shape[2] / 2, shape[1] / 2
    return affine(
        images, (cosine, -sine, x - cosine * x + sine * y, sine, cosine, y - sine * x - cosine * y), fill, fill_mode
    )


def shear_x(images: tf.Tensor, factors: tf.Tensor, fill: float = 0) -> tf.Tensor:
    """Images whose rows are moved to the left by `factors` (N) times their height from the top."""
    return affine(images, (1, factors, 0, 0, 1, 0), fill)


def shear_y(images: tf.Tensor, factors: tf.Tensor, fill: float = 0) -> tf.Tensor:
    """Images whose columns are moved up by `factors` (N) times their distance from the left."""
    return affine(images, (1, 0, 0, factors, 1, 0), fill)


def translate_x(images: tf.Tensor, pixels: tf.Tensor, fill: float = 0) -> tf.Tensor:
    """Images moved to the left by `pixels` (N)."""
    return affine(images, (1, 0, pixels, 0, 1, 0), fill)


def translate_y(images: tf.Tensor, pixels: tf.Tensor, fill: float = 0) -> tf.Tensor:
    """Images moved up by `pixels` (N)."""
    return affine(images, (1, 0, 0, 0, 1, pixels), fill)


def affine(images: tf.Tensor, coefficients: tuple, fill: float = 0, fill_mode: str = "zeros") -> tf.Tensor:
    """Maps images (N, H, W, C) as Pillow's `Image.transform(..., Image.Transform.AFFINE, coefficients)` does.

    The pixel at (x, y) is taken, bilinearly, from (a x + b y + c, d x + e y + f) for coefficients (a, b, c, d, e, f),
    each a number or one an image (N). With `fill_mode="zeros"` what lies beyond the image is `fill`.
    """
    a, b, c, d, e, f = (tf.zeros(tf.shape(images)[:1]) + value for value in coefficients)
    # Pillow's centres of pixels lie at halves, TensorFlow's at whole numbers.
    c, f = c + (a + b - 1) / 2, f + (d + e - 1) / 2
    zero = tf.zeros_like(a)
    # On floats: on uint8 the kernel truncates, which takes half a grey level off the picture, and is no faster (0.9).
    mapped = tf.raw_ops.ImageProjectiveTransformV3(
        images=tf.cast(images, tf.float32),
        transforms=tf.stack((a, b, c, d, e, f, zero, zero), axis=1),
        output_shape=tf.shape(images)[1:3],
        fill_value=float(fill),
        interpolation="BILINEAR",
        fill_mode=FILL_MODES[fill_mode],
    )
    return tf.ensure_shape(rounded(mapped), images.shape)
