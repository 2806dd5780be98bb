"""Untrusted images are checked before decoding; an invalid one gets `valid=False` and an `error`. All in the graph.

TensorFlow's decoders allocate the memory that a header of 69 bytes declares. And an image that cannot be decoded would
fail its whole batch, which a server makes of the requests of several clients.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import NamedTuple

import tensorflow as tf

from keras_resnet.data.corrupt import map_or_report
from keras_resnet.data.decode import decode
from keras_resnet.data.headers import read_header, refusal
from keras_resnet.data.pipeline import Resize
from keras_resnet.export.gif import first_frame, screen

MOST_BYTES = 20_000_000
MOST_PIXELS = 25_000_000
# Largest ratio of the longer to the shorter side. Resizing the shorter side to the network's size keeps the ratio.
LONGEST = 100
# Scans of a progressive JPEG: the decoder decodes the whole image again for each scan. Encoders write about ten.
MOST_SCANS = 100
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
        return wrong, tf.cond(wrong == "", lambda: resized(decode(first_frame(file), channels)), lambda: blank)

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
    scans = _count_scans(content)
    start = tf.strings.join([tf.strings.substr(content, 0, 32), " " * 32])  # at least 32 bytes, also of a short file
    kinds = [(_has_marks(kind, start), functools.partial(_check_sides, kind, content)) for kind in KINDS]
    wrong = tf.case(
        [
            (length == 0, lambda: tf.constant(f"image must be {ANY}. Received: nothing")),
            (length > MOST_BYTES, lambda: _too_many("bytes", MOST_BYTES, length)),
            (scans > MOST_SCANS, lambda: _too_many("scans", MOST_SCANS, scans)),
            (_is_animated_webp(start), lambda: tf.constant("image must be one picture. Received: an animated WebP")),
            *kinds,
        ],
        default=lambda: tf.constant(f"image must be {ANY}. Received: bytes of another kind"),
    )
    # Of the files that are refused by `decode`, only PNGs are of a kind that is accepted here.
    return tf.where((wrong == "") & _has_marks(PNG, start), refusal(read_header(content)), wrong)


def _too_many(what: str, most: int, count: tf.Tensor) -> tf.Tensor:
    return tf.strings.join([f"image must have at most {most} {what}. Received: ", tf.strings.as_string(count)])


def _check_sides(kind: Kind, content: tf.Tensor) -> tf.Tensor:
    height, width = kind.sides(content)
    shorter, longer = tf.minimum(height, width), tf.maximum(height, width)
    received = tf.strings.join([" Received: ", tf.strings.as_string(width), "x", tf.strings.as_string(height)])
    return tf.case(
        [
            (shorter < 1, lambda: tf.constant("image must have pixels. Received: none")),
            (shorter * longer > MOST_PIXELS, lambda: f"image must have at most {MOST_PIXELS} pixels." + received),
            (longer > LONGEST * shorter, lambda: f"image must be at most {LONGEST} times as long as wide." + received),
        ],
        default=lambda: tf.constant(""),
    )


def _count_scans(content: tf.Tensor) -> tf.Tensor:
    """The number of scans in a JPEG; 0 for other formats.

    A scan begins with FF DA, and these bytes do not occur inside a scan. A decoder accepts a scan only if the length
    after FF DA fits the number of its channels, and so does this function. Without that condition, a film of some
    megabytes after the picture would have a hundred such pairs of bytes by chance.
    """
    data = tf.io.decode_raw(content, tf.uint8)
    count = tf.maximum(tf.size(data) - 4, 0)
    first, second, high, low, channels = (data[place : place + count] for place in range(5))
    begins = (first == 0xFF) & (second == 0xDA) & (high == 0) & (low == 6 + 2 * channels) & (channels <= 4)
    return tf.where(tf.io.is_jpeg(content), tf.math.count_nonzero(begins), 0)


class Kind(NamedTuple):
    """A format of image files.

    Attributes:
        marks: position in the file -> bytes that all files of this format have there.
        sides: function from the bytes of a file to the height and width that it declares, int64.
    """

    marks: Mapping[int, bytes]
    sides: Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]]


def _has_marks(kind: Kind, start: tf.Tensor) -> tf.Tensor:
    present = [tf.strings.substr(start, place, len(mark)) == mark for place, mark in kind.marks.items()]
    return tf.reduce_all(present)


def _is_animated_webp(start: tf.Tensor) -> tf.Tensor:
    """TensorFlow would decode all pictures of an animation. RFC 9649, section 2.7, gives the position of the flag."""
    return _has_marks(EXTENDED, start) & (_number(start, 20, 1) // 2 % 2 == 1)


def _jpeg_sides(content: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    height, width, _ = tf.unstack(tf.cast(tf.io.extract_jpeg_shape(content), tf.int64))
    return height, width


def _png_sides(content: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    width, height = (_number(content, place, 4, -1) for place in (16, 20))
    return height, width


def _webp_sides(content: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """RFC 9649: 14 bits for each side of a single picture. The extended format has 24 bits for each side minus one."""
    width, height = (_number(content, place, 2) % 2**14 for place in (26, 28))
    return height, width


def _webp_lossless_sides(content: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    bits = _number(content, 21, 4)
    return bits // 2**14 % 2**14 + 1, bits % 2**14 + 1


def _webp_extended_sides(content: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    width, height = (_number(content, place, 3) + 1 for place in (24, 27))
    return height, width


def _number(content: tf.Tensor, place: int, count: int, order: int = 1) -> tf.Tensor:
    """The unsigned integer in `count` bytes from `place` on: little-endian with order 1, big-endian with order -1."""
    data = tf.cast(tf.io.decode_raw(tf.strings.substr(content, place, count), tf.uint8), tf.int64)
    return tf.reduce_sum(data * [256**power for power in range(count)][::order])


EXTENDED = Kind({0: b"RIFF", 8: b"WEBPVP8X"}, _webp_extended_sides)
PNG = Kind({0: b"\x89PNG\r\n\x1a\n"}, _png_sides)
KINDS = (
    Kind({0: b"\xff\xd8\xff"}, _jpeg_sides),
    PNG,
    Kind({0: b"GIF87a"}, screen),
    Kind({0: b"GIF89a"}, screen),
    Kind({0: b"RIFF", 8: b"WEBPVP8 "}, _webp_sides),
    Kind({0: b"RIFF", 8: b"WEBPVP8L"}, _webp_lossless_sides),
    EXTENDED,
)
