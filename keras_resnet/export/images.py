"""Images that strangers send: looked at before they are decoded, and kept apart, all inside of the graph.

TensorFlow's decoders take the memory that a header of 69 bytes declares. And an image that cannot be decoded fails the
batch that it is in, which a server makes of the requests of several clients.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import NamedTuple

import tensorflow as tf

from keras_resnet.data.corrupt import guarded
from keras_resnet.data.decode import decode
from keras_resnet.data.pipeline import Resize
from keras_resnet.export.gif import first_frame, screen

MOST_BYTES = 20_000_000
MOST_PIXELS = 25_000_000
LONGEST = 100  # times the shorter side: to that the longer one grows when the shorter becomes the network's
MOST_SCANS = 100  # of a progressive JPEG, which is decoded anew with each; encoders write about ten
AT_ONCE = 8  # images of a request in the making, each of at most MOST_PIXELS; a server's own threads hold back more
ANY = "a JPEG, PNG, WebP or GIF"


def image_reader(
    channels: int, size: int, resize: Resize
) -> Callable[[tf.Tensor, Callable[[tf.Tensor], tf.Tensor]], tuple[tf.Tensor, tf.Tensor]]:
    """A function that decodes, resizes and crops files; each image stands or falls alone.

    Args:
        channels: 1 or 3.
        size: side of the results in pixels.
        resize: function `(image, size) -> image`, uint8.

    Returns:
        Function of strings (N), which are the bytes of files or of what holds them, and of a function from one of them
        to the bytes of a file. It gives images, uint8 (N, size, size, channels), zeros where there is none, and strings
        (N) that say why not, or nothing. They hold none of the bytes that came.
    """
    # A caller's function may have an `if` on a tensor, which AutoGraph translates; ours have none.
    resized = tf.function(lambda image: resize(image, size))

    # Traced once for all signatures: it takes seconds.
    @tf.function(input_signature=[tf.TensorSpec((), tf.string)], autograph=False)
    def read_file(file: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        wrong = check_file(file)
        blank = tf.zeros((size, size, channels), tf.uint8)
        return wrong, tf.cond(wrong == "", lambda: resized(decode(first_frame(file), channels)), lambda: blank)

    def prepared(contents: tf.Tensor, file_of: Callable[[tf.Tensor], tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
        def read(_: tf.Tensor, __: tf.Tensor, content: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            return read_file(file_of(content))

        rows = tf.data.Dataset.from_tensor_slices((contents, contents)).enumerate()
        rows = rows.map(lambda place, pair: (place, place, pair[0]))
        whole = guarded(rows, read, lambda _: tf.constant(False), AT_ONCE).batch(tf.size(contents, tf.int64))
        sound, (wrong, images) = whole.get_single_element()
        wrong = tf.where(sound, wrong, f"image must be {ANY} that is whole: it cannot be decoded")
        return tf.ensure_shape(images, (None, size, size, channels)), wrong

    return prepared


def check_file(content: tf.Tensor) -> tf.Tensor:
    """What is wrong with the bytes of a file, a string, before any of it is decoded; "" where nothing is."""
    length = tf.strings.length(content)
    scans = _scans(content)
    start = tf.strings.join([tf.strings.substr(content, 0, 32), " " * 32])  # what is short has a start too
    of_kinds = [(_is_of(kind, start), functools.partial(_of_sides, kind, content)) for kind in KINDS]
    return tf.case(
        [
            (length == 0, lambda: tf.constant(f"image must be {ANY}. Received: nothing")),
            (length > MOST_BYTES, lambda: _many("bytes", MOST_BYTES, length)),
            (scans > MOST_SCANS, lambda: _many("scans", MOST_SCANS, scans)),
            (_is_animated_webp(start), lambda: tf.constant("image must be one picture. Received: an animated WebP")),
            *of_kinds,
        ],
        default=lambda: tf.constant(f"image must be {ANY}. Received: bytes of another kind"),
    )


def _many(what: str, most: int, came: tf.Tensor) -> tf.Tensor:
    return tf.strings.join([f"image must have at most {most} {what}. Received: ", tf.strings.as_string(came)])


def _of_sides(kind: Kind, content: tf.Tensor) -> tf.Tensor:
    height, width = kind.sides(content)
    shorter, longer = tf.minimum(height, width), tf.maximum(height, width)
    came = tf.strings.join([" Received: ", tf.strings.as_string(width), "x", tf.strings.as_string(height)])
    return tf.case(
        [
            (shorter < 1, lambda: tf.constant("image must have pixels. Received: none")),
            (shorter * longer > MOST_PIXELS, lambda: f"image must have at most {MOST_PIXELS} pixels." + came),
            (longer > LONGEST * shorter, lambda: f"image must be at most {LONGEST} times as long as wide." + came),
        ],
        default=lambda: tf.constant(""),
    )


def _scans(content: tf.Tensor) -> tf.Tensor:
    """How many scans a JPEG has.

    FF DA begins one, and stands nowhere inside of it; a decoder goes on only if the length after it fits the number of
    its channels. Without that, a film of some megabytes after the picture has a hundred such pairs by chance.
    """
    data = tf.io.decode_raw(content, tf.uint8)
    count = tf.maximum(tf.size(data) - 4, 0)
    first, second, high, low, channels = (data[place : place + count] for place in range(5))
    begins = (first == 0xFF) & (second == 0xDA) & (high == 0) & (low == 6 + 2 * channels) & (channels <= 4)
    return tf.where(tf.io.is_jpeg(content), tf.math.count_nonzero(begins), 0)


class Kind(NamedTuple):
    """A format of images: the bytes that mark its files, by their places, and the sides that a file declares."""

    marks: Mapping[int, bytes]
    sides: Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]]  # height and width, int64


def _is_of(kind: Kind, start: tf.Tensor) -> tf.Tensor:
    found = [tf.strings.substr(start, place, len(mark)) == mark for place, mark in kind.marks.items()]
    return tf.reduce_all(found)


def _is_animated_webp(start: tf.Tensor) -> tf.Tensor:
    """TensorFlow decodes all pictures of an animation (RFC 9649, section 2.7, has the place of the flag)."""
    return _is_of(EXTENDED, start) & (_number(start, 20, 1) // 2 % 2 == 1)


def _jpeg(content: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    height, width, _ = tf.unstack(tf.cast(tf.io.extract_jpeg_shape(content), tf.int64))
    return height, width


def _png(content: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    width, height = (_number(content, place, 4, -1) for place in (16, 20))
    return height, width


def _webp(content: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """RFC 9649: sides of 14 bits where there is one picture; of 24, less one, where there may be more."""
    width, height = (_number(content, place, 2) % 2**14 for place in (26, 28))
    return height, width


def _webp_lossless(content: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    bits = _number(content, 21, 4)
    return bits // 2**14 % 2**14 + 1, bits % 2**14 + 1


def _webp_extended(content: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    width, height = (_number(content, place, 3) + 1 for place in (24, 27))
    return height, width


def _number(content: tf.Tensor, place: int, count: int, order: int = 1) -> tf.Tensor:
    """The unsigned number in `count` bytes; with order -1 the first byte is worth most."""
    data = tf.cast(tf.io.decode_raw(tf.strings.substr(content, place, count), tf.uint8), tf.int64)
    return tf.reduce_sum(data * [256**power for power in range(count)][::order])


EXTENDED = Kind({0: b"RIFF", 8: b"WEBPVP8X"}, _webp_extended)
KINDS = (
    Kind({0: b"\xff\xd8\xff"}, _jpeg),
    Kind({0: b"\x89PNG\r\n\x1a\n"}, _png),
    Kind({0: b"GIF87a"}, screen),
    Kind({0: b"GIF89a"}, screen),
    Kind({0: b"RIFF", 8: b"WEBPVP8 "}, _webp),
    Kind({0: b"RIFF", 8: b"WEBPVP8L"}, _webp_lossless),
    EXTENDED,
)
