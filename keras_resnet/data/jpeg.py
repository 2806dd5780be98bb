"""The sides of a JPEG, and its scans: a decoder goes through the whole image once for each. All in the graph."""

from __future__ import annotations

import tensorflow as tf

from keras_resnet.data.binary import one_node, unless
from keras_resnet.data.headers import MOST_PIXELS, pixels_of, refused_sides, text_of, with_commas

MOST_SCANS = 100  # encoders write about ten
# Pixels times scans. A decoder needs 1 to 5 ns for each: 2 to 10 seconds. A progressive panorama of 200 megapixels has
# as many. Servers allow fewer.
MOST_SCANNED = 2_000_000_000
MOST_MARKS = 10_000  # places that are looked at; 650 MB after the picture have as many by chance
SCAN = b"\xff\xda"
# What follows: a length of two bytes, and the number of channels, which it must fit.
STARTS = [bytes([0, 6 + 2 * channels, channels]) for channels in (1, 2, 3, 4)]
MOST_SEGMENTS = 1000  # before the first scan
FRAMES = [0xC0 + kind for kind in range(16) if kind not in (4, 8, 12)]
SEQUENTIAL = [0xC0, 0xC1]
# Markers that a length follows: frames and tables, DQT, DNL, DRI, APP0 to APP15, COM. A decoder passes over others,
# such as fill bytes and restarts, in its own way: to it, a file with them could look different.
WITH_LENGTH = [*range(0xC0, 0xD0), 0xDB, 0xDC, 0xDD, *range(0xE0, 0xF0), 0xFE]


def sides_of(content: tf.Tensor) -> tf.Tensor:
    """Height and width of a JPEG, int32 (2,). The graph raises an error if the JPEG does not declare them."""
    return tf.io.extract_jpeg_shape(content)[:2]


def refusal(
    content: tf.Tensor, sides: tf.Tensor, most_pixels: int = MOST_PIXELS, most_scanned: int = MOST_SCANNED
) -> tf.Tensor:
    """Why a JPEG must not be decoded; "" if it can be.

    Args:
        content: scalar string, the bytes of the file.
        sides: `sides_of` the file.
        most_pixels: largest number of pixels.
        most_scanned: largest number of pixels times scans; at least `most_pixels`.
    """
    return tf.cond(
        _may_be_wrong(content, sides, most_pixels),
        lambda: _refusal(content, sides, most_pixels, most_scanned),
        lambda: tf.constant(""),
    )


def checked_sides(content: tf.Tensor) -> tf.Tensor:
    """Height and width of a JPEG, int32 (2,); an error in the graph if it must not be decoded."""
    sides = sides_of(content)
    is_sound = ~_may_be_wrong(content, sides, MOST_PIXELS)
    return tf.cond(is_sound, lambda: sides, lambda: unless(_refusal(content, sides, MOST_PIXELS, MOST_SCANNED), sides))


def _may_be_wrong(content: tf.Tensor, sides: tf.Tensor, most_pixels: int) -> tf.Tensor:
    """False for most files that can be decoded, and never for others. It has few nodes, see `one_node`."""
    # One more than the scans, thumbnails included.
    pieces = tf.size(_split_at_scans(content))
    return (pieces > MOST_SCANS) | (tf.cast(pieces, tf.float32) * pixels_of(sides) > most_pixels)


def _split_at_scans(content: tf.Tensor) -> tf.Tensor:
    return tf.raw_ops.StringSplitV2(input=[content], sep=SCAN, maxsplit=MOST_MARKS).values


@one_node(
    tf.TensorSpec((), tf.string),
    tf.TensorSpec((2,), tf.int32),
    tf.TensorSpec((), tf.int32),
    tf.TensorSpec((), tf.int32),
)
def _refusal(content: tf.Tensor, sides: tf.Tensor, most_pixels: tf.Tensor, most_scanned: tf.Tensor) -> tf.Tensor:
    place, is_only = _first_scan(content)
    scans = _count_scans(tf.strings.substr(content, place, tf.strings.length(content)))
    reason = tf.strings.join(
        [
            f"image must have at most {MOST_SCANS} scans of at most ",
            with_commas(most_scanned),
            " pixels together. Received: ",
            tf.strings.as_string(scans),
            " scans of ",
            text_of(sides),
            " pixels",
        ]
    )
    too_many = (scans > MOST_SCANS) | (
        tf.cast(scans, tf.float32) * pixels_of(sides) > tf.cast(most_scanned, tf.float32)
    )
    # A picture of one scan may have others in pictures and films behind it.
    return tf.where(too_many & ~is_only, reason, refused_sides(sides, most_pixels))


def _count_scans(content: tf.Tensor) -> tf.Tensor:
    """The number of places where a scan may begin.

    A scan begins with FF DA, and these bytes do not occur inside a scan. A decoder accepts a scan only if the length
    after FF DA fits the number of its channels. Without that condition, a film of some megabytes after the picture
    would have a hundred such pairs of bytes by chance.
    """
    after = _split_at_scans(content)[1:]
    scans = tf.math.count_nonzero(tf.strings.substr(after, 0, 3)[:, None] == STARTS, dtype=tf.int32)
    return tf.where(tf.size(after) == MOST_MARKS, MOST_MARKS, scans)


def _first_scan(content: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Where the first scan begins, and whether a decoder reads no other one.

    It reads one scan only if the file is not progressive, and if this scan has all channels. The thumbnail and its
    scans lie before, inside a segment of metadata. The place is an earlier one if the segments end there, because a
    marker is none of `WITH_LENGTH`; a decoder passes over everything before it.
    """

    def segment(place: tf.Tensor) -> tf.Tensor:
        first = tf.strings.substr(content, tf.minimum(place, tf.strings.length(content)), 10)
        return tf.cast(tf.io.decode_raw(first, tf.uint8, fixed_length=10), tf.int32)

    def following(place: tf.Tensor, found: tf.Tensor, frame: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        _, marker, high, low, *_ = tf.unstack(found)
        frame = tf.where(tf.reduce_any(marker == FRAMES), found, frame)
        place = place + 2 + 256 * high + low
        return place, segment(place), frame

    start = tf.constant(2)
    place, scan, frame = tf.while_loop(
        lambda _, found, __: (found[0] == 0xFF) & tf.reduce_any(found[1] == WITH_LENGTH),
        following,
        (start, segment(start), tf.zeros(10, tf.int32)),
        maximum_iterations=MOST_SEGMENTS,
    )
    is_scan = (scan[0] == SCAN[0]) & (scan[1] == SCAN[1])
    is_only = is_scan & (scan[4] == frame[9]) & tf.reduce_any(frame[1] == SEQUENTIAL)
    return tf.minimum(place, tf.strings.length(content)), is_only
