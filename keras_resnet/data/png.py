"""Cuts out of a PNG what its pixels do not need, because TensorFlow's decoder would unfold compressed texts.

A file of 0.5 MB can hold texts and color profiles (zTXt, iTXt, iCCP) of hundreds of megabytes, before or after the
pixels. Chunks such as gAMA and tRNS change no pixel of TensorFlow's decoder in three channels.
"""

from __future__ import annotations

import tensorflow as tf

from keras_resnet.data.binary import one_node, unless
from keras_resnet.data.headers import Header

MOST_CHUNKS = 10_000  # before the pixels; and chunks of pixels, besides those that are as long as the first one
HEADER_BYTES = 33  # signature and IHDR
PALETTE_BYTES = 12 + 3 * 256
PALETTE, PIXELS = (int.from_bytes(name, "big") for name in (b"PLTE", b"IDAT"))
NOT_NEEDED = 0x20000000  # this bit of a name says that a decoder may ignore the chunk
END = b"\0\0\0\0IEND\xaeB`\x82"


def needed_chunks(content: tf.Tensor, header: Header) -> tf.Tensor:
    """The bytes of a PNG with the chunks IHDR, PLTE, IDAT and IEND alone; the pixels stay the same.

    The graph raises an error if the PNG has too many chunks.

    Args:
        content: scalar string, the bytes of the file.
        header: its header.
    """
    length = HEADER_BYTES + 12 + header.png_length + len(END)
    has_one_more = (header.png_name == 0) & (length == tf.cast(tf.strings.length(content), tf.int64))
    return tf.cond(has_one_more, lambda: content, lambda: _needed_chunks(content))


@one_node(tf.TensorSpec((), tf.string))
def _needed_chunks(content: tf.Tensor) -> tf.Tensor:
    size = tf.strings.length(content)

    def chunk(place: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """The place, name and length of the chunk at `place`; the name is 0 at the end of the file."""
        first = tf.strings.substr(content, tf.minimum(place, size), 8)
        length, name = tf.unstack(tf.io.decode_raw(first, tf.int32, little_endian=False, fixed_length=8))
        return place, tf.where(length < 0, 0, name), tf.minimum(length, size)

    def is_before_pixels(name: tf.Tensor) -> tf.Tensor:
        return (tf.bitwise.bitwise_and(name, NOT_NEEDED) > 0) | (name == PALETTE)

    def skip(
        place: tf.Tensor, name: tf.Tensor, length: tf.Tensor, palette: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]:
        found = tf.strings.substr(content, place, tf.minimum(12 + length, PALETTE_BYTES))
        return *chunk(place + 12 + length), tf.where(name == PALETTE, found, palette)

    begin, name, length, palette = tf.while_loop(
        lambda _, name, __, ___: is_before_pixels(name),
        skip,
        (*chunk(tf.constant(HEADER_BYTES)), tf.constant("")),
        maximum_iterations=MOST_CHUNKS,
    )
    # Encoders write chunks of pixels of one length, and then a shorter one. A loop over all of them took a third of the
    # time of decoding.
    step = 12 + length
    count = (size - begin) // step
    rows = tf.reshape(tf.io.decode_raw(tf.strings.substr(content, begin, count * step), tf.uint8), (count, step))
    is_same = tf.reduce_all(rows[:, :8] == rows[:1, :8], 1)
    same = step * tf.reduce_sum(tf.math.cumprod(tf.cast(is_same, tf.int32)))
    end, last, _ = tf.while_loop(
        lambda _, name, __: name == PIXELS,
        lambda place, _, length: chunk(place + 12 + length),
        chunk(begin + same),
        maximum_iterations=MOST_CHUNKS,
    )
    is_complete = ~is_before_pixels(name) & (last != PIXELS)
    reason = f"image must have at most {MOST_CHUNKS:,} chunks if it is a PNG"
    pixels = unless(tf.where(is_complete, "", reason), tf.strings.substr(content, begin, end - begin))
    return tf.strings.join([tf.strings.substr(content, 0, HEADER_BYTES), palette, pixels, END])
