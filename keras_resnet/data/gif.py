"""Cuts a GIF after its first picture, because TensorFlow's decoder would decode all pictures in the file."""

from __future__ import annotations

import math

import tensorflow as tf

from keras_resnet.data.binary import one_node, unless

MOST_BYTES = 5_000_000  # the first picture must end within these first bytes of the file
FEW_BYTES = 256_000  # searched first: in most files the first picture ends within them
MOST_BLOCKS = 100  # blocks before the first picture: comments, and data of the program that wrote the file
IMAGE, EXTENSION, END = 0x2C, 0x21, 0x3B


@one_node(tf.TensorSpec((), tf.string))
def first_frame(content: tf.Tensor) -> tf.Tensor:
    """The bytes of a GIF up to the end of its first picture.

    The graph raises an error if the GIF has no picture, or if its first picture is not inside the screen.
    """
    place, is_found = _end_of_first(content, FEW_BYTES)
    search_all = ~is_found & (tf.strings.length(content) > FEW_BYTES)
    place, is_found = tf.cond(search_all, lambda: _end_of_first(content, MOST_BYTES), lambda: (place, is_found))
    reason = f"image must have a first picture, inside the screen and the first {MOST_BYTES:,} bytes, if it is a GIF"
    content = unless(tf.where(is_found, "", reason), content)
    return tf.strings.join([tf.strings.substr(content, 0, place), bytes([END])])


def _end_of_first(content: tf.Tensor, most_bytes: int) -> tuple[tf.Tensor, tf.Tensor]:
    """The position after the first picture of a GIF, and whether it was found in the first `most_bytes` of the file."""
    data = tf.cast(tf.io.decode_raw(tf.strings.substr(content, 0, most_bytes), tf.uint8), tf.int32)
    last = tf.size(data) - 1
    screen = tf.unstack(data[6:11], 5)
    width, height = screen[0] + 256 * screen[1], screen[2] + 256 * screen[3]
    ends = _ends_of_parts(data)

    def after(place: tf.Tensor, done: tf.Tensor, is_valid: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """The position after a block, whether the block was the picture, and whether it was a valid block."""
        kind, *block = tf.unstack(tf.gather(data, tf.minimum(place + tf.range(10), last)))
        is_image = kind == IMAGE
        left, top, wide, high = (block[at] + 256 * block[at + 1] for at in (0, 2, 4, 6))
        inside = (left + wide <= width) & (top + high <= height)
        parts = tf.where(is_image, place + 11 + _palette_bytes(block[8]), place + 2)
        end = tf.gather(ends, tf.minimum(parts, last))
        is_valid = tf.where(is_image, inside, kind == EXTENSION) & (parts <= last) & (tf.gather(data, end) == 0)
        return end + 1, is_image, is_valid

    start = 13 + _palette_bytes(screen[4])
    place, done, is_valid = tf.while_loop(
        lambda place, done, is_valid: is_valid & ~done & (place <= last),
        after,
        (start, tf.constant(False), tf.constant(True)),
        maximum_iterations=MOST_BLOCKS,
    )
    # A picture that ends with the last byte may be one that was cut there: the rest of the file has to be searched.
    is_whole = (place <= last) | (tf.strings.length(content) <= most_bytes)
    return place, is_valid & done & is_whole


def _ends_of_parts(data: tf.Tensor) -> tf.Tensor:
    """For each position: where a sequence of parts would end, if it began there.

    Each part is a length and as many bytes; a part of length 0 ends the sequence, and its position is the result.

    All positions are computed together, in log2(number of bytes) steps. A loop over the parts of one file, each of one
    byte, would keep a server busy for seconds.
    """
    last = tf.size(data) - 1
    places = tf.range(tf.size(data))
    following = tf.where(data == 0, places, tf.minimum(places + 1 + data, last))
    steps = tf.cast(tf.math.ceil(tf.math.log(tf.cast(last + 2, tf.float32)) / math.log(2)), tf.int32)
    _, ends = tf.while_loop(
        lambda step, _: step < steps,
        lambda step, following: (step + 1, tf.gather(following, following)),
        (0, following),
    )
    return ends


def _palette_bytes(flags: tf.Tensor) -> tf.Tensor:
    """The number of bytes of the palette that flags announce; 0 if there is no palette."""
    return tf.where(flags >= 128, 3 * 2 ** (flags % 8 + 1), 0)
