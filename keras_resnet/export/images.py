"""Untrusted images are checked before decoding; an invalid one gets `valid=False` and an `error`. All in the graph.

TensorFlow's decoders allocate the memory that a header of 69 bytes declares. And an image that cannot be decoded would
fail its whole batch, which a server makes of the requests of several clients.
"""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

from keras_resnet.data import headers, jpeg
from keras_resnet.data.corrupt import map_or_report
from keras_resnet.data.decode import decode
from keras_resnet.data.pipeline import Resize

MOST_BYTES = 20_000_000
MOST_PIXELS = 25_000_000
MOST_SCANNED = 500_000_000  # pixels times scans of a JPEG; a decoder needs 0.5 to 2.5 seconds for them
# Largest ratio of the longer to the shorter side. Resizing the shorter side to the network's size keeps the ratio.
LONGEST = 100
# Images of a request that are decoded at the same time, each of at most MOST_PIXELS. A server with few threads decodes
# fewer at the same time.
AT_ONCE = 8
ANY = "a JPEG, PNG, WebP or GIF"


def image_reader(
    channels: int, size: int, resize: Resize
) -> Callable[[tf.Tensor, Callable[[tf.Tensor], tf.Tensor]], tuple[tf.Tensor, tf.Tensor]]:
    """A function that decodes, resizes and crops image files. An invalid image does not affect the others.

    Args:
        channels: channels of the pixels, 1 or 3.
        size: side of the results in pixels.
        resize: function `(image, size) -> image` of uint8 images.

    Returns:
        A function of two arguments: strings (N), which are files or contain files, and a function from one such string
        to the bytes of its file. It returns images, uint8 (N, size, size, channels), which are 0 for invalid files,
        and error texts (N), which are "" for valid files. The texts contain no bytes of the files.
    """
    # With AutoGraph: the caller's function may have an `if` on a tensor. The functions of this package have none.
    resized = tf.function(lambda image: resize(image, size))

    # Traced once for all signatures, because tracing takes seconds.
    @tf.function(input_signature=[tf.TensorSpec((), tf.string)], autograph=False)
    def read_file(file: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        wrong = check_file(file)
        blank = tf.zeros((size, size, channels), tf.uint8)
        return wrong, tf.cond(wrong == "", lambda: resized(decode(file, channels)), lambda: blank)

    def read_files(contents: tf.Tensor, file_of: Callable[[tf.Tensor], tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
        def read(_: tf.Tensor, __: tf.Tensor, content: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            return read_file(file_of(content))

        rows = tf.data.Dataset.from_tensor_slices((contents, contents)).enumerate()
        rows = rows.map(lambda place, pair: (place, place, pair[0]))
        batch = map_or_report(rows, read, lambda _: tf.constant(False), AT_ONCE).batch(tf.size(contents, tf.int64))
        decoded, (wrong, images) = batch.get_single_element()
        wrong = tf.where(decoded, wrong, f"image must be {ANY} that is whole: it cannot be decoded")
        return tf.ensure_shape(images, (None, size, size, channels)), wrong

    return read_files


def check_file(content: tf.Tensor) -> tf.Tensor:
    """The error text for an image file, a string; "" if the file may be decoded. Nothing is decoded for it."""
    length = tf.strings.length(content)
    too_many = tf.strings.join(
        [f"image must have at most {MOST_BYTES:,} bytes. Received: ", tf.strings.as_string(length)]
    )
    return tf.case(
        [
            (length == 0, lambda: tf.constant(f"image must be {ANY}. Received: nothing")),
            (length > MOST_BYTES, lambda: too_many),
            (tf.io.is_jpeg(content), lambda: _check_jpeg(content)),
        ],
        default=lambda: _check_other(content),
    )


def _check_jpeg(content: tf.Tensor) -> tf.Tensor:
    sides = jpeg.sides_of(content)
    return _or_too_long(jpeg.refusal(content, sides, MOST_PIXELS, MOST_SCANNED), sides)


def _check_other(content: tf.Tensor) -> tf.Tensor:
    header = headers.read_header(content)
    sides = headers.sides_of(header)
    wrong = headers.refusal(content, header, MOST_PIXELS)
    wrong = tf.where(header.bmp == 0, f"image must be {ANY}. Received: a BMP file; convert it to PNG", wrong)
    is_other = (wrong == "") & tf.reduce_all(sides == 0)
    return _or_too_long(tf.where(is_other, f"image must be {ANY}. Received: bytes of another kind", wrong), sides)


def _or_too_long(wrong: tf.Tensor, sides: tf.Tensor) -> tf.Tensor:
    """`wrong`, or if it is "" an error text if one of `sides`, height and width, is too long for the other."""
    text = f"image must be at most {LONGEST} times as long as wide. Received: "
    is_too_long = tf.reduce_max(sides) > LONGEST * tf.reduce_min(sides)
    return tf.where((wrong == "") & is_too_long, tf.strings.join([text, headers.text_of(sides)]), wrong)
