"""Untrusted images are checked before decoding; an invalid one gets `valid=False` and an `error`. All in the graph.

TensorFlow's decoders allocate the memory that a header of 69 bytes declares. And an image that cannot be decoded would
fail its whole batch, which a server makes of the requests of several clients.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

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


FileOf = Callable[[tf.Tensor], tf.Tensor]  # a string -> the bytes of the file in it


def image_reader(
    channels: int, size: int, resize: Resize
) -> Callable[[tf.Tensor, FileOf], tuple[tf.Tensor, tf.Tensor]]:
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
    blank = tf.TensorSpec((size, size, channels), tf.uint8)
    read = file_reader(channels, resized, blank, lambda rows, count: rows.batch(count))

    def read_files(contents: tf.Tensor, file_of: FileOf) -> tuple[tf.Tensor, tf.Tensor]:
        images, wrong = read(contents, file_of)
        return tf.ensure_shape(images, (None, *blank.shape)), wrong

    return read_files


def file_reader(
    channels: int,
    prepare: Callable[[tf.Tensor], Any],
    blank: Any,
    as_batch: Callable[[tf.data.Dataset, tf.Tensor], tf.data.Dataset],
) -> Callable[[tf.Tensor, FileOf], tuple[Any, tf.Tensor]]:
    """A function that decodes and prepares image files. An invalid image does not affect the others.

    Args:
        channels: channels of the pixels, 1 or 3.
        prepare: function from an image, uint8 (H, W, channels), to a structure of tensors.
        blank: specification of the zeros that an invalid file gets instead.
        as_batch: function `(rows, count) -> dataset` that makes one batch of all rows.

    Returns:
        A function of two arguments: strings (N), which are files or contain files, and a function from one such string
        to the bytes of its file. It returns the structure as a batch, which has zeros for invalid files, and error
        texts (N), which are "" for valid files. The texts contain no bytes of the files.
    """

    # Traced once for all signatures, because tracing takes seconds.
    @tf.function(input_signature=[tf.TensorSpec((), tf.string)], autograph=False)
    def read_file(file: tf.Tensor) -> tuple[tf.Tensor, Any]:
        wrong = check_file(file)
        zeros = tf.nest.map_structure(lambda spec: tf.zeros(spec.shape, spec.dtype), blank)
        return wrong, tf.cond(wrong == "", lambda: prepare(decode(file, channels)), lambda: zeros)

    def read_files(contents: tf.Tensor, file_of: FileOf) -> tuple[Any, tf.Tensor]:
        def read(_: tf.Tensor, __: tf.Tensor, content: tf.Tensor) -> tuple[tf.Tensor, Any]:
            return read_file(file_of(content))

        rows = tf.data.Dataset.from_tensor_slices((contents, contents)).enumerate()
        rows = rows.map(lambda place, pair: (place, place, pair[0]))
        rows = map_or_report(rows, read, lambda _: tf.constant(False), AT_ONCE)
        decoded, (wrong, prepared) = as_batch(rows, tf.size(contents, tf.int64)).get_single_element()
        return prepared, tf.where(decoded, wrong, f"image must be {ANY} that is whole: it cannot be decoded")

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
